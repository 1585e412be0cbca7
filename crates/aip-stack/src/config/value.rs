//! Values of the stack file, once they have the shape of their field.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

/// What stands in for a secret that is not opened. It ends with a noncharacter, which Unicode reserves for a
/// program's own use (<https://www.unicode.org/faq/private_use.html#noncharacters>), so that it is part of no
/// value that is not secret.
pub const PLACEHOLDER: &str = "stub\u{fdd0}";

/// A text of the configuration, which may be secret.
#[derive(Clone)]
pub struct ConfigString {
    pub(super) value: Option<SecretString>,
    /// Line in the stack file, from 1.
    pub line: usize,
    /// Whether the file has it encrypted.
    pub encrypted: bool,
}

/// An environment: the variables that are known by name, and the others.
#[derive(Clone, Default)]
pub struct EnvValues {
    /// Line of the first variable in the stack file, from 1.
    pub(super) line: Option<usize>,
    pub(super) known: BTreeMap<&'static str, ConfigString>,
    pub(super) others: BTreeMap<String, ConfigString>,
}

/// A value that has the shape of its field.
#[derive(Clone)]
pub enum FieldValue {
    /// Text, a quantity, or one of a set of words.
    String(ConfigString),
    /// `true` or `false`.
    Bool(bool),
    /// An integer within the range of its field.
    Int(i64),
    /// A list of strings.
    StringList(Vec<ConfigString>),
    /// A map of strings.
    StringMap(BTreeMap<String, ConfigString>),
    /// An environment.
    Env(EnvValues),
}

impl ConfigString {
    /// The value; none for a secret that is not decrypted.
    pub fn plaintext(&self) -> Option<&str> {
        self.value.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The value, or what stands in for it.
    pub fn to_secret(&self) -> SecretString {
        self.value
            .clone()
            .unwrap_or_else(|| SecretString::from(PLACEHOLDER))
    }
}
