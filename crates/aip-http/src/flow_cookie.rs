//! What a sign-in is bound to before anybody has signed in: a cookie with a random value, which the
//! sign-in page sets. Nothing is stored for it until the form of that page is sent.
//!
//! Its name is random, too, so that pages opened at the same time in a new browser do not overwrite
//! each other's cookies. It is never replaced, so a page that waits in another tab stays good.

use std::time::Duration;

use aip_base::{RowId, random_token};
use aip_keys::{TokenHash, TokenKind};
use aip_storage::browser::BrowserSession;
use aip_storage::request::MAX_FLOW_COOKIES;
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use crate::api_error::ApiError;
use crate::cookies::cookies;
use crate::hash_text::encode;
use crate::incoming_request::IncomingRequest;
use crate::respond::request_gone;
use crate::state::AppState;

/// How long a sign-in page may stay open.
const COOKIE_MAX_AGE: Duration = Duration::from_hours(2);
/// For how long pages that are opened later share the cookie.
const SHARED_FOR: Duration = Duration::from_hours(1);
/// How long what is stored for it lives: a page that shares it at the last moment, stays open as
/// long as it may, and leads to a sign-in of an hour (half an hour each for the app's request and
/// the visit to the PDS).
const STORED_FOR: Duration = Duration::from_hours(4);
/// What their names have after the name of the cookie of the browser session.
const SUFFIX: &str = "-flow-";

/// The cookie of a sign-in that has not finished.
pub(crate) struct FlowCookie {
    /// Seconds of its making, and a random part.
    id: String,
    value: SecretString,
}

impl FlowCookie {
    /// What CSRF tokens and names of requests are bound to.
    pub(crate) fn csrf_binding(&self, app: &AppState) -> String {
        encode(&app.server().hasher.hash(self.value.expose_secret()))
    }

    fn is_shared(&self, app: &AppState) -> bool {
        let made = self.id.split_once('-').and_then(|(at, _)| at.parse().ok());
        let now = app.now().as_secs();
        let shared_for = i64::try_from(SHARED_FOR.as_secs()).unwrap_or(0);
        made.is_some_and(|made: i64| made <= now && now - made < shared_for)
    }

    /// Lets the answer set it, and take away those that are too many.
    pub(crate) fn set_cookie_on(
        &self,
        app: &AppState,
        incoming: &IncomingRequest,
        mut response: Response,
    ) -> Response {
        let name = |id: &str| app.cookie_name(&format!("{SUFFIX}{id}"));
        app.set_cookie(
            &mut response,
            &name(&self.id),
            self.value.expose_secret(),
            COOKIE_MAX_AGE,
        );
        let all = ids(app, incoming);
        let others: Vec<_> = all.iter().filter(|id| **id != self.id).collect();
        let too_many = others.len().saturating_sub(MAX_FLOW_COOKIES - 1);
        for id in others.into_iter().take(too_many) {
            app.set_cookie(&mut response, &name(id), "", Duration::ZERO);
        }
        response
    }
}

impl AppState {
    /// The cookies of sign-ins that this browser sends, the oldest first.
    pub(crate) fn flows(&self, incoming: &IncomingRequest) -> Vec<FlowCookie> {
        let prefix = self.cookie_name(SUFFIX);
        let mut flows: Vec<FlowCookie> = Vec::new();
        for (name, value) in cookies(incoming) {
            if let Some(id) = name.strip_prefix(&prefix)
                && TokenKind::BrowserSession.parse(value).is_ok()
            {
                flows.push(FlowCookie {
                    id: id.to_owned(),
                    value: value.into(),
                });
            }
        }
        let too_many = flows.len().saturating_sub(MAX_FLOW_COOKIES);
        flows.drain(..too_many);
        flows
    }

    /// The cookie for a page that is opened now: the latest of this browser, or a new one.
    pub(crate) fn flow(&self, incoming: &IncomingRequest) -> FlowCookie {
        let known = self
            .flows(incoming)
            .pop()
            .filter(|flow| flow.is_shared(self));
        known.unwrap_or_else(|| {
            let rng = &*self.server().rng;
            FlowCookie {
                id: format!("{}-{}", self.now().as_secs(), random_token::<6>(rng)),
                value: TokenKind::BrowserSession.mint(rng),
            }
        })
    }

    /// What requests of that sign-in are bound to in the storage; made when it is first needed.
    pub(crate) async fn flow_session(&self, flow: &FlowCookie) -> Result<RowId, ApiError> {
        let (now, server) = (self.now(), self.server());
        let session = BrowserSession {
            id: RowId::new(&*server.clock, &*server.rng),
            token: server.hasher.hash(flow.value.expose_secret()),
            created_at: now,
            expires_at: now + STORED_FOR,
            accounts: Vec::new(),
        };
        if self.storage().create_browser_session(&session).await? {
            return Ok(session.id);
        }
        let stored = self.storage().browser_session(&session.token, now).await?;
        stored.map(|it| it.id).ok_or_else(request_gone)
    }

    /// The keyed hashes of the cookies of this browser's sign-ins.
    pub(crate) fn flow_tokens(&self, incoming: &IncomingRequest) -> Vec<TokenHash> {
        let flows = self.flows(incoming);
        let hash = |flow: &FlowCookie| self.server().hasher.hash(flow.value.expose_secret());
        flows.iter().map(hash).collect()
    }

    /// Whether the request brings any cookie of ours.
    pub(crate) fn brings_cookies(&self, incoming: &IncomingRequest) -> bool {
        let prefix = self.cookie_name("");
        cookies(incoming).any(|(name, _)| name.starts_with(&prefix))
    }
}

/// The ids of all such cookies, also of those that are too many or unusable.
fn ids(app: &AppState, incoming: &IncomingRequest) -> Vec<String> {
    let prefix = app.cookie_name(SUFFIX);
    cookies(incoming)
        .filter_map(|(name, _)| name.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}
