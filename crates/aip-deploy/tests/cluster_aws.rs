//! State and keys on AWS, against moto (<https://docs.getmoto.org>), a stand-in for AWS that other
//! projects test with too. It is installed into the cache folder at the first run, which is why
//! these tests belong to the suite that may take its time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod contract;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aip_base::{Http, Limits, SystemClock, SystemRng};
use aip_deploy::aws_http::AwsHttp;
use aip_deploy::store::StateStore as _;
use bytes::Bytes;
use contract::{World, contract};
use http::Request;
use pulumi_files::yaml::Tree;
use pulumi_files::{ConfigPath, Environment, Keyring, Prompt, StackFile};
use secrecy::{ExposeSecret as _, SecretString};

const VERSION: &str = "5.2.5";

/// The program, installed once.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = named("AIP_CACHE_DIR")
        .or_else(|| Some(named("HOME")?.join(".cache/aip")))
        .unwrap();
    let folder = cache.join(format!("moto-{VERSION}"));
    let program = folder.join("bin/moto_server");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let package = format!("moto[server,s3,kms]=={VERSION}");
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &package]));
    }
    program
});

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A server of its own for each test.
struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(PROGRAM.as_path())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Sends a signed request until the server answers.
    async fn send(&self, service: &str, request: Request<Bytes>) -> Bytes {
        let credentials = pulumi_files::aws::resolve(
            &pulumi_files::aws::AwsConfig::default(),
            &environment(&self.url),
            &http(),
        )
        .await
        .unwrap();
        let scope = pulumi_files::aws::Scope {
            region: "us-east-1",
            service,
        };
        let now = aip_base::Clock::now(&SystemClock);
        let request = pulumi_files::aws::sign(request, &credentials, scope, now).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            match http().fetch(request.clone(), Limits::DOCUMENT).await {
                Ok(answer) => {
                    assert!(answer.status.is_success(), "{answer:?}");
                    return answer.body;
                }
                Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn bucket(&self, name: &str) {
        self.send(
            "s3",
            Request::put(format!("{}/{name}", self.url))
                .body(Bytes::new())
                .unwrap(),
        )
        .await;
    }
}

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

struct Place {
    /// Ends with the test.
    moto: Moto,
    world: World,
}

async fn place() -> Place {
    let moto = Moto::start();
    moto.bucket("state").await;
    let address = moto.url.trim_start_matches("http://");
    let url = format!(
        "s3://state/team/a?endpoint={address}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1"
    );
    let world = World::new(&url, &environment(&moto.url), Arc::new(http()));
    Place { moto, world }
}

contract!(place);

#[tokio::test]
async fn a_bucket_honours_conditional_writes_and_a_missing_one_is_named() {
    let place = place().await;
    place.world.stacks.probe().await.unwrap();
    assert!(place.world.stacks.names("aip").await.unwrap().is_empty());
    place.world.state().promote(vec![]).await.unwrap();
    assert_eq!(place.world.stacks.names("aip").await.unwrap().len(), 1);
    let url = place.moto.url.trim_start_matches("http://");
    let missing = World::new(
        &format!("s3://missing?endpoint={url}&disableSSL=true"),
        &environment(&place.moto.url),
        Arc::new(http()),
    );
    let error = missing.stacks.probe().await.unwrap_err().to_string();
    assert!(error.contains("there is no such bucket"), "{error}");
}

struct Nobody;

impl Prompt for Nobody {
    fn interactive(&self) -> bool {
        false
    }

    fn secret(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[tokio::test]
async fn a_stack_under_a_kms_key_opens_with_its_context_only() {
    let moto = Moto::start();
    let call = |target: &str, body: String| {
        Request::post(format!("{}/", moto.url))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{target}"))
            .body(Bytes::from(body))
            .unwrap()
    };
    let key = moto.send("kms", call("CreateKey", "{}".to_owned())).await;
    let key: serde_json::Value = serde_json::from_slice(&key).unwrap();
    let id = key["KeyMetadata"]["KeyId"].as_str().unwrap();
    let alias = serde_json::json!({"AliasName": "alias/Example", "TargetKeyId": id});
    moto.send("kms", call("CreateAlias", alias.to_string()))
        .await;

    let keys = Keyring {
        environment: environment(&moto.url),
        prompt: Arc::new(Nobody),
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
