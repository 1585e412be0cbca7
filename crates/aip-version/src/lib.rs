//! Which version a program is, and from which commit it was built. Two builds of a commit say the
//! same: the date is the commit's.

use std::sync::LazyLock;

/// The version in `Cargo.toml`, as in `0.1.0`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The hash of the commit in hexadecimal; empty if it is unknown, in sources that are neither a git
/// checkout nor made by `git archive`.
pub const COMMIT: &str = env!("AIP_COMMIT");

/// When the commit was made, as RFC 3339 has it; empty like [`COMMIT`].
pub const COMMIT_DATE: &str = env!("AIP_COMMIT_DATE");

/// How many digits of a hash are shown: enough for git to find the commit.
const SHOWN_DIGITS: usize = 12;
/// Of a date, the day: `2026-11-30`.
const DAY_BYTES: usize = 10;

/// What `--version` says after the program's name: `0.1.0 (a6ac7d0c1f2e 2026-11-30)`.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| describe(NUMBER, COMMIT, COMMIT_DATE));
    &VERSION
}

fn describe(number: &str, commit: &str, date: &str) -> String {
    match (commit.get(..SHOWN_DIGITS), date.get(..DAY_BYTES)) {
        (Some(commit), Some(day)) => format!("{number} ({commit} {day})"),
        _ => format!("{number} (commit unknown)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_and_day_are_said_if_they_are_known() {
        let commit = "a6ac7d0c1f2e4b5a6978877665544332211000ff";
        assert_eq!(
            describe("0.1.0", commit, "2026-11-30T00:12:13+00:00"),
            "0.1.0 (a6ac7d0c1f2e 2026-11-30)"
        );
        assert_eq!(describe("0.1.0", "", ""), "0.1.0 (commit unknown)");
    }

    #[test]
    fn a_checkout_knows_its_commit() {
        assert!(version().starts_with(NUMBER), "{}", version());
        assert_eq!(COMMIT.is_empty(), COMMIT_DATE.is_empty());
    }
}
