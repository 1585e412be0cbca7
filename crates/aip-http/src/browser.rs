//! The browser session: which accounts are signed in at a browser. It begins with the first sign-in
//! and is known by a cookie, whose value the browser alone knows; we keep a keyed hash.
//!
//! The value is replaced at every sign-in, so that one planted before gets at no account that is
//! added (session fixation). The next value follows from the last one and a key: two tabs that
//! finish sign-ins with the same value get the same next one, whichever answer comes last.

use std::time::Duration;

use aip_base::RowId;
use aip_keys::TokenKind;
use aip_storage::browser::{BrowserAccount, BrowserSession};
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use crate::call::Call;
use crate::cookies::cookie;
use crate::problem::Problem;
use crate::state::App;

/// How long a browser is remembered after its last sign-in.
const LIFE: Duration = Duration::from_hours(24 * 30);

/// A browser session.
pub(crate) struct Browser {
    pub(crate) session: BrowserSession,
    /// The value of its cookie.
    value: SecretString,
}

impl Browser {
    /// Tells the browser its new cookie.
    pub(crate) fn remember(&self, app: &App, mut response: Response) -> Response {
        let life = self.session.expires_at.since(app.now());
        let name = app.cookie_name("");
        app.set_cookie(&mut response, &name, self.value.expose_secret(), life);
        response
    }

    /// The account of that DID, if it is signed in here.
    pub(crate) fn account(&self, did: &str) -> Option<&BrowserAccount> {
        let mut accounts = self.session.accounts.iter();
        accounts.find(|account| account.did.as_str() == did)
    }

    /// What CSRF tokens of its pages are bound to: it stays when the cookie is replaced.
    pub(crate) fn binding(&self) -> String {
        self.session.id.to_string()
    }
}

impl App {
    /// The browser that sends this request, if somebody has signed in at it.
    pub(crate) async fn browser(&self, call: &Call) -> Result<Option<Browser>, Problem> {
        let name = self.cookie_name("");
        let Some(value) = cookie(call, &name) else {
            return Ok(None);
        };
        if TokenKind::BrowserSession.parse(value).is_err() {
            return Ok(None);
        }
        let token = self.server().hasher.hash(value);
        let session = self.storage().browser_session(&token, self.now()).await?;
        Ok(session.map(|session| Browser {
            session,
            value: value.into(),
        }))
    }

    /// Notes that `account` signed in at `browser`, or at one that nobody had signed in at, and
    /// replaces the cookie (session fixation, RFC 6265 §8.4).
    pub(crate) async fn sign_in(
        &self,
        browser: Option<Browser>,
        account: BrowserAccount,
    ) -> Result<Browser, Problem> {
        let (now, server) = (self.now(), self.server());
        let expires_at = now + LIFE;
        // A cookie that was replaced a moment ago may be known to whoever planted it. It must not
        // lead to the account that was added since, so its sign-in begins a session of its own.
        let current =
            browser.filter(|it| server.hasher.hash(it.value.expose_secret()) == it.session.token);
        let (mut session, value) = match current {
            Some(browser) => {
                let kind = TokenKind::BrowserSession;
                let value = server.hasher.derive(kind, browser.value.expose_secret());
                (browser.session, value)
            }
            None => {
                let value = TokenKind::BrowserSession.mint(&*server.rng);
                let session = BrowserSession {
                    id: RowId::new(&*server.clock, &*server.rng),
                    token: server.hasher.hash(value.expose_secret()),
                    created_at: now,
                    expires_at,
                    accounts: Vec::new(),
                };
                self.storage().create_browser_session(&session).await?;
                (session, value)
            }
        };
        session.token = server.hasher.hash(value.expose_secret());
        session.expires_at = expires_at;
        let known = self
            .storage()
            .sign_in_browser(session.id, &session.token, &account, expires_at, now)
            .await?;
        if !known {
            return Err(Problem::request(
                "You signed out while signing in. Please start again.",
            ));
        }
        session.accounts.retain(|it| it.did != account.did);
        session.accounts.insert(0, account);
        Ok(Browser { session, value })
    }

    /// Lets the answer take the cookie away.
    pub(crate) fn forget_browser(&self, mut response: Response) -> Response {
        let name = self.cookie_name("");
        self.set_cookie(&mut response, &name, "", Duration::ZERO);
        response
    }
}
