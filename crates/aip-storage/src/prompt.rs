//! The `prompt` parameter of an authorization request.

use std::fmt;
use std::str::FromStr;

use strum::{EnumIter, EnumString, IntoStaticStr};

/// A `prompt` value (OpenID Connect Core §3.1.2.1, Initiating User Registration 1.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Prompt {
    /// No page may be shown.
    None,
    /// Sign in again.
    Login,
    /// Ask again.
    Consent,
    /// Choose an account.
    SelectAccount,
    /// Make an account.
    Create,
}

/// The `prompt` values of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts(Vec<Prompt>);

impl Prompts {
    /// Whether the app asked for that.
    pub fn has(&self, prompt: Prompt) -> bool {
        self.0.contains(&prompt)
    }
}

/// Not a value of `prompt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a list of `prompt` values, of which `none` stands alone")]
pub struct InvalidPrompts;

impl FromStr for Prompts {
    type Err = InvalidPrompts;

    fn from_str(value: &str) -> Result<Self, InvalidPrompts> {
        let words = value.split(' ').filter(|word| !word.is_empty());
        let prompts = words
            .map(|word| word.parse().map_err(|_| InvalidPrompts))
            .collect::<Result<Vec<Prompt>, _>>()?;
        if prompts.contains(&Prompt::None) && prompts.len() > 1 {
            return Err(InvalidPrompts);
        }
        Ok(Self(prompts))
    }
}

impl fmt::Display for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|it| it.as_str()).collect();
        f.write_str(&words.join(" "))
    }
}
