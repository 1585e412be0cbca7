//! The stack that is deployed, and the program that deploys it, run as an operator does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use harness::process::{self, Process};

/// Where its images come from.
pub(super) const IMAGE: &str = "registry.example/aip";
/// Where it is deployed: the name of the project and that of the stack.
pub(super) const NAMESPACE: &str = "aip-bench";

const NAME: &str = "bench";
const PASSPHRASE: &str = "correct horse battery staple";
/// A secret that is asked for, too.
const DATABASE_URL: &str = "aip_config.required_env.DATABASE_URL";
const SECRETS: &[(&str, &str)] = &[
    (DATABASE_URL, "postgresql://aip:secret@127.0.0.1:5432/aip"),
    (
        "aip_config.required_env.REDIS_DSN",
        "redis://:secret@127.0.0.1:6379/0",
    ),
    (
        "aip_config.extra_env.AIP_MASTER_KEYS",
        r#"{"primary":"m","keys":[{"kid":"m","key":"k"}],"token_pepper":"p"}"#,
    ),
    (
        "aip_config.signing_keys_json_string",
        r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#,
    ),
];
/// How often the memory of a program is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A project with one stack.
pub(super) struct Stack {
    program: PathBuf,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl Stack {
    /// Writes its files.
    pub(super) fn create(
        program: &Path,
        folder: &Path,
        kubeconfig: &Path,
        context: &str,
    ) -> Result<Self> {
        let stack = format!(
            r#"config:
  aip:k8s_context: {context}
  aip:aip_config:
    profile: restricted
    image_repo: {IMAGE}
    image_tag: v0
    replicas: 3
    drain_seconds: 1
    grace_seconds: 5
    probes: {{ready_path: /ready, alive_path: /healthy}}
    migrations: {{args: [exit, "0", migrated]}}
    service: {{type: cluster_ip}}
    required_env:
      ACTIVE_SIGNING_KEYS: '["k1"]'
      SERVICE_AUTH_KEYS: '["k1"]'
    extra_env:
      EXTERNAL_HOSTNAME: aip.example.org
"#
        );
        std::fs::create_dir(folder.join("state"))?;
        std::fs::write(folder.join("Pulumi.yaml"), "name: aip\nruntime: python\n")?;
        std::fs::write(folder.join(format!("Pulumi.{NAME}.yaml")), stack)?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    pub(super) async fn encrypt_secrets(&self) -> Result<()> {
        for (path, value) in SECRETS {
            self.run(&["config", "set", "--path", "--secret", path, value])
                .await?;
        }
        Ok(())
    }

    pub(super) async fn set_tag(&self, tag: &str) -> Result<()> {
        let arguments = ["config", "set", "--path", "aip_config.image_tag", tag];
        self.run(&arguments).await.map(drop)
    }

    /// Previews; in milliseconds.
    pub(super) async fn preview(&self) -> Result<f64> {
        self.run(&["preview"]).await
    }

    /// Deploys with everything said in advance; in milliseconds.
    pub(super) async fn up(&self) -> Result<f64> {
        self.run(&["up", "--yes", "--timeout", "120"]).await
    }

    /// Decrypts one value; in milliseconds.
    pub(super) async fn get_secret(&self) -> Result<f64> {
        self.run(&["config", "get", "--path", DATABASE_URL]).await
    }

    /// Previews once more; the most resident memory. The highest mark is kept by the kernel, so
    /// only what happens within a glance of the end can be missed.
    pub(super) async fn preview_peak_rss_mb(&self) -> Result<f64> {
        let mut command = self.command(&["preview"]);
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let process = Process::new(child.id().context("it has ended already")?);
        let mut peak = None;
        let status = loop {
            // One that has ended and was not waited for yet has no memory any more.
            peak = process.peak_rss_mb().ok().or(peak);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            sleep(POLL_INTERVAL).await;
        };
        ensure!(status.success(), "the preview failed ({status})");
        peak.context("the preview ended before its memory was seen")
    }

    /// Runs to the end; how long the process took, in milliseconds.
    async fn run(&self, arguments: &[&str]) -> Result<f64> {
        let mut command = self.command(arguments);
        let began = Instant::now();
        let output = command.output().await?;
        let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
        ensure!(
            output.status.success(),
            "`aip-deploy {}` failed ({}):\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Ok(milliseconds)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::bare(&self.program, &self.folder);
        let store = format!("file://{}", self.folder.join("state").display());
        command
            .args(["--stack", NAME, "--non-interactive"])
            .args(arguments)
            .env("HOME", &self.folder)
            .env("USER", "operator")
            .env("PULUMI_BACKEND_URL", store)
            .env("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
            .env("KUBECONFIG", &self.kubeconfig);
        command
    }
}
