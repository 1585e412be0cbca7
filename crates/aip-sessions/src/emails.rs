//! The e-mail address of an account, as its PDS tells it to one upstream session. It is read when the
//! session begins and again on demand; what may have changed since is not repeated.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AccountAttr, Origin};
use aip_base::{RowId, Timestamp};
use aip_pds::{CallAuth, EmailError};
use aip_storage::StorageError;
use aip_storage::upstream::{Email, EmailReading, StateName, UpstreamSession};
use tokio::time::timeout;

use crate::keeper::{Keeper, KeeperError};

/// How long an address is taken to be as it was read.
const EMAIL_MAX_AGE: Duration = Duration::from_mins(10);
/// How long a PDS that could not be asked is left alone.
const EMAIL_RETRY_DELAY: Duration = Duration::from_mins(1);
/// How long a caller waits for a PDS.
const EMAIL_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Knows the e-mail addresses of accounts.
pub struct AccountEmails {
    /// Hands out the sessions.
    pub keeper: Arc<Keeper>,
    /// The PDSs whose word on a confirmed address the operator takes as AIP's own. Anybody can run
    /// a PDS that says what it likes.
    pub trusted: Vec<Origin>,
}

/// An address that a PDS told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEmail {
    /// The address.
    pub address: String,
    /// Whether a PDS that the operator trusts says that the person confirmed it.
    pub verified: bool,
}

/// Why an address could not be read again.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Session(#[from] KeeperError),
    #[error(transparent)]
    Pds(#[from] EmailError),
    #[error("the PDS takes longer than {} s", EMAIL_READ_TIMEOUT.as_secs())]
    Late,
}

impl AccountEmails {
    /// The address that the PDS tells to that session; `None` if it does not tell one to it, or
    /// cannot be asked at present.
    pub async fn of_session(&self, id: RowId) -> Result<Option<KnownEmail>, StorageError> {
        let Some(session) = self.keeper.upstream.storage.upstream_session(id).await? else {
            return Ok(None);
        };
        if !session.scope.allows_account(AccountAttr::Email, false) {
            return Ok(None);
        }
        let now = self.keeper.upstream.clock.now();
        if let Some(reading) = &session.email
            && is_current(reading, &session, now)
        {
            return Ok(self.judge(reading));
        }
        // Of a client for authentication only: nobody can be asked again.
        if session.state.name() == StateName::Ended {
            return Ok(None);
        }
        let reading = match timeout(EMAIL_READ_TIMEOUT, self.read(id)).await {
            Ok(Ok(reading)) => reading,
            failed => {
                let error = failed.map_or(ReadError::Late, |it| match it {
                    Err(error) => error,
                    Ok(_) => ReadError::Late,
                });
                tracing::info!(session = %id, %error, "e-mail address lookup failed");
                EmailReading {
                    email: None,
                    pds: session.pds,
                    read_at: now - EMAIL_MAX_AGE + EMAIL_RETRY_DELAY,
                }
            }
        };
        self.keeper
            .upstream
            .storage
            .store_email(id, &reading)
            .await?;
        Ok(self.judge(&reading))
    }

    async fn read(&self, id: RowId) -> Result<EmailReading, ReadError> {
        let usable = self.keeper.active_session(id).await?;
        let may_read = usable.scope.allows_account(AccountAttr::Email, false);
        let email = match &usable.auth {
            CallAuth::Dpop(keys) if may_read => {
                self.keeper
                    .upstream
                    .pds
                    .session_email(keys, &usable.access, &usable.pds)
                    .await?
            }
            _ => None,
        };
        Ok(EmailReading {
            email: email.map(|it| Email {
                address: it.address,
                confirmed: it.confirmed,
            }),
            pds: usable.pds.clone(),
            read_at: self.keeper.upstream.clock.now(),
        })
    }

    fn judge(&self, reading: &EmailReading) -> Option<KnownEmail> {
        reading.email.as_ref().map(|email| KnownEmail {
            address: email.address.clone(),
            verified: email.confirmed && self.trusted.contains(&reading.pds),
        })
    }
}

/// Whether an address still holds: it was read a moment ago, at the PDS that the account is at now.
fn is_current(reading: &EmailReading, session: &UpstreamSession, now: Timestamp) -> bool {
    reading.pds == session.pds && now.since(reading.read_at) < EMAIL_MAX_AGE
}
