//! `awskms://` stacks against a stand-in of the Key Management Service that checks signatures,
//! encryption contexts and key names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_aws::{Aws, Credentials};
use aip_base::{Body, Environment, Http, HttpError, SystemClock, SystemRng, full};
use aip_deploy::AwsKeys;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use pulumi_files::{ConfigPath, Keyring, Prompt, StackFile};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use yaml_lossless::Tree;

/// A service whose "encryption" is the key's name and context in front of the plaintext.
#[derive(Default)]
struct Service {
    seen: Mutex<Vec<(String, String)>>,
    failures: AtomicUsize,
}

impl Service {
    fn answer(&self, uri: &str, authorization: &str, target: &str, body: &Value) -> (u16, Value) {
        self.seen
            .lock()
            .unwrap()
            .push((uri.to_owned(), authorization.to_owned()));
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return (500, json!({"__type": "KMSInternalException"}));
        }
        let context = body["EncryptionContext"].to_string();
        if target == "TrentService.Encrypt" {
            let key = body["KeyId"].as_str().unwrap();
            let blob = format!("{key}|{context}|{}", body["Plaintext"].as_str().unwrap());
            return (
                200,
                json!({"CiphertextBlob": STANDARD.encode(blob), "KeyId": key}),
            );
        }
        let blob = STANDARD
            .decode(body["CiphertextBlob"].as_str().unwrap())
            .unwrap();
        let blob = String::from_utf8(blob).unwrap();
        let parts: Vec<_> = blob.split('|').collect();
        if parts[1] == context {
            (200, json!({"Plaintext": parts[2], "KeyId": parts[0]}))
        } else {
            (
                400,
                json!({"__type": "InvalidCiphertextException", "message": "no"}),
            )
        }
    }
}

#[async_trait]
impl Http for Service {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        let (head, body) = request.into_parts();
        let header = |name: &str| {
            head.headers
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        let body: Value =
            serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let (status, answer) = self.answer(
            &head.uri.to_string(),
            &header("authorization"),
            &header("x-amz-target"),
            &body,
        );
        Ok(Response::builder()
            .status(status)
            .body(full(answer.to_string()))
            .unwrap())
    }
}

/// Nobody at the terminal.
struct NonInteractivePrompt;

