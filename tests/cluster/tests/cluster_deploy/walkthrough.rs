//! The walk-through of the original README with the program's name changed: log in, select, set a
//! secret, set the tag, preview, look at the details, say yes, watch the rollout.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::site::{SECRET, Site, program, server};

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";
const PROMPT: &str = "[Use arrows to move, type to filter]";
/// The last line of the question, as long as another answer is chosen.
const OPTIONS: &str = "  details";

/// A command on a terminal.
struct Terminal {
    child: tokio::process::Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn open(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let screen = child.stdout.take().unwrap();
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
        }
    }

    async fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Reads on until the words have come up since the last call.
    async fn shows(&mut self, words: &str) -> String {
        let reading = async {
            let mut bytes = [0; 4096];
            while !self.seen.contains(words) {
                let count = self.screen.read(&mut bytes).await.unwrap();
                assert!(
                    count > 0,
                    "the command ended before {words:?}:\n{}",
                    self.seen
                );
                self.seen
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        let in_time = tokio::time::timeout(Duration::from_mins(2), reading).await;
        assert!(in_time.is_ok(), "no {words:?} in\n{}", self.seen);
        std::mem::take(&mut self.seen)
    }

    async fn ends(mut self) -> (i32, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).await.unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().await.unwrap().code().unwrap(), self.seen)
    }
}

/// The program as an operator calls it: nothing is said in the environment but the passphrase.
fn operator(site: &Site, arguments: &[&str]) -> Command {
    let mut command = site.command(&[]);
    let environment: Vec<_> = command
        .as_std()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .filter(|(name, _)| name != "PULUMI_BACKEND_URL")
        .collect();
    let folder = command.as_std().get_current_dir().unwrap().to_owned();
    command = Command::new("script");
    // Its exit code is that of the command.
    let line = std::iter::once(program().to_str().unwrap()).chain(arguments.iter().copied());
    let line: Vec<_> = line.map(|word| format!("'{word}'")).collect();
    command
        .args([
            "--quiet",
            "--flush",
            "--return",
            "--command",
            &line.join(" "),
            "/dev/null",
        ])
        .env_clear()
        .envs(environment)
        .env("PULUMI_CONFIG_PASSPHRASE", "correct horse battery staple")
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .current_dir(folder)
        .kill_on_drop(true);
    command
}

async fn run(site: &Site, arguments: &[&str]) -> String {
    let (code, screen) = Terminal::open(operator(site, arguments)).ends().await;
    assert_eq!(code, 0, "{arguments:?}:\n{screen}");
    screen.replace('\r', "")
}

/// Writes the stack file, with the secrets set as an operator would.
async fn configure(site: &Site) {
    for tag in ["v0.1.1", "v0.1.2"] {
        site.push(tag, server());
    }
    let context = cluster::ControlPlane::shared().await.context();
    let stack = format!(
        r#"config:
  aip:k8s_context: {context}
  aip:aip_config:
    profile: compat
    image_repo: registry.example/main
    image_tag: v0.1.1  # the image of last week
    replicas: 3
    probes: {{ready_path: /ready}}
    service: {{plain_http: false}}
    ssl_cert_arn: arn:aws:acm:us-east-1:000000000000:certificate/1
    required_env:
      WORKER_ID: main01
      JSON_WEB_KEYS: /app/signing_keys.json
      ACTIVE_SIGNING_KEYS: '["k1"]'
      SERVICE_AUTH_KEYS: '["k1"]'
"#
    );
    std::fs::write(site.stack_file(), stack).unwrap();

    let url = format!("file://{}", site.state().display());
    run(site, &["login", &url]).await;
    run(site, &["stack", "select", "main"]).await;
    let keys = r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#;
    for (key, value) in [
        (
            "required_env.DATABASE_URL",
            format!("postgresql://aip:{SECRET}@127.0.0.1:5432/aip"),
        ),
        (
            "required_env.REDIS_DSN",
            format!("redis://:{SECRET}@127.0.0.1:6379/0"),
        ),
        ("signing_keys_json_string", keys.to_owned()),
    ] {
        let path = format!("aip_config.{key}");
        let shown = run(
            site,
            &["config", "set", "--path", "--secret", &path, &value],
        )
        .await;
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_the_walk_through_works_with_the_programs_name_changed() {
    let site = Site::new("main").await;
    configure(&site).await;
    run(&site, &["up", "--yes"]).await;

    run(
        &site,
        &["config", "set", "--path", "aip_config.image_tag", "v0.1.2"],
    )
    .await;
    let text = std::fs::read_to_string(site.stack_file()).unwrap();
    assert!(
        text.contains("image_tag: v0.1.2  # the image of last week"),
        "{text}"
    );
    assert!(!text.contains(SECRET));

    let preview = run(&site, &["--color", "never", "preview"]).await;
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
    let diff = run(&site, &["--color", "never", "preview", "--diff"]).await;
    let change = "~ image: \"registry.example/main:v0.1.1\" => \"registry.example/main:v0.1.2\"";
    assert!(diff.contains(change), "{diff}");

    // The default is no.
    let mut terminal = Terminal::open(operator(&site, &["--color", "never", "up"]));
    terminal.shows(OPTIONS).await;
    terminal.type_in(ENTER).await;
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, 1, "{screen}");
    assert!(
        screen.contains("confirmation declined, not proceeding with the update"),
        "{screen}"
    );

    let mut terminal = Terminal::open(operator(&site, &["--color", "never", "up"]));
    let question = terminal.shows(OPTIONS).await;
    assert!(
        question.contains("Do you want to perform this update?") && question.contains(PROMPT),
        "{question}"
    );
    terminal.type_in(&format!("{DOWN}{ENTER}")).await;
    let details = terminal.shows(OPTIONS).await;
    assert!(details.contains(change), "{details}");
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
    let live = site.deployment().await;
    assert_eq!(
        live.data["spec"]["template"]["spec"]["containers"][0]["image"],
        "registry.example/main:v0.1.2"
    );
}
