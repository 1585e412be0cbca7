//! OAuth scopes of the AT Protocol: what an app may do (<https://atproto.com/specs/permission>).
//!
//! One scope is a [`Scope`], what a client asks for or was granted is a [`ScopeSet`]. Words that
//! this server does not know are kept verbatim as [`Scope::Other`] and grant nothing.

mod account;
mod blob;
mod describe;
mod include;
mod names;
mod nearest;
mod nsid_set;
mod permission;
mod permission_set;
mod repo;
mod rpc;
mod set;
mod syntax;
mod upstream;

use std::fmt;

pub use account::{AccountAttr, AccountScope, IdentityAttr};
pub use blob::{BlobScope, MimeGlob};
pub use describe::ScopeLine;
pub use include::IncludeScope;
pub use nsid_set::NsidSet;
pub use permission_set::{PermissionSet, PermissionSetError};
pub use repo::{RepoAction, RepoScope};
pub use rpc::{Audience, RpcScope};
pub use set::{ScopeError, ScopeSet};
pub use upstream::for_upstream;

use syntax::Syntax;

/// One scope. The order of the variants is the order of a canonical [`ScopeSet`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `atproto`: sign in with an AT Protocol account.
    Atproto,
    /// A scope of OpenID Connect Core §5.4 and §11.
    OpenId(OpenIdScope),
    /// A broad scope from before granular permissions.
    Transition(Transition),
    /// `account:`: attributes of the account at its PDS.
    Account(AccountScope),
    /// `identity:`: handle and DID document.
    Identity(IdentityAttr),
    /// `repo:`: writing records.
    Repo(RepoScope),
    /// `rpc:`: calling other services in the account's name.
    Rpc(RpcScope),
    /// `blob:`: uploading files.
    Blob(BlobScope),
    /// `include:`: a published set of permissions.
    Include(IncludeScope),
    /// `aip:credentials`: being handed the tokens and the DPoP key of the session at the PDS. Of this
    /// server, not of the AT Protocol; only an operator gives it to a client.
    Credentials,
    /// A word that this server does not know, verbatim. It grants nothing.
    Other(String),
}

/// The scopes of OpenID Connect that this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpenIdScope {
    /// `openid`: an ID token.
    OpenId,
    /// `profile`: handle, name and picture.
    Profile,
    /// `email`: the e-mail address.
    Email,
    /// `offline_access`: a refresh token.
    OfflineAccess,
}

/// The transitional scopes (<https://atproto.com/specs/oauth#authorization-scopes>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transition {
    /// `transition:generic`: all records, uploads and calls, except chat.
    Generic,
    /// `transition:chat.bsky`: chat, and only together with [`Self::Generic`].
    ChatBsky,
    /// `transition:email`: reading the e-mail address.
    Email,
}

/// Scopes without parameters and how they are written.
const PLAIN_SCOPES: [(&str, Scope); 9] = [
    ("atproto", Scope::Atproto),
    ("openid", Scope::OpenId(OpenIdScope::OpenId)),
    ("profile", Scope::OpenId(OpenIdScope::Profile)),
    ("email", Scope::OpenId(OpenIdScope::Email)),
    ("offline_access", Scope::OpenId(OpenIdScope::OfflineAccess)),
    ("transition:generic", Scope::Transition(Transition::Generic)),
    (
        "transition:chat.bsky",
        Scope::Transition(Transition::ChatBsky),
    ),
    ("transition:email", Scope::Transition(Transition::Email)),
    ("aip:credentials", Scope::Credentials),
];

impl Scope {
    /// Reads one scope. A known resource with malformed or unknown parameters becomes
    /// [`Scope::Other`], as authorization servers of the AT Protocol ignore it, too.
    pub fn parse(token: &str) -> Self {
        if let Some((_, scope)) = PLAIN_SCOPES.iter().find(|(word, _)| *word == token) {
            return scope.clone();
        }
        Self::parse_resource(token).unwrap_or_else(|| Self::Other(token.to_owned()))
    }

    fn parse_resource(token: &str) -> Option<Self> {
        let syntax = Syntax::parse(token)?;
        match syntax.resource {
            "account" => AccountScope::from_syntax(&syntax).map(Self::Account),
            "identity" => IdentityAttr::from_syntax(&syntax).map(Self::Identity),
            "repo" => RepoScope::from_syntax(&syntax).map(Self::Repo),
            "rpc" => RpcScope::from_syntax(&syntax).map(Self::Rpc),
            "blob" => BlobScope::from_syntax(&syntax).map(Self::Blob),
            "include" => IncludeScope::from_syntax(token, &syntax).map(Self::Include),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(scope) => scope.fmt(f),
            Self::Identity(attr) => attr.fmt(f),
            Self::Repo(scope) => scope.fmt(f),
            Self::Rpc(scope) => scope.fmt(f),
            Self::Blob(scope) => scope.fmt(f),
            Self::Include(scope) => scope.fmt(f),
            Self::Other(token) => f.write_str(token),
            Self::Atproto | Self::OpenId(_) | Self::Transition(_) | Self::Credentials => {
                let word = PLAIN_SCOPES.iter().find(|(_, scope)| scope == self);
                f.write_str(word.map_or("", |(word, _)| word))
            }
        }
    }
}
