//! Which scopes are asked for at a PDS, given what an app asked for.

use super::account::{AccountAttr, AccountScope};
use super::{OpenIdScope, Scope, ScopeSet};

impl ScopeSet {
    /// The scopes that a PDS understands, and always `atproto`. Those of OpenID Connect and
    /// `aip:credentials` are between the app and this server, and unknown words could not be enforced.
    #[must_use]
    pub fn upstream_part(&self) -> Self {
        let understood = |scope: &&Scope| {
            !matches!(
                scope,
                Scope::OpenId(_) | Scope::Credentials | Scope::Other(_)
            )
        };
        let mut upstream: Self = self.iter().filter(understood).cloned().collect();
        upstream.insert(Scope::Atproto);
        upstream
    }
}

/// The scopes to ask for at a PDS so that `requested` can be served.
///
/// This is [`ScopeSet::upstream_part`] plus what the scopes of OpenID Connect need: `email` is
/// answered from `com.atproto.server.getSession`, which tells the address only with
/// `account:email` (or `transition:email`). The others need nothing.
pub fn for_upstream(requested: &ScopeSet) -> ScopeSet {
    let mut upstream = requested.upstream_part();
    let email = Scope::Account(AccountScope {
        attr: AccountAttr::Email,
        manage: false,
    });
    if requested.contains(&Scope::OpenId(OpenIdScope::Email)) && !upstream.covers(&email) {
        upstream.insert(email);
    }
    upstream
}
