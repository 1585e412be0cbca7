//! The demo's own browser sessions, in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use aip_base::lock;

use super::provider::{Claims, Tokens};

/// More browsers than this at a time and somebody has to sign in again.
const MAX_SESSIONS: usize = 1_000;

/// What the demo knows about a browser.
#[derive(Clone)]
pub(super) enum Session {
    /// On its way through AIP.
    SigningIn {
        state: String,
        verifier: String,
    },
    SignedIn {
        claims: Claims,
        tokens: Tokens,
    },
}

/// Sessions by cookie.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    pub(super) fn get(&self, cookie: &str) -> Option<Session> {
        lock(&self.0).get(cookie).cloned()
    }

    /// Takes a session out: whoever was signing in gets one try.
    pub(super) fn take(&self, cookie: &str) -> Option<Session> {
        lock(&self.0).remove(cookie)
    }

    pub(super) fn put(&self, cookie: &str, session: Session) {
        let mut sessions = lock(&self.0);
        if sessions.len() >= MAX_SESSIONS {
            sessions.clear();
        }
        sessions.insert(cookie.to_owned(), session);
    }
}
