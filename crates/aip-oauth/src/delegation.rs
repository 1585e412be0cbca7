//! Acting for an owner who lets one: which of what the delegate's token allows is allowed for the owner
//! as well, and the session that serves it.

use std::sync::Arc;

use aip_atproto::{Did, OpenIdScope, Scope, ScopeSet};
use aip_storage::StorageError;
use aip_storage::session_read::SessionRead;

use crate::AuthorizationServer;
use crate::resource::AuthorizedProxyCall;

/// A call of a delegate that an owner lets them make. Made only here.
#[derive(Debug, Clone)]
pub struct ActingFor {
    scope: ScopeSet,
    session: SessionRead,
}

/// Why nobody acts for the account.
#[derive(Debug, thiserror::Error)]
pub enum DelegationError {
    /// Delegations are not passed on.
    #[error("the access token acts for {0} already, and for no other account")]
    Chain(Did),
    /// There is no live delegation with a session that can be used. Whether there was one is the
    /// owner's affair.
    #[error("{owner} does not let {delegate} act for it, or has to allow it anew")]
    NotAllowed {
        /// Whose account it is.
        owner: Did,
        /// Whose access token it is.
        delegate: Did,
    },
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ActingFor {
    /// What may be called: what the token and the delegation both allow.
    pub fn scope(&self) -> &ScopeSet {
        &self.scope
    }

    /// The session at the owner's PDS.
    pub fn session(&self) -> &SessionRead {
        &self.session
    }
}

impl AuthorizationServer {
    /// Checks that whoever makes that call may act for `owner`, another account than the token's. The
    /// delegation is read at each call, so that it ends at once when it is taken back.
    pub async fn act_for(
        &self,
        call: &AuthorizedProxyCall,
        owner: &Did,
    ) -> Result<ActingFor, DelegationError> {
        let token = call.token();
        let delegate = &token.grant.subject;
        if token.grant.delegate().is_some() {
            return Err(DelegationError::Chain(delegate.clone()));
        }
        let now = self.clock.now();
        let found = self.storage.delegation_for_call(owner, delegate, now);
        let found = found.await?.ok_or_else(|| DelegationError::NotAllowed {
            owner: owner.clone(),
            delegate: delegate.clone(),
        })?;
        Ok(ActingFor {
            scope: effective_scope(&token.scope, &found.delegation.scope),
            session: SessionRead {
                session: Arc::new(found.session),
                read_at: now,
            },
        })
    }
}

/// What a delegate may do with a token that allows `token`, by a delegation that allows `delegated`.
/// `openid`, which tells no more than who the owner is, is the token's alone.
pub(crate) fn effective_scope(token: &ScopeSet, delegated: &ScopeSet) -> ScopeSet {
    let openid = Scope::OpenId(OpenIdScope::OpenId);
    let identity = token.contains(&openid).then_some(openid);
    let both = token.intersect(delegated);
    both.iter().cloned().chain(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegate_may_do_what_both_allow() {
        let post = "repo:app.bsky.feed.post?action=create&action=delete";
        let openid = "openid profile email offline_access aip:credentials";
        let everything = "atproto repo:* blob:*/*";
        for (token, delegated, effective) in [
            (
                "atproto transition:generic",
                &*format!("atproto {post}"),
                &*format!("atproto {post}"),
            ),
            (
                &*format!("atproto {openid} repo:app.bsky.feed.post"),
                &*format!("atproto {post}"),
                &*format!("atproto openid {post}"),
            ),
            (
                "atproto repo:app.bsky.feed.post?action=create",
                everything,
                "atproto repo:app.bsky.feed.post?action=create",
            ),
            (
                "atproto repo:app.bsky.feed.like",
                &*format!("atproto {post}"),
                "atproto",
            ),
            (
                "atproto account:email?action=manage identity:handle blob:image/*",
                everything,
                "atproto blob:image/*",
            ),
            ("openid", everything, "openid"),
        ] {
            let both = effective_scope(&token.parse().unwrap(), &delegated.parse().unwrap());
            let expected: ScopeSet = effective.parse().unwrap();
            assert_eq!(both, expected, "{token} / {delegated}");
        }
    }
}
