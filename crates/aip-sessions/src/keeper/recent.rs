//! Sessions that were opened a moment ago, so that calls that follow one another need neither the
//! database nor the keys again.
//!
//! A session may be used as it was read for [`MAX_READ_AGE`](aip_storage::session_read::MAX_READ_AGE),
//! but not once this process has heard that it was settled since. Its DPoP key stays parsed for as
//! long as the row has the same one. The secrets in here are erased when they are dropped:
//! `SecretString` does that itself, the keys of aws-lc are erased when they are freed.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{RowId, Timestamp};
use aip_jose::SigningKey;
use aip_keys::Sealed;
use aip_pds::CallAuth;
use aip_storage::session_read::{SessionRead, is_recent};
use aip_storage::session_status::SessionStatus;
use aip_storage::upstream::Credential;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};

use super::ActiveSession;

/// About as many sessions fit in [`MAX_BYTES`].
const SESSIONS: usize = 2048;
/// How many bytes the sessions may take.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What a session takes opened, besides what was read and its access token, in bytes.
const OPENED_BYTES: usize = 2048;
/// How long the secrets of a session that nobody uses are kept, and one interval of the clean-up more.
const MAX_IDLE: Duration = Duration::from_mins(1);
/// More sessions are not settled within the second for which that matters.
const MAX_SETTLED: usize = 8192;

/// What this process knows of sessions without asking the database.
pub(super) struct RecentSessions {
    opened: Cache<RowId, Arc<OpenedSession>, ByBytes>,
    /// When this process last heard that a session was refreshed or ended.
    settled: Cache<RowId, Timestamp>,
}

/// A session as it was read, ready for calls.
pub(super) struct OpenedSession {
    pub(super) read: SessionRead,
    pub(super) status: SessionStatus,
    pub(super) active: Arc<ActiveSession>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<RowId, Arc<OpenedSession>> for ByBytes {
    fn weight(&self, _: &RowId, opened: &Arc<OpenedSession>) -> u64 {
        let token = opened.active.access.expose_secret().len();
        (opened.read.session.memory_bytes() + token + OPENED_BYTES) as u64
    }
}

impl Default for RecentSessions {
    fn default() -> Self {
        Self {
            opened: Cache::with_weighter(SESSIONS, MAX_BYTES, ByBytes),
            settled: Cache::new(MAX_SETTLED),
        }
    }
}

impl OpenedSession {
    /// The DPoP key, if it is the one that is sealed so.
    pub(super) fn key(&self, sealed: &Sealed) -> Option<Arc<SigningKey>> {
        match (&self.read.session.credential, &self.active.auth) {
            (Credential::OAuth(oauth), CallAuth::Dpop(keys)) if oauth.dpop_key == *sealed => {
                Some(Arc::clone(&keys.dpop))
            }
            _ => None,
        }
    }

    /// The access token, if it is the one that is sealed so.
    pub(super) fn access(&self, sealed: &Sealed) -> Option<SecretString> {
        let same = self.read.session.tokens.access == *sealed;
        same.then(|| self.active.access.clone())
    }
}

impl RecentSessions {
    /// The session, if it was opened.
    pub(super) fn opened(&self, id: RowId) -> Option<Arc<OpenedSession>> {
        self.opened.get(&id)
    }

    /// Keeps a session that was opened.
    pub(super) fn keep(&self, opened: OpenedSession) {
        self.opened.insert(opened.status.id, Arc::new(opened));
    }

    /// Drops the sessions that nobody has used for a while, and with them their secrets.
    pub(super) fn drop_idle(&self, now: Timestamp) {
        self.opened
            .retain(|_, it| now.since(it.read.read_at) < MAX_IDLE);
    }

    /// Whether a session may be taken to be as it was read.
    pub(super) fn is_current(&self, read: &SessionRead, now: Timestamp) -> bool {
        let settled = self.settled.get(&read.session.id);
        is_recent(read.read_at, now) && settled.is_none_or(|at| at < read.read_at)
    }

    /// The session was refreshed or ended, here or at another replica: what was read before does not
    /// count any more.
    pub(super) fn invalidate(&self, id: RowId, now: Timestamp) {
        self.settled.insert(id, now);
    }
}

#[cfg(test)]
mod tests {
    use aip_storage::upstream::UpstreamState;

    use super::*;
    use crate::keeper::step::tests::{NOW, session};

    fn opened(read_at: Timestamp) -> OpenedSession {
        let session = session(UpstreamState::Active, Duration::from_hours(1));
        let active = ActiveSession {
            id: session.id,
            did: session.did.clone(),
            pds: session.pds.clone(),
            scope: session.scope.clone(),
            auth: CallAuth::Bearer,
            access: "token".into(),
            usable_until: NOW,
            generation: session.generation,
        };
        OpenedSession {
            status: session.status(),
            active: Arc::new(active),
            read: SessionRead {
                session: Arc::new(session),
                read_at,
            },
        }
    }

    #[test]
    fn the_secrets_of_a_session_that_nobody_uses_are_dropped() {
        let recent = RecentSessions::default();
        let (idle, used) = (opened(NOW), opened(NOW + MAX_IDLE));
        let ids = [idle.status.id, used.status.id];
        let secrets = Arc::downgrade(&idle.active);
        recent.keep(idle);
        recent.keep(used);
        let left = || ids.map(|id| recent.opened(id).is_some());
        let moment = Duration::from_micros(1);
        recent.drop_idle((NOW + MAX_IDLE) - moment);
        assert_eq!(left(), [true, true]);
        recent.drop_idle(NOW + MAX_IDLE);
        assert_eq!(left(), [false, true]);
        assert!(secrets.upgrade().is_none());
    }

    #[test]
    fn what_was_read_before_a_session_was_settled_does_not_count() {
        let recent = RecentSessions::default();
        let read_at = |at| SessionRead {
            read_at: at,
            ..opened(NOW).read
        };
        let read = read_at(NOW);
        assert!(recent.is_current(&read, NOW));
        recent.invalidate(read.session.id, NOW);
        assert!(!recent.is_current(&read, NOW), "perhaps before it");
        let later = SessionRead {
            read_at: NOW + Duration::from_micros(1),
            ..read
        };
        assert!(recent.is_current(&later, later.read_at));
    }
}
