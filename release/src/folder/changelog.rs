//! The section of a version in the change log (<https://keepachangelog.com/en/1.1.0/>).

use anyhow::{Context as _, Result};

/// The section of `version`, or what is unreleased if it has none yet.
pub(super) fn section(changelog: &str, version: &str) -> Result<String> {
    let found = find(changelog, version).or_else(|| find(changelog, "Unreleased"));
    found.with_context(|| {
        format!("CHANGELOG.md has neither a section `## [{version}]` nor `## [Unreleased]`")
    })
}

fn find(changelog: &str, name: &str) -> Option<String> {
    let heading = format!("## [{name}]");
    let mut lines = changelog
        .lines()
        .skip_while(|line| !line.starts_with(&heading));
    let first = lines.next()?;
    let rest = lines.take_while(|line| !line.starts_with("## ["));
    let section: Vec<&str> = std::iter::once(first).chain(rest).collect();
    Some(format!("{}\n", section.join("\n").trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [0.1.0] - 2026-11-30\n\n\
                             - a\n- b\n\n## [0.0.9]\n\n- old\n";

    #[test]
    fn a_version_has_its_section_and_a_new_one_what_is_unreleased() {
        assert_eq!(
            section(CHANGELOG, "0.1.0").unwrap(),
            "## [0.1.0] - 2026-11-30\n\n- a\n- b\n"
        );
        assert_eq!(
            section(CHANGELOG, "0.2.0").unwrap(),
            "## [Unreleased]\n\n- new\n"
        );
        assert!(section("# Changelog\n", "0.2.0").is_err());
    }
}
