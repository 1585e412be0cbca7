//! OAuth sessions, with the reference PDS's rules: refresh tokens are single use, a replay ends
//! the session, and so does any error after a refresh token was found.
//!
//! Tokens name their session and a generation of it, so nothing is kept about used ones.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aip_base::{Rng, Timestamp};
use aip_jose::Thumbprint;

use super::client_auth::ClientAuth;
use super::settings::Lifetimes;

/// A session, or a version of it: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(u128);

/// What a token says about itself: which session, and which generation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenName {
    pub(crate) session: Id,
    pub(crate) generation: Id,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) did: Arc<str>,
    pub(crate) client_id: Arc<str>,
    pub(crate) auth: ClientAuth,
    pub(crate) jkt: Thumbprint,
    pub(crate) scope: Arc<str>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) generation: Id,
    /// A refresh was looked up and not yet committed.
    pub(crate) refreshing: bool,
}

#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<Id, Session>,
    ended: VecDeque<EndedSession>,
}

/// A session that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Whose it was.
    pub did: String,
    /// When it ended.
    pub at: Timestamp,
    /// Why, in the words of the reference PDS where it has some.
    pub why: String,
}

/// How many ended sessions are remembered.
const ENDED: usize = 10_000;

/// Why a refresh token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefreshRefusal {
    #[error("Invalid refresh token")]
    Unknown,
    #[error("Refresh token replayed")]
    Replayed,
    #[error("Session expired")]
    Expired,
    #[error("another refresh of the session is under way")]
    Collision,
}

impl Id {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }
}

impl TokenName {
    /// As `PREFIX-` and 64 hexadecimal digits, like the reference PDS's codes and refresh tokens.
    pub(crate) fn write(self, prefix: &str) -> String {
        format!("{prefix}-{:032x}{:032x}", self.session.0, self.generation.0)
    }

    pub(crate) fn read(prefix: &str, text: &str) -> Option<Self> {
        let digits = text.strip_prefix(prefix)?.strip_prefix('-')?;
        let (session, generation) = digits.split_at_checked(32)?;
        let number = |digits| u128::from_str_radix(digits, 16).ok();
        let hexadecimal = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal {
            return None;
        }
        Some(Self {
            session: Id(number(session)?),
            generation: Id(number(generation)?),
        })
    }
}

impl Session {
    fn is_over(&self, lifetimes: &Lifetimes, now: Timestamp) -> bool {
        match self.auth {
            ClientAuth::None => now.since(self.created) >= lifetimes.public_session,
            ClientAuth::Key { .. } => {
                now.since(self.created) >= lifetimes.confidential_session
                    || now.since(self.updated) >= lifetimes.confidential_refresh
            }
        }
    }
}

impl Sessions {
    pub(crate) fn insert(&mut self, id: Id, session: Session) {
        self.open.insert(id, session);
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Session> {
        self.open.get(&id)
    }

    /// Ends a session, if it is there.
    pub(crate) fn end(&mut self, id: Id, why: &str, at: Timestamp) {
        if let Some(session) = self.open.remove(&id) {
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(EndedSession {
                did: session.did.to_string(),
                at,
                why: why.to_owned(),
            });
        }
    }

    /// Ends every session for which `ends` holds.
    pub(crate) fn end_where(&mut self, ends: impl Fn(&Session) -> bool, why: &str, at: Timestamp) {
        let over = self.open.iter().filter(|(_, session)| ends(session));
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(id, why, at);
        }
    }

    /// The newest sessions that ended, oldest first.
    pub(crate) fn ended(&self) -> Vec<EndedSession> {
        self.ended.iter().cloned().collect()
    }

    pub(crate) fn count(&self, counts: impl Fn(&Session) -> bool) -> usize {
        self.open.values().filter(|session| counts(session)).count()
    }

    /// The first half of a refresh: finds the session, which nobody else may refresh meanwhile.
    pub(crate) fn begin_refresh(
        &mut self,
        token: TokenName,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Result<Session, RefreshRefusal> {
        let session = self
            .open
            .get_mut(&token.session)
            .ok_or(RefreshRefusal::Unknown)?;
        if session.generation != token.generation {
            return Err(self.refuse(token.session, RefreshRefusal::Replayed, now));
        }
        if session.is_over(lifetimes, now) {
            return Err(self.refuse(token.session, RefreshRefusal::Expired, now));
        }
        if session.refreshing {
            return Err(RefreshRefusal::Collision);
        }
        session.refreshing = true;
        Ok(session.clone())
    }

    fn refuse(&mut self, id: Id, refusal: RefreshRefusal, now: Timestamp) -> RefreshRefusal {
        self.end(id, &refusal.to_string(), now);
        refusal
    }

    /// The second half: the session goes on as `generation`, and every older token is dead.
    pub(crate) fn commit_refresh(
        &mut self,
        id: Id,
        generation: Id,
        now: Timestamp,
    ) -> Result<Session, RefreshRefusal> {
        let session = self.open.get_mut(&id).ok_or(RefreshRefusal::Unknown)?;
        session.refreshing = false;
        session.generation = generation;
        session.updated = now;
        Ok(session.clone())
    }
}
