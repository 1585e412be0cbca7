//! What the stories share: a project with a stack of its own, a state backend in a folder, and the
//! program under test.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use aip_apply::apply::FailPoint;
use cluster::{ControlPlane, Image, Kubelet, eventually, workspace_example, workspace_program};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

static KUBELET: OnceCell<Kubelet> = OnceCell::const_new();
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| workspace_program("aip-deploy"));
static FAIL_POINTS: LazyLock<PathBuf> = LazyLock::new(|| workspace_example("fail-points"));

/// A value that must never be seen in any output or in the state.
pub(crate) const SECRET: &str = "hunter2-hunter2";

/// The program, built once: it belongs to another package.
pub(crate) fn program() -> &'static Path {
    &PROGRAM
}

/// A project with one stack.
pub(crate) struct TestProject {
    folder: TempDir,
    pub(crate) stack: String,
    pub(crate) client: Client,
    kubelet: &'static Kubelet,
    kubeconfig: PathBuf,
    context: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n--\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        let found = self.out.contains(words) || self.err.contains(words);
        assert!(found, "no {words:?} in\n{}\n--\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(self, words: &str) -> Self {
        let found = self.out.contains(words) || self.err.contains(words);
        assert!(!found, "{words:?} in\n{}\n--\n{}", self.out, self.err);
        self
    }
}

impl TestProject {
    /// A stack of that name, not deployed yet, in the cluster that all stories share.
    pub(crate) async fn new(stack: &str) -> Self {
        let cluster = ControlPlane::shared().await;
        let kubelet = KUBELET.get_or_init(|| Kubelet::start(cluster)).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::write(
            folder.path().join("Pulumi.yaml"),
            "name: aip\nruntime: python\n",
        )
        .unwrap();
        let project = Self {
            folder,
            stack: stack.to_owned(),
            client: cluster.client().await,
            kubelet,
            kubeconfig: cluster.kubeconfig(),
            context: cluster.context().to_owned(),
        };
        project.push("v1", server());
        project.write("v1", "");
        project
    }

    /// Writes the stack file. `more` are lines below `aip_config`.
    pub(crate) fn write(&self, tag: &str, more: &str) {
        let more: String = more
            .lines()
            .flat_map(|line| {
                [
                    "    ", line, "
",
                ]
            })
            .collect();
        let text = format!(
            r#"config:
  aip:k8s_context: {context}
  aip:aip_config:
    profile: restricted
    image_slug: {image}
    image_digest: "off"
    replicas: 2
    drain_seconds: 1
    grace_seconds: 5
    probes: {{ready_path: /ready, alive_path: /healthy}}
{migrations}    service: {{type: cluster_ip}}
    signing_keys_json_string: '{{"keys":[{{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}}]}}'
    required_env:
      DATABASE_URL: postgresql://aip:{SECRET}@127.0.0.1:5432/aip
      REDIS_DSN: redis://127.0.0.1:6379/0
      ACTIVE_SIGNING_KEYS: '["k1"]'
      SERVICE_AUTH_KEYS: '["k1"]'
      AIP_MASTER_KEYS: '{{"primary":"m","keys":[{{"kid":"m","key":"k"}}],"token_pepper":"p"}}'
      EXTERNAL_HOSTNAME: auth.example.com
{more}"#,
            migrations = if more.contains("migrations:") {
                ""
            } else {
                "    migrations: {args: [exit, \"0\", migrated]}\n"
            },
            context = self.context,
            image = self.image(tag),
        );
        std::fs::write(self.stack_file(), text).unwrap();
    }

