//! The cookie of a browser session (RFC 6265bis): `__Host-aip` over TLS; plain `aip` on loopback,
//! where there is no TLS and browsers refuse the prefix.
//!
//! Its value is known to the browser alone; we keep a keyed hash. It is replaced at every sign-in,
//! so that a value planted before is worthless afterwards (session fixation).

use std::time::Duration;

use aip_base::RowId;
use aip_keys::TokenKind;
use aip_storage::browser::{BrowserAccount, BrowserSession};
use axum::response::Response;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use secrecy::{ExposeSecret as _, SecretString};

use crate::call::Call;
use crate::problem::Problem;
use crate::state::App;

/// How long a browser is remembered after its last sign-in.
const LIFE: Duration = Duration::from_hours(24 * 30);
/// How long it is remembered before its first one. Anybody can make us store such a session.
const ANONYMOUS_LIFE: Duration = Duration::from_hours(2);
/// How long a sign-in may take: a request of an app and a visit to a PDS, half an hour each. A
/// session that ends before that is of no use to a sign-in that begins now.
const SIGN_IN_TIME: Duration = Duration::from_hours(1);

/// A browser session, and the cookie that the answer must set for it, if it is new.
pub(crate) struct Browser {
    pub(crate) session: BrowserSession,
    fresh: Option<SecretString>,
}

impl Browser {
    /// Lets the answer tell the browser its new cookie, if it has one.
    pub(crate) fn remember(&self, app: &App, mut response: Response) -> Response {
        if let Some(value) = &self.fresh {
            let life = self.session.expires_at.since(app.now());
            set(app, &mut response, value.expose_secret(), life);
        }
        response
    }

    /// The account of that DID, if it is signed in here.
    pub(crate) fn account(&self, did: &str) -> Option<&BrowserAccount> {
        let mut accounts = self.session.accounts.iter();
        accounts.find(|account| account.did.as_str() == did)
    }
}

impl App {
    /// The browser that sends this request, if we know it.
    pub(crate) async fn browser(&self, call: &Call) -> Result<Option<Browser>, Problem> {
        let Some(value) = cookie(call, self.cookie_name()) else {
            return Ok(None);
        };
        if TokenKind::BrowserSession.parse(value).is_err() {
            return Ok(None);
        }
        let token = self.server().hasher.hash(value);
        let session = self.storage().browser_session(&token, self.now()).await?;
        Ok(session.map(|session| Browser {
            session,
            fresh: None,
        }))
    }

    /// The browser that sends this request; a new session if we do not know it, or not for long
    /// enough to sign in.
    pub(crate) async fn browser_or_new(&self, call: &Call) -> Result<Browser, Problem> {
        let now = self.now();
        if let Some(browser) = self.browser(call).await?
            && browser.session.expires_at > now + SIGN_IN_TIME
        {
            return Ok(browser);
        }
        let server = self.server();
        let value = TokenKind::BrowserSession.mint(&*server.rng);
        let session = BrowserSession {
            id: RowId::new(&*server.clock, &*server.rng),
            token: server.hasher.hash(value.expose_secret()),
            created_at: now,
            expires_at: now + ANONYMOUS_LIFE,
            accounts: Vec::new(),
        };
        self.storage().create_browser_session(&session).await?;
        Ok(Browser {
            session,
            fresh: Some(value),
        })
    }

    /// Notes that `account` signed in here, and renews the cookie.
    pub(crate) async fn sign_in(
        &self,
        browser: Browser,
        account: BrowserAccount,
    ) -> Result<Browser, Problem> {
        let server = self.server();
        let value = TokenKind::BrowserSession.mint(&*server.rng);
        let token = server.hasher.hash(value.expose_secret());
        let mut session = browser.session;
        session.expires_at = self.now() + LIFE;
        let known = self
            .storage()
            .sign_in_browser(session.id, &token, &account, session.expires_at)
            .await?;
        if !known {
            return Err(Problem::request(
                "You signed out while signing in. Please start again.",
            ));
        }
        session.token = token;
        session.accounts.retain(|it| it.did != account.did);
        session.accounts.insert(0, account);
        Ok(Browser {
            session,
            fresh: Some(value),
        })
    }

    /// Lets the answer take the cookie away.
    pub(crate) fn forget_browser(&self, mut response: Response) -> Response {
        set(self, &mut response, "", Duration::ZERO);
        response
    }

    fn cookie_name(&self) -> &'static str {
        if self.is_https() { "__Host-aip" } else { "aip" }
    }
}

/// `SameSite=Lax`: the cookie must come along when an app or a PDS sends the person here.
fn set(app: &App, response: &mut Response, value: &str, life: Duration) {
    let name = app.cookie_name();
    let secure = if app.is_https() { "; Secure" } else { "" };
    let seconds = life.as_secs();
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// The one cookie of that name. Two of them mean that somebody planted one: then there is none.
fn cookie<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let headers = call.headers().get_all(COOKIE).iter();
    let mut values = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(it, _)| *it == name)
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}
