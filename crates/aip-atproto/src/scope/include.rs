//! `include:` scopes: a permission set that a lexicon publishes
//! (<https://atproto.com/specs/permission#include>).

use std::fmt;

use super::syntax::Syntax;
use crate::nsid::Nsid;
use crate::service_ref::ServiceRef;

/// A reference to a permission set. It is shown and compared as written, because authorization
/// servers hand it back that way and compare it as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncludeScope {
    raw: String,
    set: Nsid,
    audience: Option<ServiceRef>,
}

impl IncludeScope {
    pub(super) fn from_syntax(raw: &str, syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["nsid", "aud"]) {
            return None;
        }
        let set = Nsid::parse(syntax.value("nsid", true)?).ok()?;
        let audience = match syntax.values("aud", false)?.as_slice() {
            [] => None,
            [service] => Some(ServiceRef::parse(service).ok()?),
            _ => return None,
        };
        Some(Self {
            raw: raw.to_owned(),
            set,
            audience,
        })
    }

    /// The name of the permission set's lexicon.
    pub fn set(&self) -> &Nsid {
        &self.set
    }

    /// The service that permissions with `inheritAud` are about.
    pub fn audience(&self) -> Option<&ServiceRef> {
        self.audience.as_ref()
    }

    /// The scope as written.
    pub fn as_str(&self) -> &str {
        &self.raw
    }
}

impl fmt::Display for IncludeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}
