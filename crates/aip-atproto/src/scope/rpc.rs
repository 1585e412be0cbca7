//! `rpc:` scopes: calling methods of other services in the account's name, through the PDS or with
//! a service token (<https://atproto.com/specs/permission#rpc>).

use std::fmt;

use super::nsid_set::NsidSet;
use super::syntax::{self, Syntax};
use crate::service_ref::ServiceRef;

/// Which methods of which service may be called. Never all methods of all services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RpcScope {
    pub(super) methods: NsidSet,
    pub(super) audience: Audience,
}

/// Whom a call may go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// `*`: any service.
    Any,
    /// This service only.
    Service(ServiceRef),
}

impl Audience {
    /// Reads the value of an `aud` parameter.
    pub(super) fn parse(value: &str) -> Option<Self> {
        if value == "*" {
            return Some(Self::Any);
        }
        ServiceRef::parse(value).ok().map(Self::Service)
    }

    /// `*`, or the service's reference.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Service(service) => service.as_str(),
        }
    }

    /// The service as text; `None` stands for any.
    pub(super) fn service(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Service(service) => Some(service.as_str()),
        }
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, audience) | (audience, Self::Any) => Some(audience.clone()),
            (Self::Service(a), Self::Service(b)) => (a == b).then(|| self.clone()),
        }
    }
}

impl RpcScope {
    pub(super) fn from_syntax(syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["lxm", "aud"]) {
            return None;
        }
        let methods = NsidSet::from_values(&syntax.values("lxm", true)?)?;
        let audience = Audience::parse(syntax.value("aud", false)?)?;
        Self::new(methods, audience)
    }

    /// Any method of any service is no scope.
    pub(super) fn new(methods: NsidSet, audience: Audience) -> Option<Self> {
        match (&methods, &audience) {
            (NsidSet::Any, Audience::Any) => None,
            _ => Some(Self { methods, audience }),
        }
    }

    /// The methods that may be called.
    pub fn methods(&self) -> &NsidSet {
        &self.methods
    }

    /// The service that they may be called at.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let methods = self.methods.intersection(&other.methods)?;
        Self::new(methods, self.audience.intersection(&other.audience)?)
    }
}

impl fmt::Display for RpcScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audience = vec![self.audience.as_str()];
        syntax::write(
            f,
            "rpc",
            &[("lxm", self.methods.values()), ("aud", audience)],
        )
    }
}