impl Prompt for NonInteractivePrompt {
    fn is_interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// With the credentials of nobody, and a region only where a test names one.
fn setup() -> (Arc<Service>, Keyring) {
    let service = Arc::new(Service::default());
    let credentials = Credentials::new("AKID", "secret", None, None, "test");
    let http = Arc::clone(&service) as Arc<dyn Http>;
    let aws = Aws::new(http, Arc::new(SystemClock)).with_credentials(credentials, None);
    let keys = Keyring {
        environment: Environment::new([("PULUMI_CONFIG_PASSPHRASE", "p")]),
        prompt: Arc::new(NonInteractivePrompt),
        key_service: Arc::new(AwsKeys(aws)),
        rng: Arc::new(SystemRng),
    };
    (service, keys)
}

async fn stack(keys: &Keyring, provider: &str) -> StackFile {
    let mut file = StackFile::parse("Pulumi.main.yaml".as_ref(), String::new(), "aip").unwrap();
    let (crypter, encryption) = keys.create(provider, None).await.unwrap();
    file.set_encryption(&encryption).unwrap();
    let ciphertext = crypter.encrypt("s3cret", keys.rng.as_ref()).unwrap();
    file.set(
        &ConfigPath::parse("a", "aip").unwrap(),
        Tree::secret(ciphertext),
    )
    .unwrap();
    file
}

async fn open(keys: &Keyring, file: &StackFile) -> Result<String, String> {
    let crypter = keys
        .open(&file.encryption())
        .await
        .map_err(|e| e.to_string())?;
    Ok(crypter
        .decrypt(&file.secrets()[0].ciphertext)
        .unwrap()
        .expose_secret()
        .to_owned())
}

#[tokio::test]
async fn every_way_to_name_a_key_wraps_and_unwraps_the_data_key() {
    let arn = "arn:aws:kms:eu-west-1:000000000000:key/1234";
    for (url, key, region) in [
        (
            "awskms://alias/Example?region=us-east-1",
            "alias/Example",
            "us-east-1",
        ),
        (
            "awskms://1234-abcd?region=eu-west-1&awssdk=v2",
            "1234-abcd",
            "eu-west-1",
        ),
        (&format!("awskms:///{arn}"), arn, "eu-west-1"),
        // No other region has the key.
        (
            &format!("awskms:///{arn}?region=us-east-1"),
            arn,
            "eu-west-1",
        ),
        (
            "awskms://alias/China?region=cn-north-1",
            "alias/China",
            "cn-north-1",
        ),
    ] {
        let (service, keys) = setup();
        let file = stack(&keys, url).await;
        assert_eq!(file.encryption().provider.as_deref(), Some(url));
        let blob = STANDARD
            .decode(file.encryption().encrypted_key.unwrap())
            .unwrap();
        assert!(blob.starts_with(key.as_bytes()), "{url}");
        assert_eq!(open(&keys, &file).await.unwrap(), "s3cret");
        let seen = service.seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let endpoint = format!("https://kms.{region}.amazonaws.com{suffix}/");
        assert_eq!(seen[0].0, endpoint);
        assert!(seen[0].1.contains("Credential=AKID/"), "{}", seen[0].1);
        let scope = format!("/{region}/kms/aws4_request");
        assert!(seen[0].1.contains(&scope), "{}", seen[0].1);
    }
}

#[tokio::test]
async fn the_encryption_context_of_the_url_is_bound_to_the_key() {
    let (_, keys) = setup();
    let file = stack(&keys, "awskms://alias/E?region=us-east-1&context_app=aip").await;
    assert_eq!(open(&keys, &file).await.unwrap(), "s3cret");
    let other = file.text().replace("context_app=aip", "context_app=other");
    let other = StackFile::parse("Pulumi.main.yaml".as_ref(), other, "aip").unwrap();
    assert_eq!(
        open(&keys, &other).await.unwrap_err(),
        "AWS KMS refused: InvalidCiphertextException: no"
    );
}

#[tokio::test]
async fn a_stack_moves_from_one_key_to_another_and_back_to_a_passphrase() {
    let (_, keys) = setup();
    let mut file = stack(&keys, "awskms://alias/One?region=us-east-1").await;
    keys.change_provider(&mut file, "awskms://alias/Two?region=us-east-1", None)
        .await
        .unwrap();
    assert_eq!(open(&keys, &file).await.unwrap(), "s3cret");
    assert!(file.text().contains("alias/Two") && !file.text().contains("alias/One"));
    keys.change_provider(&mut file, "passphrase", Some(SecretString::from("p")))
        .await
        .unwrap();
    let encryption = file.encryption();
    assert!(
        encryption.provider.is_none()
            && encryption.encrypted_key.is_none()
            && encryption.salt.is_some()
    );
    let (_, others) = setup();
    assert_eq!(open(&others, &file).await.unwrap(), "s3cret");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stumbles_is_asked_again() {
    let (service, keys) = setup();
    let file = stack(&keys, "awskms://alias/One?region=us-east-1").await;
    service.failures.store(2, Ordering::SeqCst);
    assert_eq!(open(&keys, &file).await.unwrap(), "s3cret");
    service.failures.store(100, Ordering::SeqCst);
    assert!(
        open(&keys, &file)
            .await
            .unwrap_err()
            .contains("KMSInternalException")
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (_, keys) = setup();
    let error = async |url: &str| keys.create(url, None).await.err().unwrap().to_string();
    assert!(error("awskms://alias/E").await.contains("region"));
    assert!(
        error("awskms://?region=x")
            .await
            .contains("the key is missing")
    );
    assert!(
        error("awskms://alias/E?regio=x")
            .await
            .contains("unknown parameter `regio`")
    );
    assert!(
        error("gcpkms://projects/x")
            .await
            .contains("`gcpkms://projects/x` is not supported")
    );
}
