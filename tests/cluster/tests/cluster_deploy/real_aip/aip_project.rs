//! A stack with the real `aip`, every secret of it encrypted: PostgreSQL, Valkey, a PDS, PLC and
//! DNS beside it, and a load balancer in front.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Mutex;

use aip_sandbox::{NameServer, Person, Sandbox, SandboxOptions};
use aip_testkit::valkey::{ValkeyServer, free_ports};
use cluster::{Balancer, ControlPlane, Image, aip_image};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::person::{Credentials, REDIRECT_URI, SCOPE, SignedIn};
use super::search::Needles;
use super::secrets::{PASSWORD, Secrets, aip, program};
use crate::test_project::{CommandOutput, TestProject};

const PASSPHRASE: &str = "correct-horse-battery-staple";
/// The machine is shared: what takes seconds may take minutes.
const TIMEOUT: &str = "540";

pub(crate) struct AipProject {
    pub(crate) project: TestProject,
    pub(crate) balancer: Balancer,
    pub(crate) sandbox: Sandbox,
    settings: Vec<(&'static str, String)>,
    secrets: Secrets,
    /// Everything that `aip-deploy` has said.
    said: Mutex<Vec<String>>,
    redis_dsn: String,
    valkey: ValkeyServer,
    _names: NameServer,
}

impl AipProject {
    /// Everything but the Pods: nothing is deployed yet.
    pub(crate) async fn new(stack: &str, replicas: usize) -> Self {
        let project = TestProject::new(stack).await;
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let names = NameServer::start(sandbox.dns.clone()).await.unwrap();
        let namespace = project.namespace();
        let balancer = Balancer::start(&project.client, &namespace, "aip-headless", "http").await;
        let settings = vec![
            ("AIP_DEVELOPMENT", "true".to_owned()),
            ("AIP_DNS_NAMESERVERS", names.address.to_string()),
            (
                "AIP_EXTERNAL_BASE",
                format!("http://{}", balancer.address()),
            ),
            ("AIP_PLC_URLS", sandbox.plc.origin().to_owned()),
        ];
        let [port] = free_ports();
        let aip_project = Self {
            project,
            balancer,
            sandbox,
            settings,
            secrets: Secrets::make().await,
            said: Mutex::default(),
            redis_dsn: format!("redis://127.0.0.1:{port}/0"),
            valkey: ValkeyServer::listening(port, &[]).await,
            _names: names,
        };
        aip_project.push("v1");
        aip_project.configure(replicas).await;
        aip_project
    }

    /// Publishes the image as it is released.
    pub(crate) fn push(&self, tag: &str) {
        self.project.push(tag, listening(aip_image()));
    }

    /// Publishes an image whose server says `words` and ends; everything else of it works.
    pub(crate) fn push_that_only_migrates(&self, tag: &str, words: &str) {
        let path = self.secrets.folder.path().join(tag);
        let program = program();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = serve ] || exec '{}' \"$@\"\necho '{words}' >&2\nexit 3\n",
            program.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        self.project
            .push(tag, listening(Image::program(path).arguments(["serve"])));
    }

