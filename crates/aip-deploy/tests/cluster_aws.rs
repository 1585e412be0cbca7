//! State and keys on AWS, against a stand-in that is installed at the first run, which is why these
//! tests belong to the suite that may take its time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "../../aip-apply/tests/contract/mod.rs"]
mod contract;

use std::path::Path;
use std::sync::Arc;

use aip_aws::{Aws, Credentials};
use aip_base::{Environment, SystemClock, SystemRng};
use aip_deploy::{AwsHttp, AwsKeys};
use aws_sdk_kms::config::{BehaviorVersion, Region};
use cluster::Moto;
use contract::{TestStore, contract};
use pulumi_files::{ConfigPath, Keyring, Prompt, StackFile};
use secrecy::{ExposeSecret as _, SecretString};
use yaml_lossless::Tree;

const REGION: &str = "us-east-1";

fn aws() -> Aws {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let http = Arc::new(AwsHttp::new().unwrap());
    Aws::new(http, Arc::new(SystemClock)).with_credentials(credentials, Some(REGION))
}

struct BucketStore {
    /// Ends with the test.
    moto: Moto,
    store: TestStore,
}

async fn bucket_store() -> BucketStore {
    let moto = Moto::start().await;
    moto.create_bucket("state").await;
    let url = format!(
        "s3://state/team/a?endpoint={}&disableSSL=true&s3ForcePathStyle=true",
        moto.address()
    );
    let store = TestStore::new(&url, &Environment::default(), &aws());
    BucketStore { moto, store }
}

contract!(bucket_store);

#[tokio::test]
async fn a_bucket_honours_conditional_writes_and_a_missing_one_is_named() {
    let bucket_store = bucket_store().await;
    bucket_store.store.stacks.probe().await.unwrap();
    assert!(
        bucket_store
            .store
            .stacks
            .names("aip")
            .await
            .unwrap()
            .is_empty()
    );
    bucket_store.store.state().promote(vec![]).await.unwrap();
    assert_eq!(
        bucket_store.store.stacks.names("aip").await.unwrap().len(),
        1
    );
    let address = bucket_store.moto.address();
    let missing = TestStore::new(
        &format!("s3://missing?endpoint={address}&disableSSL=true"),
        &Environment::default(),
        &aws(),
    );
    let error = missing.stacks.probe().await.unwrap_err().to_string();
    assert!(error.contains("there is no such bucket"), "{error}");
}

struct NonInteractivePrompt;

impl Prompt for NonInteractivePrompt {
    fn is_interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// Makes keys, which no command does.
fn admin(moto: &Moto) -> aws_sdk_kms::Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .region(Region::new(REGION))
        .endpoint_url(moto.url())
        .http_client(aip_aws::SdkHttp(Arc::new(AwsHttp::new().unwrap())));
    aws_sdk_kms::Client::from_conf(config.build())
}

#[tokio::test]
async fn a_stack_under_a_kms_key_opens_with_its_context_only() {
    let moto = Moto::start().await;
    let admin = admin(&moto);
    let key = admin.create_key().send().await.unwrap();
    let id = key.key_metadata.unwrap().key_id;
    let alias = admin.create_alias().alias_name("alias/Example");
    alias.target_key_id(&id).send().await.unwrap();

    let keys = Keyring {
        environment: Environment::default(),
        prompt: Arc::new(NonInteractivePrompt),
        key_service: Arc::new(AwsKeys(aws())),
        rng: Arc::new(SystemRng),
    };
    let endpoint = moto.url();
    for url in [
        format!("awskms://alias/Example?endpoint={endpoint}&context_app=aip"),
        format!("awskms://{id}?region={REGION}&endpoint={endpoint}&context_app=aip"),
    ] {
        let mut file =
            StackFile::parse(Path::new("Pulumi.main.yaml"), String::new(), "aip").unwrap();
        let (crypter, encryption) = keys.create(&url, None).await.unwrap();
        file.set_encryption(&encryption).unwrap();
        let ciphertext = crypter.encrypt("s3cret", &SystemRng).unwrap();
        file.set(
            &ConfigPath::parse("a", "aip").unwrap(),
            Tree::secret(ciphertext),
        )
        .unwrap();
        let opened = keys.open(&file.encryption()).await.unwrap();
        let opened = opened.decrypt(&file.secrets()[0].ciphertext).unwrap();
        assert_eq!(opened.expose_secret(), "s3cret");
        let other = file.text().replace("context_app=aip", "context_app=other");
        let other = StackFile::parse(Path::new("Pulumi.main.yaml"), other, "aip").unwrap();
        let error = keys
            .open(&other.encryption())
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("InvalidCiphertextException"), "{error}");
    }
}
