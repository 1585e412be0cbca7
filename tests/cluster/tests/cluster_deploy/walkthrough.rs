//! The walk-through of the original README with the program's name changed: log in to the bucket,
//! select, set a secret, set the tag, preview, look at the details, say yes, watch the rollout.

use std::ffi::OsString;

use cluster::{ControlPlane, Moto, eventually};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::terminal::Terminal;
use crate::test_project::{SECRET, TestProject, program, server};

const BUCKET: &str = "graze.iac.state";
const CONTEXT: &str = "arn:aws:eks:us-east-1:123456789012:cluster/graze-01";
const PASSPHRASE: &str = "correct horse battery staple";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";
const CHANGE: &str =
    "~ image: \"registry.example/main:v0.1.1\" => \"registry.example/main:v0.1.2\"";
/// The last line of the question, as long as another answer is chosen.
const OPTIONS: &str = "  details";

/// The stack file, without its secrets.
const STACK: &str = r#"config:
  aip:k8s_context: arn:aws:eks:us-east-1:123456789012:cluster/graze-01
  aip:aip_config:
    profile: compat
    image_repo: registry.example/main
    image_tag: v0.1.1  # the image of last week
    replicas: 3
    probes: {ready_path: /ready}
    service: {plain_http: false}
    ssl_cert_arn: arn:aws:acm:us-east-1:000000000000:certificate/1
    required_env:
      WORKER_ID: main01
      JSON_WEB_KEYS: /app/signing_keys.json
      ACTIVE_SIGNING_KEYS: '["k1"]'
      SERVICE_AUTH_KEYS: '["k1"]'
"#;

/// An operator at a terminal, in the folder of the project.
struct TerminalProject {
    project: TestProject,
    aws: Moto,
}

impl TerminalProject {
    /// With the stack of last week: its bucket is there, its context is in the kubeconfig, nothing
    /// is deployed, nobody has logged in.
    async fn new() -> Self {
        let mut project = TestProject::new("main").await;
        for tag in ["v0.1.1", "v0.1.2"] {
            project.push(tag, server());
        }
        let kubeconfig = project.state().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_with_the_context().await).unwrap();
        project.use_kubeconfig(kubeconfig);
        std::fs::write(project.stack_file(), STACK).unwrap();
        let aws = Moto::start().await;
        aws.create_bucket(BUCKET).await;
        Self { project, aws }
    }

    /// A command, with nothing said in the environment but who the operator is.
    fn command(&self, arguments: &[&str]) -> Command {
        let command = self.project.command(&[]);
        let command = command.as_std();
        let environment = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .filter(|(name, _)| name != "PULUMI_BACKEND_URL")
            .chain([
                (OsString::from("AWS_ACCESS_KEY_ID"), "test".into()),
                ("AWS_SECRET_ACCESS_KEY".into(), "test".into()),
                ("AWS_REGION".into(), "us-east-1".into()),
                ("AWS_ENDPOINT_URL".into(), self.aws.url().into()),
                ("PULUMI_CONFIG_PASSPHRASE".into(), PASSPHRASE.into()),
                ("TERM".into(), "xterm".into()),
                ("SHELL".into(), "/bin/sh".into()),
            ]);
        let words = std::iter::once(program().to_str().unwrap()).chain(arguments.iter().copied());
        let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
        let mut terminal = Command::new("script");
        terminal
            // Its exit code is that of the command.
            .args(["--quiet", "--flush", "--return", "--command"])
            .args([words.join(" ").as_str(), "/dev/null"])
            .env_clear()
            .envs(environment)
            .current_dir(command.get_current_dir().unwrap())
            .kill_on_drop(true);
        terminal
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let (code, screen) = Terminal::open(self.command(arguments)).ends().await;
        assert_eq!(code, 0, "{arguments:?}:\n{screen}");
        assert!(!screen.contains(SECRET), "{screen}");
        screen.replace('\r', "")
    }

    async fn set_secret(&self, key: &str, value: &str) {
        let path = format!("aip_config.{key}");
        let arguments = ["config", "set", "--path", "--secret", &path, value];
        self.run(&arguments).await;
    }

    fn stack_file(&self) -> String {
        std::fs::read_to_string(self.project.stack_file()).unwrap()
    }

    /// What `kubectl get pods -l app.kubernetes.io/name=aip` lists in the end: images.
    async fn images(&self) -> Vec<String> {
        let pods = self.project.api("", "Pod");
        let selected = ListParams::default().labels("app.kubernetes.io/name=aip");
        eventually("the old Pods are gone", async || {
            let list = pods.list(&selected).await.unwrap();
            let leaving = list
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_some());
            let leaving: Vec<_> = leaving.map(ResourceExt::name_any).collect();
            if !leaving.is_empty() {
                return Err(leaving.join(", "));
            }
            let image = |pod: &kube::api::DynamicObject| {
                let containers = &pod.data["spec"]["containers"];
                containers[0]["image"].as_str().unwrap().to_owned()
            };
            Ok(list.iter().map(image).collect())
        })
        .await
    }
}