    /// Writes the stack file as an operator would: plain values first, then each secret.
    async fn configure(&self, replicas: usize) {
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| format!("      {name}: \"{value}\"\n"));
        let text = format!(
            "config:
  aip:k8s_context: {context}
  aip:aip_config:
    profile: restricted
    image_repo: registry.example/{stack}
    image_tag: v1
    image_digest: \"off\"
    replicas: {replicas}
    drain_seconds: 2
    grace_seconds: 60
    requests: {{cpu: 50m, memory: 64Mi}}
    probes: {{startup_seconds: 300}}
    service: {{type: cluster_ip}}
    required_env: {{}}
    extra_env:
{settings}",
            context = ControlPlane::shared().await.context(),
            stack = self.project.stack,
            settings = settings.collect::<String>(),
        );
        std::fs::write(self.project.stack_file(), text).unwrap();
        let active = self.secrets.upstream_key_ids().join(",");
        for (path, value) in [
            (
                "required_env.DATABASE_URL",
                self.secrets.database_url.as_str(),
            ),
            ("required_env.REDIS_DSN", &self.redis_dsn),
            ("required_env.ACTIVE_SIGNING_KEYS", &active),
            ("extra_env.AIP_MASTER_KEYS", &self.secrets.master_keys),
            ("signing_keys_json_string", &self.secrets.keys),
        ] {
            self.set_secret(path, value).await;
        }
        self.deploy(&["config", "check"]).await.exits(0);
    }

    /// Encrypts a value of `aip_config` into the stack file.
    pub(crate) async fn set_secret(&self, path: &str, value: &str) {
        let path = format!("aip_config.{path}");
        let arguments = ["config", "set", "--path", "--secret", &path];
        self.run(&arguments, value).await.exits(0);
    }

    /// Writes another tag into the stack file.
    pub(crate) async fn set_tag(&self, tag: &str) {
        let arguments = ["config", "set", "--path", "aip_config.image_tag", tag];
        self.deploy(&arguments).await.exits(0);
    }

    /// Deploys with everything said in advance.
    pub(crate) async fn up(&self) -> CommandOutput {
        self.up_with(&[]).await
    }

    /// The same with further flags.
    pub(crate) async fn up_with(&self, flags: &[&str]) -> CommandOutput {
        let up = ["up", "--yes", "--diff", "--timeout", TIMEOUT];
        self.deploy(&[&up, flags].concat()).await
    }

    /// Runs `aip-deploy`; what it says is kept.
    pub(crate) async fn deploy(&self, arguments: &[&str]) -> CommandOutput {
        self.run(arguments, "").await
    }

    async fn run(&self, arguments: &[&str], input: &str) -> CommandOutput {
        let ran = self.run_aside(arguments, input).await;
        let mut said = self.said.lock().unwrap();
        said.push(ran.out.clone());
        said.push(ran.err.clone());
        ran
    }

    /// Runs `aip-deploy` for what is its business to show.
    pub(crate) async fn run_aside(&self, arguments: &[&str], input: &str) -> CommandOutput {
        let mut child = self
            .project
            .command(arguments)
            .env("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may have ended already.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Everything that `aip-deploy` has said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// What must be seen nowhere.
    pub(crate) fn needles(&self) -> Needles {
        let secrets = &self.secrets;
        Needles::new([
            ("passphrase", PASSPHRASE.to_owned()),
            ("password of the database", PASSWORD.to_owned()),
        ])
        .with_values_of(
            "master keys",
            &secrets.master_keys,
            &["key", "token_pepper"],
        )
        .with_values_of("signing keys", &secrets.keys, &["d"])
        .encoded([
            ("database URL", secrets.database_url.as_str()),
            ("master keys", &secrets.master_keys),
            ("signing keys", &secrets.keys),
        ])
    }

    /// The same database, but with a user that it does not have.
    pub(crate) fn wrong_database_url(&self) -> String {
        self.secrets.database_url.replace("aip:", "nobody:")
    }

    /// The image of which every replica is there, and serves.
    pub(crate) async fn serving(&self) -> String {
        let live = self.project.deployment().await;
        let image = &live.data["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().unwrap().to_owned()
    }

    /// Does something to the database behind the back of `aip`.
    pub(crate) async fn sql(&self, statement: &str) {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--command", statement])
            .arg(self.database_url());
        let status = psql.kill_on_drop(true).status().await;
        assert!(status.is_ok_and(|status| status.success()), "{statement}");
    }

    /// Everything that the database holds, as text.
    pub(crate) async fn dump(&self) -> String {
        let mut dump = Command::new("pg_dump");
        dump.args(["--data-only", "--dbname"])
            .arg(self.database_url());
        let output = dump.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The id of the master key that the stack began with.
    pub(crate) fn first_master_key(&self) -> String {
        let keys: serde_json::Value = serde_json::from_str(&self.secrets.master_keys).unwrap();
        keys["primary"].as_str().unwrap().to_owned()
    }

    /// How many connections there are to Valkey.
    pub(crate) async fn valkey_connections(&self) -> usize {
        let clients = self.valkey.cli(&["CLIENT", "LIST"]).await;
        // One of them asks.
        clients.lines().count() - 1
    }

    /// The URL of the database.
    pub(crate) fn database_url(&self) -> &str {
        &self.secrets.database_url
    }

    /// Registers an app beside the servers, and signs somebody in to it through the balancer.
    pub(crate) async fn sign_in(&self, person: &Person) -> SignedIn {
        let mut command = aip(&self.secrets.folder);
        command
            .args(["clients", "create", "--output", "json", "--name", "Story"])
            .args(["--redirect-uri", REDIRECT_URI, "--scope", SCOPE])
            .envs(self.settings.iter().cloned())
            .env("AIP_DATABASE_URL", &self.secrets.database_url);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let credentials: Credentials = serde_json::from_slice(&output.stdout).unwrap();
        SignedIn::through(self.balancer.address(), credentials, person).await
    }
}

/// An image of `aip` whose Pods listen side by side on this machine.
fn listening(image: Image) -> Image {
    image
        .listens("HTTP_PORT", "AIP_LISTEN")
        .variable("AIP_INTERNAL_LISTEN", "0.0.0.0:9090")
}
