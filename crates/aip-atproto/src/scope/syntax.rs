//! The common syntax of resource scopes: `resource[:positional][?name=value&…]`, percent-encoded
//! (<https://atproto.com/specs/permission#permission-string-syntax>).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a canonical positional value leaves unescaped.
const POSITIONAL: &AsciiSet = &PARAMETER.remove(b'+');
/// What a canonical parameter leaves unescaped. A bare `+` would be a space to form decoders.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'*')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b',');

/// A scope taken apart, its values decoded.
pub(super) struct Syntax<'a> {
    /// The part before `:` and `?`.
    pub(super) resource: &'a str,
    positional: Option<Cow<'a, str>>,
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Syntax<'a> {
    /// Takes a scope apart; `None` if an escape does not decode to UTF-8.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (head, query) = match token.split_once('?') {
            Some((head, query)) => (head, query),
            None => (token, ""),
        };
        let (resource, positional) = match head.split_once(':') {
            Some((resource, positional)) => (resource, Some(decode(positional)?)),
            None => (head, None),
        };
        let parameters = query
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            resource,
            positional,
            parameters,
        })
    }

    /// Whether every parameter is one of `names`. Others make the whole scope unknown: they may
    /// narrow it in a way that this server does not understand.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        self.parameters
            .iter()
            .all(|(name, _)| names.contains(&name.as_ref()))
    }

    /// All values of `name`, which is also what the positional value stands for if
    /// `is_positional`. `None` if it is given both ways.
    pub(super) fn values(&self, name: &str, is_positional: bool) -> Option<Vec<&str>> {
        let named = self
            .parameters
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_ref());
        let mut values: Vec<&str> = named.collect();
        if let (true, Some(positional)) = (is_positional, &self.positional) {
            if !values.is_empty() {
                return None;
            }
            values.push(positional);
        }
        Some(values)
    }

    /// The only value of `name`; `None` if there is none, or more than one.
    pub(super) fn value(&self, name: &str, is_positional: bool) -> Option<&str> {
        match self.values(name, is_positional)?.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// Strict about escapes: a `%` that starts none would be read differently by others.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('%') {
        if !behind
            .as_bytes()
            .get(..2)?
            .iter()
            .all(u8::is_ascii_hexdigit)
        {
            return None;
        }
        rest = behind;
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// Writes a canonical scope: one value of the first parameter goes behind the colon, several
/// become repeated parameters.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    resource: &str,
    parameters: &[(&str, Vec<&str>)],
) -> fmt::Result {
    f.write_str(resource)?;
    let mut separator = '?';
    for (index, (name, values)) in parameters.iter().enumerate() {
        if let (0, [value]) = (index, values.as_slice()) {
            write!(f, ":{}", utf8_percent_encode(value, POSITIONAL))?;
            continue;
        }
        for value in values {
            write!(
                f,
                "{separator}{name}={}",
                utf8_percent_encode(value, PARAMETER)
            )?;
            separator = '&';
        }
    }
    Ok(())
}
