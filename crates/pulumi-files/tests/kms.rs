//! `awskms://` stacks against a stand-in of the Key Management Service that checks signatures,
//! encryption contexts and key names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Body, Http, HttpError, full};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{keyring, passphrase};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Environment, Keyring, StackFile};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

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

fn amazon() -> Environment {
    Environment::new([
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ])
}

fn setup() -> (Arc<Service>, Keyring) {
    let service = Arc::new(Service::default());
    let keys = keyring(amazon(), Arc::clone(&service) as Arc<dyn Http>);
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
        assert_eq!(seen[0].0, format!("https://kms.{region}.amazonaws.com/"));
        assert!(seen[0].1.contains(&format!(
            "/{region}/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target"
        )));
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
    let (service, _) = setup();
    assert_eq!(
        open(&keyring(passphrase("p"), service), &file)
            .await
            .unwrap(),
        "s3cret"
    );
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
    let keys = keyring(
        Environment::new([
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]),
        Arc::new(Service::default()),
    );
    let error = keys
        .create("awskms://alias/E", None)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no AWS credentials found"), "{error}");
}

#[tokio::test]
async fn a_profile_gives_keys_or_names_a_program_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let script = folder.path().join("credentials.sh");
    std::fs::write(&script, "echo '{\"Version\":1,\"AccessKeyId\":\"FROMPROGRAM\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\"}'\n").unwrap();
    let process = format!(
        "[profile program]\nregion=eu-west-1\ncredential_process = /bin/sh \"{}\"\n",
        script.display()
    );
    std::fs::write(&config, process).unwrap();
    let keys_file = folder.path().join("credentials");
    std::fs::write(
        &keys_file,
        "[static]\naws_access_key_id=FROMFILE\naws_secret_access_key=s\nregion=us-east-1\n",
    )
    .unwrap();
    for (profile, key) in [("program", "FROMPROGRAM"), ("static", "FROMFILE")] {
        let service = Arc::new(Service::default());
        let environment = Environment::new([
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            ("AWS_SHARED_CREDENTIALS_FILE", keys_file.to_str().unwrap()),
        ]);
        let keys = keyring(environment, Arc::clone(&service) as Arc<dyn Http>);
        keys.create(&format!("awskms://alias/E?profile={profile}"), None)
            .await
            .unwrap();
        assert!(
            service.seen.lock().unwrap()[0]
                .1
                .contains(&format!("Credential={key}/"))
        );
    }
}

#[tokio::test]
async fn the_first_version_of_the_aws_cli_is_told_from_other_failures() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, "[profile team]\nsso_session = team\n").unwrap();
    let aws = folder.path().join("aws");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    for (version, says) in [
        (
            "aws-cli/1.22.34 Python/3.10.12",
            "needs version 2 of the AWS CLI",
        ),
        ("aws-cli/2.15.0 Python/3.11.6", "the session has expired"),
    ] {
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo '{version}' && exit\necho 'the session has expired' >&2\nexit 255\n"
        );
        std::fs::write(&aws, script).unwrap();
        std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
        let environment = Environment::new([
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            ("AWS_REGION", "us-east-1"),
            ("PATH", &path),
        ]);
        let keys = keyring(environment, Arc::new(Service::default()));
        let error = keys.create("awskms://alias/E?profile=team", None).await;
        let error = error.err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(
            error.contains("version 2"),
            says.contains("version 2"),
            "{error}"
        );
    }
}