/// The cluster's kubeconfig, its context named as EKS names them.
async fn kubeconfig_with_the_context() -> String {
    let kubeconfig = std::fs::read_to_string(ControlPlane::shared().await.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig).unwrap();
    kubeconfig["contexts"][0]["name"] = json!(CONTEXT);
    kubeconfig["current-context"] = json!(CONTEXT);
    kubeconfig.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_the_walk_through_works_with_the_programs_name_changed() {
    let terminal = TerminalProject::new().await;

    // Set-up steps.
    let url = format!("s3://{BUCKET}");
    terminal.run(&["login", &url]).await;
    let known = terminal.run(&["whoami", "--verbose"]).await;
    assert!(known.contains(&url), "{known}");
    terminal.run(&["stack", "select", "main"]).await;

    // Config interface.
    let database = format!("postgresql+asyncpg://postgres:{SECRET}@postgres/aip");
    terminal
        .set_secret("required_env.DATABASE_URL", &database)
        .await;
    let redis = format!("redis://user:{SECRET}@redis:6379/0");
    terminal.set_secret("required_env.REDIS_DSN", &redis).await;
    let keys = r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#;
    terminal.set_secret("signing_keys_json_string", keys).await;
    assert!(!terminal.stack_file().contains(SECRET));
    terminal.run(&["up", "--yes"]).await;
    assert_eq!(terminal.images().await, ["registry.example/main:v0.1.1"; 3]);

    // Applying changes.
    terminal.run(&["stack", "select", "main"]).await;
    let set = ["config", "set", "--path", "aip_config.image_tag", "v0.1.2"];
    terminal.run(&set).await;
    let text = terminal.stack_file();
    let line = "image_tag: v0.1.2  # the image of last week";
    assert!(text.contains(line), "{text}");
    previews_what_was_promised(&terminal).await;
    declines_unless_told_otherwise(&terminal).await;
    shows_the_details_and_rolls_out(&terminal).await;
    assert_eq!(terminal.images().await, ["registry.example/main:v0.1.2"; 3]);
}

/// The tree and the counts are those of the README, to the letter.
async fn previews_what_was_promised(terminal: &TerminalProject) {
    let preview = terminal.run(&["--color", "never", "preview"]).await;
    let promised = "\
Previewing update (main):
     Type                                 Name      Plan       Info
     pulumi:pulumi:Stack                  aip-main
     └─ aip:index:AIPService              aip
 ~      └─ kubernetes:apps/v1:Deployment  aip       update     [diff: ~spec]

Resources:
    ~ 1 to update
    8 unchanged
";
    assert_eq!(preview, promised);
    let diff = terminal
        .run(&["--color", "never", "preview", "--diff"])
        .await;
    assert!(diff.contains(CHANGE), "{diff}");
}

async fn declines_unless_told_otherwise(terminal: &TerminalProject) {
    let mut terminal = Terminal::open(terminal.command(&["--color", "never", "up"]));
    let question = terminal.shows(OPTIONS).await.replace('\r', "");
    let promised = "Do you want to perform this update?  [Use arrows to move, type to filter]
  yes
> no
  details";
    assert!(question.contains(promised), "{question}");
    terminal.type_in(ENTER).await;
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, 1, "{screen}");
    assert!(
        screen.contains("confirmation declined, not proceeding with the update"),
        "{screen}"
    );
}

async fn shows_the_details_and_rolls_out(terminal: &TerminalProject) {
    let mut terminal = Terminal::open(terminal.command(&["--color", "never", "up"]));
    terminal.shows(OPTIONS).await;
    terminal.type_in(&format!("{DOWN}{ENTER}")).await;
    let details = terminal.shows(OPTIONS).await;
    assert!(details.contains(CHANGE), "{details}");
    terminal.type_in(&format!("{UP}{ENTER}")).await;
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, 0, "{screen}");
    for words in [
        "Updating (main):",
        "Deployment aip",
        "ReplicaSet aip-",
        "Pod aip-",
        "~ 1 updated",
        "8 unchanged",
        "Duration:",
    ] {
        assert!(screen.contains(words), "no {words:?} in\n{screen}");
    }
    assert!(!screen.contains(SECRET));
}
