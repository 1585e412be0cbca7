//! The version that is released: that of the tag.

use anyhow::{Result, bail};

use crate::process;

/// `requested`, or that of the newest tag `vX.Y.Z` with what came after it (git-describe(1)), or without
/// any tag the one of `Cargo.toml` with `-dev`.
pub(crate) fn choose(requested: Option<&str>) -> Result<String> {
    let own = env!("CARGO_PKG_VERSION");
    let mut describe = process::command("git");
    describe.args(["describe", "--tags", "--match", "v[0-9]*"]);
    let version = match requested {
        Some(version) => version.to_owned(),
        None => process::quiet_output(&mut describe).map_or_else(
            || format!("{own}-dev"),
            |tag| tag.trim().trim_start_matches('v').to_owned(),
        ),
    };
    check(&version, own)?;
    Ok(version)
}

/// The programs say the version of `Cargo.toml`: a release under another one would be a riddle.
fn check(version: &str, own: &str) -> Result<()> {
    let core = version.split(['-', '+']).next();
    if core != Some(own) {
        bail!(
            "version {version} is not {own}, which Cargo.toml says and `aip --version` will say: \
             change `version` in Cargo.toml, or give `--version {own}`"
        );
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    if !version.bytes().all(is_plain) {
        bail!("{version:?} is no version: letters, digits, `.`, `-` and `+` may be in it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_version_that_its_programs_say() {
        for good in ["0.1.0", "0.1.0-dev", "0.1.0-7-ga6ac7d0", "0.1.0+fips"] {
            check(good, "0.1.0").unwrap();
        }
        for bad in ["0.2.0", "0.1.0.1", "v0.1.0", "", "0.1.0-a b"] {
            check(bad, "0.1.0").unwrap_err();
        }
    }
}