    pub(crate) fn stack_file(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("Pulumi.{}.yaml", self.stack))
    }

    /// The home folder of whoever runs commands, which is that of the project.
    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    /// Where the state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// An image of this stack only.
    pub(crate) fn image(&self, tag: &str) -> String {
        format!("registry.example/{}:{tag}", self.stack)
    }

    /// Publishes an image.
    pub(crate) fn push(&self, tag: &str, image: Image) {
        self.push_reference(&self.image(tag), image);
    }

    /// Publishes an image under the reference that Pods have.
    pub(crate) fn push_reference(&self, reference: &str, image: Image) {
        self.kubelet.images().push(reference, image);
    }

    /// Refuses an image for a time, as a registry does that is busy.
    pub(crate) fn refuse(&self, tag: &str, sentence: &str, time: Duration) {
        self.kubelet
            .images()
            .refuse(self.image(tag), sentence, time);
    }

    /// Changes the stack file.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.stack_file()).unwrap();
        assert!(text.contains(from), "no {from:?} in\n{text}");
        std::fs::write(self.stack_file(), text.replace(from, to)).unwrap();
    }

    /// Makes an object by hand, or changes it.
    pub(crate) async fn apply(&self, group: &str, kind: &str, object: Value) {
        self.apply_as("story", group, kind, object).await;
    }

    /// The same, under a field manager's name.
    pub(crate) async fn apply_as(&self, manager: &str, group: &str, kind: &str, object: Value) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        api.patch(
            &name,
            &PatchParams::apply(manager).force(),
            &Patch::Apply(&object),
        )
        .await
        .unwrap();
    }

    /// Where the stack is deployed.
    pub(crate) fn namespace(&self) -> String {
        format!("aip-{}", self.stack)
    }

    /// Another kubeconfig, in which the context may lead elsewhere.
    pub(crate) fn use_kubeconfig(&mut self, kubeconfig: PathBuf) {
        self.kubeconfig = kubeconfig;
    }

    /// The command, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(program(), arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--stack", &self.stack, "--non-interactive"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", env!("PATH"))
            .env("HOME", self.folder.path())
            .env("USER", "operator")
            .env(
                "PULUMI_BACKEND_URL",
                format!("file://{}", self.state().display()),
            )
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PULUMI_CONFIG_PASSPHRASE", "passphrase")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command until it reaches a fail point, kills it there, and frees its lease.
    pub(crate) async fn kill_at(&self, point: FailPoint, arguments: &[&str]) {
        self.kill_at_pass(point, 1, arguments).await;
    }

    /// The same for a command that reaches the point several times.
    pub(crate) async fn kill_at_pass(&self, point: FailPoint, pass: u32, arguments: &[&str]) {
        let mut command = self.command_of(&FAIL_POINTS, arguments);
        command
            .env("FAIL_POINT", point.to_string())
            .env("FAIL_POINT_PASSES", pass.to_string());
        let mut running = Running::start(command, &format!("stopped at {point}")).await;
        running.child.kill().await.unwrap();
        self.run(&["cancel", "--yes"]).await.exits(0);
    }

    /// Runs a command to its end; it may not show a secret.
    pub(crate) async fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_unchecked(arguments).await.does_not_say(SECRET)
    }

    /// Runs a command that is asked for secrets.
    pub(crate) async fn run_unchecked(&self, arguments: &[&str]) -> CommandOutput {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().await.unwrap();
        CommandOutput {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Deploys with everything said in advance.
    pub(crate) async fn up(&self) -> CommandOutput {
        self.run(&["up", "--yes", "--timeout", "120"]).await
    }

    /// Objects of a kind in the stack's namespace.
    pub(crate) fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let version = GroupVersionKind::gvk(group, "v1", kind);
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace(),
            &ApiResource::from_gvk(&version),
        )
    }

    /// Their names.
    pub(crate) async fn names(&self, group: &str, kind: &str) -> Vec<String> {
        let list = self
            .api(group, kind)
            .list(&ListParams::default())
            .await
            .unwrap();
        list.items.iter().map(kube::ResourceExt::name_any).collect()
    }

    /// Name and version of every object that a deployment may touch.
    pub(crate) async fn versions(&self) -> Vec<(String, Option<String>)> {
        let mut versions = Vec::new();
        for (group, kind) in [
            ("apps", "Deployment"),
            ("", "Secret"),
            ("", "Service"),
            ("batch", "Job"),
        ] {
            let list = self
                .api(group, kind)
                .list(&ListParams::default())
                .await
                .unwrap();
            versions.extend(list.items.iter().map(|object| {
                (
                    format!("{kind} {}", object.name_any()),
                    object.resource_version(),
                )
            }));
        }
        versions
    }

    /// The Deployment, as soon as no controller writes its status any more.
    pub(crate) async fn deployment(&self) -> DynamicObject {
        eventually("the Deployment is settled", async || {
            let live = self
                .api("apps", "Deployment")
                .get("aip")
                .await
                .map_err(|e| e.to_string())?;
            let (desired, ready) = (
                &live.data["spec"]["replicas"],
                &live.data["status"]["availableReplicas"],
            );
            if desired == ready {
                Ok(live)
            } else {
                Err(format!("{ready} of {desired}"))
            }
        })
        .await
    }
}

/// A command under way.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts a command and returns as soon as it prints a line that begins with `prefix`.
    pub(crate) async fn start(mut command: Command, prefix: &str) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut before = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(prefix) {
                return Self { child, lines };
            }
            before.push(line);
        }
        panic!("no line {prefix:?} in\n{}", before.join("\n"));
    }

    /// The exit code, once it is over.
    pub(crate) async fn ends(mut self) -> Option<i32> {
        while self.lines.next_line().await.unwrap().is_some() {}
        self.child.wait().await.unwrap().code()
    }
}

/// The server of these stories.
pub(crate) fn server() -> Image {
    Image::program(env!("CARGO_BIN_EXE_tiny-server")).variable("LISTEN", "0.0.0.0:8080")
}
