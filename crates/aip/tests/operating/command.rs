//! The program with some words, until it ends.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) result: String,
    pub(crate) talk: String,
}

/// Variables of the environment.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// `aip` in `folder` with nothing but these variables.
pub(crate) fn command(folder: &Path, variables: Variables<'_>, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aip"));
    command
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder);
    command
}

/// Runs it to its end.
pub(crate) fn aip(folder: &Path, variables: Variables<'_>, words: &[&str]) -> Said {
    let output = command(folder, variables, words).output().unwrap();
    Said {
        code: output.status.code().expect("no signal ended it"),
        result: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    /// What it printed, if it went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.talk);
        self.result.trim_end()
    }

    /// The rows that it printed, if it went well.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        serde_json::from_str(self.ok()).unwrap()
    }

    /// The row of that check, whether it went well or not.
    #[track_caller]
    pub(crate) fn rows_of(&self, check: &str) -> Value {
        let rows: Vec<Value> = serde_json::from_str(&self.result).unwrap();
        let row = rows.into_iter().find(|row| row["check"] == check);
        row.unwrap_or_else(|| panic!("no check `{check}`: {}", self.result))
    }

    /// Refused with exit code 1, in these words.
    #[track_caller]
    pub(crate) fn failed_with(&self, words: &str) {
        assert_eq!(self.code, 1, "{}{}", self.result, self.talk);
        assert!(self.talk.contains(words), "{}", self.talk);
    }
}
