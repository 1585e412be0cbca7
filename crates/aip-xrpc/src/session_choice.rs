//! With which session of the account a call is made: that of the app password which the client has for
//! it, or the grant's own, of OAuth.
//!
//! A PDS limits a session of OAuth to its scopes, and one of an app password to nothing that scopes say.
//! So the app password is used where AIP alone can judge the call by the token, and where that takes no
//! limit away which the session of OAuth has; for all other calls, and when it is of no use any more, the
//! session of OAuth is.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, ScopeSet, for_upstream};
use aip_base::{Body, OnBehalfOf};
use aip_sessions::{ActiveSession, KeeperError};
use aip_storage::client::ClientId;
use aip_storage::session_read::SessionRead;
use http::{HeaderMap, Method, Response};
use tokio::time::{Instant, timeout};

use crate::error::ForwardError;
use crate::forward::Forwarder;
use crate::permission_sets::SetReader;
use crate::permit::{CallHead, PermittedCall, permit, permit_any_service, permit_default_service};
use crate::quota::Allowance;
use crate::send::{Outgoing, Payload};

/// For so long a call waits for the session of the app password. A refresh of it goes on without the call.
const APP_PASSWORD_WAIT: Duration = Duration::from_secs(5);
/// Whoever has waited so long for a refresh of the one session is not made to wait for the other's as well.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sessions of the account that a call may be made with, as they were read a moment ago.
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    /// That of the grant which the app's token belongs to; `None` if it is not there any more.
    pub own: Option<&'a SessionRead>,
    /// That of the app password which the client has for the account. Who acts for somebody else never
    /// calls with it.
    pub app_password: Option<&'a SessionRead>,
}

/// A call that was judged as far as the token goes.
pub(crate) struct JudgedCall<'a> {
    pub(crate) sessions: Sessions<'a>,
    pub(crate) delegate: Option<&'a Did>,
    pub(crate) client: &'a ClientId,
    pub(crate) scope: &'a ScopeSet,
    pub(crate) head: CallHead<'a>,
    /// `None`: the PDS chooses the service, so it matters with which session it is called.
    pub(crate) permitted: Option<PermittedCall>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// The answer of the PDS.
pub(crate) struct Sent<'a> {
    pub(crate) response: Response<Body>,
    /// What it was called with.
    pub(crate) session: &'a SessionRead,
    pub(crate) allowance: Option<Allowance>,
}

impl Forwarder {
    /// Sends a call with the session that it is for, and with that of OAuth if the app password turns
    /// out to be of no use.
    pub(crate) async fn send_judged<'a>(
        &self,
        call: &mut JudgedCall<'a>,
        sets: &SetReader<'_>,
    ) -> Result<Sent<'a>, ForwardError> {
        if let Some((read, permitted)) = by_app_password(call) {
            let since = Instant::now();
            // In a box, as what it holds would make every other call larger.
            match Box::pin(self.send_with_app_password(call, read, permitted)).await {
                Err(ForwardError::Session(error))
                    if gives_way(&error, since.elapsed()) && call.payload.is_whole() =>
                {
                    tracing::info!(session = %read.session.id, %error, "app password session unusable, calling with the OAuth session");
                }
                sent => return sent,
            }
        }
        let read = call.sessions.own.ok_or(KeeperError::Unknown)?;
        let active = self.keeper.recent_session(read).await?;
        let permitted = if let Some(permitted) = call.permitted.take() {
            permitted
        } else {
            let head = call.head;
            let judge = |scope: &ScopeSet| permit_default_service(scope, &active.scope, head);
            sets.judge(call.scope, judge).await?
        };
        self.send_with(call, read, active, permitted).await
    }

    async fn send_with_app_password<'a>(
        &self,
        call: &mut JudgedCall<'a>,
        read: &'a SessionRead,
        permitted: PermittedCall,
    ) -> Result<Sent<'a>, ForwardError> {
        let active = timeout(APP_PASSWORD_WAIT, self.keeper.recent_session(read)).await;
        let active = active.unwrap_or(Err(KeeperError::Later(Duration::ZERO)))?;
        self.send_with(call, read, active, permitted).await
    }

    async fn send_with<'a>(
        &self,
        call: &mut JudgedCall<'a>,
        read: &'a SessionRead,
        active: Arc<ActiveSession>,
        permitted: PermittedCall,
    ) -> Result<Sent<'a>, ForwardError> {
        let allowance = self.count(call.client.as_str(), &active)?;
        let outgoing = Outgoing {
            call: permitted,
            headers: std::mem::take(&mut call.headers),
            caller: OnBehalfOf {
                account: active.did.shared(),
                client: call.client.shared(),
            },
        };
        if let Some(delegate) = call.delegate.filter(|_| *call.head.verb == Method::POST) {
            self.record(delegate, call.client, &active, &outgoing.call)
                .await?;
        }
        match self.send(&outgoing, read, active, &mut call.payload).await {
            Ok(response) => Ok(Sent {
                response,
                session: read,
                allowance,
            }),
            Err(error) => {
                // For whoever sends it with the other session.
                call.headers = outgoing.headers;
                Err(error)
            }
        }
    }
}

