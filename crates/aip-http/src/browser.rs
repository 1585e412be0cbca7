//! The browser session: which accounts are signed in at a browser. It begins with the first sign-in
//! and is known by a cookie, whose value the browser alone knows; we keep a keyed hash.
//!
//! The value is replaced at every sign-in, so that one planted before gets at no account that is
//! added (session fixation).

use std::time::Duration;

use aip_base::RowId;
use aip_keys::{TokenHash, TokenKind};
use aip_storage::browser::{BrowserAccount, BrowserSession, BrowserSignIn};
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use crate::api_error::ApiError;
use crate::cookies::cookie;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// How long a browser is remembered after its last sign-in.
const COOKIE_MAX_AGE: Duration = Duration::from_hours(24 * 30);

/// A browser session.
pub(crate) struct Browser {
    pub(crate) session: BrowserSession,
    /// The value of its cookie.
    cookie_value: SecretString,
}

impl Browser {
    /// Adds the cookie of this session to `response` (`Set-Cookie`).
    pub(crate) fn set_cookie_on(&self, app: &AppState, mut response: Response) -> Response {
        let max_age = self.session.expires_at.since(app.now());
        let name = app.cookie_name("");
        app.set_cookie(
            &mut response,
            &name,
            self.cookie_value.expose_secret(),
            max_age,
        );
        response
    }

    /// The account of that DID, if it is signed in here.
    pub(crate) fn account(&self, did: &str) -> Option<&BrowserAccount> {
        let mut accounts = self.session.accounts.iter();
        accounts.find(|account| account.did.as_str() == did)
    }

    /// What CSRF tokens of its pages are bound to: it stays when the cookie is replaced.
    pub(crate) fn csrf_binding(&self) -> String {
        self.session.id.to_string()
    }
}

impl AppState {
    /// The browser that sends this request, if somebody has signed in at it.
    pub(crate) async fn browser(
        &self,
        incoming: &IncomingRequest,
    ) -> Result<Option<Browser>, ApiError> {
        let name = self.cookie_name("");
        let Some(cookie_value) = cookie(incoming, &name) else {
            return Ok(None);
        };
        let Ok(presented) = TokenKind::BrowserSession.parse(cookie_value) else {
            return Ok(None);
        };
        let token = self.server().hasher.hash_token(presented);
        let session = self.storage().browser_session(&token, self.now()).await?;
        Ok(session.map(|session| Browser {
            session,
            cookie_value: cookie_value.into(),
        }))
    }

    /// Signs `account` in at `browser`, or at one that nobody had signed in at, and replaces the
    /// cookie (session fixation, RFC 6265 §8.4).
    ///
    /// A cookie that another sign-in has replaced may be known to whoever planted it, so the
    /// sign-in that presents it begins a session of its own.
    pub(crate) async fn sign_in(
        &self,
        browser: Option<Browser>,
        account: BrowserAccount,
    ) -> Result<Browser, ApiError> {
        if let Some(Browser {
            session,
            cookie_value,
        }) = browser
        {
            let presented = self.server().hasher.hash(cookie_value.expose_secret());
            let next = TokenKind::BrowserSession.mint(&*self.server().rng);
            match self
                .add_account(session, &presented, next, &account)
                .await?
            {
                (BrowserSignIn::Added, browser) => return Ok(browser),
                (BrowserSignIn::CookieReplaced, _) => {}
                (BrowserSignIn::SessionEnded, _) => return Err(signed_out()),
            }
        }
        self.begin_browser_session(account).await
    }

    /// A new browser session, in which `account` is signed in.
    async fn begin_browser_session(&self, account: BrowserAccount) -> Result<Browser, ApiError> {
        let server = self.server();
        let cookie_value = TokenKind::BrowserSession.mint(&*server.rng);
        let session = BrowserSession {
            id: RowId::new(&*server.clock, &*server.rng),
            token: server.hasher.hash(cookie_value.expose_secret()),
            created_at: self.now(),
            expires_at: self.now() + COOKIE_MAX_AGE,
            accounts: vec![account],
        };
        if self.storage().create_browser_session(&session).await? {
            Ok(Browser {
                session,
                cookie_value,
            })
        } else {
            Err(ApiError::internal("a cookie of that value exists already"))
        }
    }

    /// Adds `account` to `session` and replaces the cookie `presented` by `next`; with the session
    /// as it is when that was done.
    async fn add_account(
        &self,
        mut session: BrowserSession,
        presented: &TokenHash,
        next: SecretString,
        account: &BrowserAccount,
    ) -> Result<(BrowserSignIn, Browser), ApiError> {
        session.token = self.server().hasher.hash(next.expose_secret());
        session.expires_at = self.now() + COOKIE_MAX_AGE;
        let outcome = self.storage().sign_in_browser(
            session.id,
            presented,
            &session.token,
            account,
            session.expires_at,
            self.now(),
        );
        let outcome = outcome.await?;
        session.accounts.retain(|it| it.did != account.did);
        session.accounts.insert(0, account.clone());
        let cookie_value = next;
        Ok((
            outcome,
            Browser {
                session,
                cookie_value,
            },
        ))
    }

    /// Adds a `Set-Cookie` that deletes the cookie.
    pub(crate) fn forget_browser(&self, mut response: Response) -> Response {
        let name = self.cookie_name("");
        self.set_cookie(&mut response, &name, "", Duration::ZERO);
        response
    }
}

fn signed_out() -> ApiError {
    ApiError::request("You signed out while signing in. Please start again.")
}
