//! `blob:` scopes: uploading files of certain types (<https://atproto.com/specs/permission#blob>).

use std::collections::BTreeSet;
use std::fmt;

use super::syntax::{self, Syntax};

/// The types of files that may be uploaded: at least one, none of them covered by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobScope {
    pub(super) accept: BTreeSet<MimeGlob>,
}

/// A media type, or all of a top-level type, or all; in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MimeGlob(String);

impl MimeGlob {
    /// Reads `*/*`, `image/*` or `image/png`, in any case and without parameters.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let fits = match (kind, subtype) {
            ("*", subtype) => subtype == "*",
            (kind, "*") => is_token(kind),
            (kind, subtype) => is_token(kind) && is_token(subtype),
        };
        fits.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every media type that `other` matches is matched by this pattern.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match self.0.strip_suffix('*') {
            // "*/" of "*/*"
            Some("*/") => true,
            // "image/" of "image/*"
            Some(kind) => other.0.starts_with(kind),
            None => self == other,
        }
    }
}

/// The characters of a registered media type name (RFC 6838 §4.2).
fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}

impl BlobScope {
    pub(super) fn from_syntax(syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["accept"]) {
            return None;
        }
        let globs = syntax
            .values("accept", true)?
            .into_iter()
            .map(MimeGlob::parse);
        Self::new(&globs.collect::<Option<_>>()?)
    }

    /// Drops what another pattern covers; nothing at all is no scope.
    fn new(all: &BTreeSet<MimeGlob>) -> Option<Self> {
        let covered = |glob: &MimeGlob| all.iter().any(|other| other != glob && other.covers(glob));
        let accept: BTreeSet<_> = all.iter().filter(|glob| !covered(glob)).cloned().collect();
        (!accept.is_empty()).then_some(Self { accept })
    }

    /// The patterns, in canonical order.
    pub fn accept(&self) -> impl Iterator<Item = &MimeGlob> {
        self.accept.iter()
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let narrower = |a: &MimeGlob, b: &MimeGlob| match (a.covers(b), b.covers(a)) {
            (true, _) => Some(b.clone()),
            (false, true) => Some(a.clone()),
            (false, false) => None,
        };
        let pairs = self
            .accept
            .iter()
            .flat_map(|a| other.accept.iter().map(move |b| (a, b)));
        Self::new(&pairs.filter_map(|(a, b)| narrower(a, b)).collect())
    }
}

impl fmt::Display for BlobScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        syntax::write(
            f,
            "blob",
            &[("accept", self.accept().map(MimeGlob::as_str).collect())],
        )
    }
}