/// The session of the app password, if the call is for it, and the permit for that.
fn by_app_password<'a>(call: &JudgedCall<'a>) -> Option<(&'a SessionRead, PermittedCall)> {
    let Sessions { own, app_password } = call.sessions;
    let (own, read) = (own?, app_password?);
    if !may_use_app_password(
        call.scope,
        &own.session.scope,
        &read.session.scope,
        call.head,
    ) {
        return None;
    }
    let permitted = match &call.permitted {
        Some(permitted) => permitted.clone(),
        None => permit_any_service(call.scope, call.head).ok()?,
    };
    Some((read, permitted))
}

/// Whether a call by a token that allows `token` is for the app password, whose session says that it may
/// do `app_password`: neither what manages the account, nor chat unless it is a privileged one. What the
/// PDS took from the session of OAuth since (`own`), no app password gives back.
fn may_use_app_password(
    token: &ScopeSet,
    own: &ScopeSet,
    app_password: &ScopeSet,
    call: CallHead<'_>,
) -> bool {
    permit(app_password, call).is_ok() && own.covers_all(&for_upstream(token))
}

/// Whether the session of OAuth is tried instead, after the caller waited so long. A failure of AIP itself
/// is told, not hidden.
fn gives_way(error: &KeeperError, waited: Duration) -> bool {
    match error {
        KeeperError::Unknown | KeeperError::NeedsReauth(_) | KeeperError::Ended(_) => true,
        KeeperError::Later(_) => waited < PATIENCE,
        KeeperError::MissingKey(_) | KeeperError::Sealer(_) | KeeperError::Storage(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use aip_atproto::Nsid;
    use aip_storage::StorageError;
    use aip_storage::upstream::{EndReason, ReauthReason};

    use super::*;

    const ORDINARY: &str = "atproto transition:generic";
    const PRIVILEGED: &str = "atproto transition:generic transition:chat.bsky";

    fn head<'a>(verb: &'a Method, nsid: &'a Nsid) -> CallHead<'a> {
        CallHead {
            verb,
            nsid,
            query: None,
            content_type: Some("application/json"),
            content_coding: None,
            proxy: None,
        }
    }

    /// Whether the call is for the app password, where the session of OAuth may do all that the token may.
    fn is_for_app_password(method: &str, query: Option<&str>, app_password: &str) -> bool {
        let nsid = Nsid::parse(method).unwrap();
        let verb = if method.contains(".get") || method.contains(".list") {
            Method::GET
        } else {
            Method::POST
        };
        let token = "atproto transition:generic transition:chat.bsky identity:* \
             account:email?action=manage account:status?action=manage account:repo?action=manage";
        let token = token.parse().unwrap();
        let call = CallHead {
            query,
            ..head(&verb, &nsid)
        };
        may_use_app_password(&token, &token, &app_password.parse().unwrap(), call)
    }

    #[test]
    fn an_app_password_is_for_what_it_opens_at_a_pds() {
        for (method, ordinary, privileged) in [
            ("com.atproto.repo.createRecord", true, true),
            ("com.atproto.repo.applyWrites", true, true),
            ("com.atproto.repo.uploadBlob", true, true),
            ("com.atproto.repo.getRecord", true, true),
            ("com.atproto.server.getSession", true, true),
            ("app.bsky.feed.getTimeline", true, true),
            ("com.example.thing.doIt", true, true),
            ("chat.bsky.convo.listConvos", false, true),
            ("chat.bsky.convo.sendMessage", false, true),
            ("com.atproto.identity.updateHandle", false, false),
            ("com.atproto.identity.signPlcOperation", false, false),
            ("com.atproto.server.updateEmail", false, false),
            ("com.atproto.server.deactivateAccount", false, false),
            ("com.atproto.repo.importRepo", false, false),
        ] {
            assert_eq!(
                is_for_app_password(method, None, ORDINARY),
                ordinary,
                "{method}"
            );
            assert_eq!(
                is_for_app_password(method, None, PRIVILEGED),
                privileged,
                "{method}"
            );
        }
        let service_token = |lxm: &str, app_password| {
            let query = format!("aud=did:web:a.example&lxm={lxm}");
            let method = "com.atproto.server.getServiceAuth";
            is_for_app_password(method, Some(&query), app_password)
        };
        assert!(service_token("app.bsky.feed.getTimeline", ORDINARY));
        assert!(!service_token("chat.bsky.convo.listConvos", ORDINARY));
        assert!(service_token("chat.bsky.convo.listConvos", PRIVILEGED));
    }

    #[test]
    fn what_the_pds_took_from_the_session_no_app_password_gives_back() {
        let nsid = Nsid::parse("com.atproto.repo.createRecord").unwrap();
        let post = "atproto repo:app.bsky.feed.post";
        let both = "atproto repo:app.bsky.feed.post repo:app.bsky.feed.like";
        for (token, own, is_for_it) in [
            (post, post, true),
            (post, both, true),
            (post, ORDINARY, true),
            (both, post, false),
            (ORDINARY, post, false),
            (PRIVILEGED, ORDINARY, false),
            // What is between the app and AIP, no session at a PDS has.
            (
                "openid profile offline_access atproto repo:app.bsky.feed.post",
                post,
                true,
            ),
            ("openid email atproto", "atproto account:email", true),
            ("openid email atproto", "atproto", false),
            (
                "atproto include:app.bsky.authFull",
                "atproto include:app.bsky.authFull",
                true,
            ),
            ("atproto include:app.bsky.authFull", "atproto", false),
        ] {
            let [token, own, app_password] = [token, own, ORDINARY].map(|it| it.parse().unwrap());
            let call = head(&Method::POST, &nsid);
            let found = may_use_app_password(&token, &own, &app_password, call);
            assert_eq!(found, is_for_it, "{token} with {own}");
        }
    }

    #[test]
    fn a_failure_of_our_own_is_not_hidden_by_the_other_session() {
        let at_once = Duration::ZERO;
        for (error, waited, gives_way_to_oauth) in [
            (KeeperError::Unknown, at_once, true),
            (
                KeeperError::NeedsReauth(ReauthReason::Refused),
                PATIENCE,
                true,
            ),
            (
                KeeperError::Ended(EndReason::PasswordRemoved),
                PATIENCE,
                true,
            ),
            (KeeperError::Later(PATIENCE), at_once, true),
            (KeeperError::Later(at_once), PATIENCE, false),
            (
                KeeperError::Storage(StorageError::Unavailable("away".into())),
                at_once,
                false,
            ),
        ] {
            let found = gives_way(&error, waited);
            assert_eq!(found, gives_way_to_oauth, "{error} after {waited:?}");
        }
    }
}
