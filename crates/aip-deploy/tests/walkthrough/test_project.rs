//! A project folder and a person who runs commands in it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) const STACK: &str =
    include_str!("../../../pulumi-files/tests/fixtures/Pulumi.main.yaml");
pub(crate) const PASSPHRASE: &str = "fixture passphrase";

/// A project folder with the recorded stack `main`, logged in to a folder, `main` selected.
pub(crate) struct TestProject {
    pub(crate) folder: tempfile::TempDir,
}

/// What a command left.
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, saying: &str) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(saying), "{}", self.err);
        self
    }
}

impl TestProject {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::write(
            folder.path().join("Pulumi.yaml"),
            "name: aip\nruntime: python\n",
        )
        .unwrap();
        Self { folder }
    }

    pub(crate) fn new() -> Self {
        let project = Self::empty();
        std::fs::write(project.file("main"), STACK).unwrap();
        project.run(&["login", &project.url()]).ok();
        project.run(&["stack", "select", "main"]).ok();
        project
    }

    pub(crate) fn set_repository(&self) {
        let repository = ["aip_config.image_repo", "registry.example.com/aip"];
        self.run(&[&["config", "set", "--path"][..], &repository].concat())
            .ok();
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("state").display())
    }

    pub(crate) fn file(&self, stack: &str) -> PathBuf {
        self.folder.path().join(format!("Pulumi.{stack}.yaml"))
    }

    pub(crate) fn text(&self, stack: &str) -> String {
        std::fs::read_to_string(self.file(stack)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_with(arguments, PASSPHRASE, None)
    }

    pub(crate) fn run_with(
        &self,
        arguments: &[&str],
        passphrase: &str,
        input: Option<&str>,
    ) -> CommandOutput {
        self.run_in(
            arguments,
            &[("PULUMI_CONFIG_PASSPHRASE", passphrase)],
            input,
        )
    }

    pub(crate) fn run_in(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: Option<&str>,
    ) -> CommandOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aip-deploy"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("USER", "ann")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads no input may have ended already.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        CommandOutput {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
