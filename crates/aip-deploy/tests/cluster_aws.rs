//! State and keys on AWS, against a stand-in that is installed at the first run, which is why these
//! tests belong to the suite that may take its time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod contract;

use std::path::Path;
use std::sync::Arc;

use aip_base::{Http, Limits, SystemClock, SystemRng};
use aip_deploy::aws_http::AwsHttp;
use aip_deploy::store::StateStore as _;
use bytes::Bytes;
use cluster::Moto;
use contract::{TestStore, contract};
use http::Request;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Environment, Keyring, Prompt, StackFile};
use secrecy::{ExposeSecret as _, SecretString};

fn http() -> AwsHttp {
    AwsHttp::new().unwrap()
}

fn environment(url: &str) -> Environment {
    Environment::new([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", "us-east-1"),
    ])
}

/// The answer to a request, once it is signed: the key service is known by the signature.
async fn send(moto: &Moto, request: Request<Bytes>) -> Bytes {
    let environment = environment(&moto.url());
    let config = pulumi_files::aws::AwsConfig::default();
    let credentials = pulumi_files::aws::resolve(&config, &environment, &http()).await;
    let scope = pulumi_files::aws::Scope {
        region: "us-east-1",
        service: "kms",
    };
    let now = aip_base::Clock::now(&SystemClock);
    let request = pulumi_files::aws::sign(request, &credentials.unwrap(), scope, now).unwrap();
    let answer = http().fetch(request, Limits::DOCUMENT).await.unwrap();
    assert!(answer.status.is_success(), "{answer:?}");
    answer.body
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
        "s3://state/team/a?endpoint={}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1",
        moto.address()
    );
    let store = TestStore::new(&url, &environment(&moto.url()), Arc::new(http()));
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
        &environment(&bucket_store.moto.url()),
        Arc::new(http()),
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

#[tokio::test]
async fn a_stack_under_a_kms_key_opens_with_its_context_only() {
    let moto = Moto::start().await;
    let call = |target: &str, body: String| {
        Request::post(moto.url())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{target}"))
            .body(Bytes::from(body))
            .unwrap()
    };
    let key = send(&moto, call("CreateKey", "{}".to_owned())).await;
    let key: serde_json::Value = serde_json::from_slice(&key).unwrap();
    let id = key["KeyMetadata"]["KeyId"].as_str().unwrap();
    let alias = serde_json::json!({"AliasName": "alias/Example", "TargetKeyId": id});
    send(&moto, call("CreateAlias", alias.to_string())).await;

    let keys = Keyring {
        environment: environment(&moto.url()),
        prompt: Arc::new(NonInteractivePrompt),
        http: Arc::new(http()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
    };
    for url in [
        "awskms://alias/Example?context_app=aip",
        &format!("awskms://{id}?region=us-east-1&context_app=aip"),
    ] {
        let mut file =
            StackFile::parse(Path::new("Pulumi.main.yaml"), String::new(), "aip").unwrap();
        let (crypter, encryption) = keys.create(url, None).await.unwrap();
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
