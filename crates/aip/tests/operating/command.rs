//! Runs `aip` with arguments and collects what it prints.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// How a finished command exited, and what it printed.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Variables of the environment.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// `aip` in `folder` with nothing but these variables.
pub(crate) fn command(folder: &Path, variables: Variables<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aip"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder);
    command
}

/// Runs it to its end.
pub(crate) fn aip(folder: &Path, variables: Variables<'_>, arguments: &[&str]) -> CommandOutput {
    let output = command(folder, variables, arguments).output().unwrap();
    CommandOutput {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl CommandOutput {
    /// What it printed, if it went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout.trim_end()
    }

    /// The rows that it printed, if it went well.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        serde_json::from_str(self.ok()).unwrap()
    }

    /// The row of that check, whether it went well or not.
    #[track_caller]
    pub(crate) fn rows_of(&self, check: &str) -> Value {
        let rows: Vec<Value> = serde_json::from_str(&self.stdout).unwrap();
        let row = rows.into_iter().find(|row| row["check"] == check);
        row.unwrap_or_else(|| panic!("no check `{check}`: {}", self.stdout))
    }

    /// Fails unless it exited with code 1 and printed `message` to stderr.
    #[track_caller]
    pub(crate) fn failed_with(&self, message: &str) {
        assert_eq!(self.code, 1, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(message), "{}", self.stderr);
    }
}
