//! Counting tests from what their runners print.

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// The names of tests that failed, as far as the runner tells them.
    pub(super) failures: Vec<String>,
}

impl Tally {
    /// A suite that could not be run counts as one failure.
    pub(super) fn broken() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend_from_slice(&other.failures);
    }

    pub(super) fn line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }

    /// Adds one line of a runner's output, if it is one that counts.
    ///
    /// `cargo test`: `test result: ok. 3 passed; 0 failed; 1 ignored; …` (an ignored test is a
    /// failure here). The end-to-end runner: `3 passed, 0 failed`. The name of a test that failed stands in
    /// `test NAME ... FAILED` and in `not ok - NAME (2.0 s)`.
    pub(super) fn read(&mut self, line: &str) {
        let of_cargo = line.strip_prefix("test ");
        let of_cargo = of_cargo.and_then(|line| line.strip_suffix(" ... FAILED"));
        if let Some(name) = of_cargo.or_else(|| line.strip_prefix("not ok - ")) {
            self.failures.push(name.to_owned());
            return;
        }
        let counts = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ").map_or(rest, |(_, counts)| counts),
            None if line.contains(" passed, ") && line.ends_with(" failed") => line,
            None => return,
        };
        for count in counts.split([';', ',']) {
            match count.trim().split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed" | "ignored")) => self.failed += n.parse().unwrap_or(1),
                _ => {}
            }
        }
    }

    /// The verdict once the runner has ended: it must have succeeded and have run something.
    pub(super) fn finish(mut self, succeeded: bool) -> Self {
        if self.failed == 0 && succeeded {
            // A run that must find a loss to pass says "not ok" for it.
            self.failures.clear();
        }
        if self.failed == 0 && (!succeeded || self.passed == 0) {
            self.failed = 1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn the_lines_of_cargo_test_add_up() {
        let tally = read(&[
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]);
        assert_eq!((tally.passed, tally.failed), (4, 2));
    }

    #[test]
    fn the_end_to_end_runner_is_read_too() {
        let tally = read(&["ok - signs in (2.0 s)", "6 passed, 1 failed"]);
        assert_eq!(tally.line(), "6 passed, 1 failed");
    }

    #[test]
    fn tests_that_failed_are_named() {
        let tally = read(&[
            "test a::b ... ok",
            "test a::c ... FAILED",
            "ok - signs in (2.0 s)",
            "not ok - signs out (2.0 s)",
        ]);
        assert_eq!(tally.failures, ["a::c", "signs out (2.0 s)"]);
    }

    #[test]
    fn what_a_suite_expects_to_fail_is_not_named() {
        let lines = ["not ok - no session lost", "4 passed, 0 failed"];
        assert!(read(&lines).finish(true).failures.is_empty());
        assert_eq!(read(&lines).finish(false).failures, ["no session lost"]);
    }

    #[test]
    fn an_ignored_test_is_a_failure() {
        let tally = read(&["test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured"]);
        assert_eq!(tally.line(), "3 passed, 1 failed");
    }

    #[test]
    fn a_suite_that_ran_nothing_has_failed() {
        assert_eq!(Tally::default().finish(true).failed, 1);
    }

    #[test]
    fn a_runner_that_broke_after_its_last_test_has_failed() {
        let tally = read(&["2 passed, 0 failed"]).finish(false);
        assert_eq!(tally.failed, 1);
    }
}
