//! The name of a stack and the forms a reference to one may have.

use std::fmt;
use std::str::FromStr;

/// The name of a stack: 1 to 100 characters of letters, digits, `-`, `_` and `.`, the first of
/// which is no `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackName(String);

/// Why a text names no stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackNameError {
    /// A character or the length.
    #[error(
        "a stack name is 1 to 100 letters, digits, `-`, `_` and `.`, and does not begin with `-`: `{0}` is not one"
    )]
    Malformed(String),
    /// The reference names another organisation or project.
    #[error("`{0}` does not belong to this project: use the name alone or organization/{1}/NAME")]
    OtherProject(String, String),
}

impl StackName {
    /// `name`, `organization/name` or `organization/project/name`.
    pub fn of_reference(text: &str, project: &str) -> Result<Self, StackNameError> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [name] | ["organization", name] => name.parse(),
            ["organization", of, name] if of == project => name.parse(),
            _ => Err(StackNameError::OtherProject(
                text.to_owned(),
                project.to_owned(),
            )),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StackName {
    type Err = StackNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=100).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            // Pulumi accepts these two and then writes files that are hard to name.
            && !matches!(text, "." | "..")
            // Every later command would take it for a flag.
            && !text.starts_with('-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(StackNameError::Malformed(text.to_owned()))
        }
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_may_spell_out_the_organisation_and_the_project() {
        for text in ["main", "organization/main", "organization/aip/main"] {
            assert_eq!(
                StackName::of_reference(text, "aip").unwrap().as_str(),
                "main"
            );
        }
        for text in [
            "other/main",
            "organization/other/main",
            "a/b/c/d",
            "",
            "a b",
            "../x",
            "..",
            "-x",
            "organization/-x",
            "--",
        ] {
            assert!(StackName::of_reference(text, "aip").is_err(), "{text}");
        }
    }
}
