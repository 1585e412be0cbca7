//! Takes over what a server of AIP v2.2.2 holds, so that nobody signs in again: its clients, its sessions
//! at PDSs, app passwords, and the tokens of apps.
//!
//! * [`Source`]: v2's database, of which one transaction reads and nothing is written;
//! * [`Import`]: a run, which may be killed anywhere and repeated: what is as it was is not done again;
//! * [`Report`]: what was taken, and what was left out and why.
//!
//! Two servers that refresh one session end it. So a run *holds* what it takes, in tables that nothing
//! else reads ([`aip_storage::imports`]), and the last one, when v2 has stopped, *releases* it.
//!
//! v2's tables, as seen in v2.2.2: `atp_oauth_sessions` has a row for each refresh of a session; the
//! live one is the newest that holds tokens. Tokens, secrets and keys are in clear.

mod app_passwords;
mod clients;
mod columns;
mod grants;
mod report;
mod rows;
mod run;
mod server_lookup;
mod sessions;
mod source;

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Scope, ScopeSet};
use aip_base::{Rng, Timestamp, random_name};
use aip_jose::Thumbprint;
use aip_keys::{SealError, Sealer};
use aip_oauth::AuthorizationServer;
use aip_pds::PdsClient;
use aip_storage::StorageError;

pub use crate::report::{MAX_LISTED_ROWS, Reason, Report, SkippedRow};
use crate::run::Run;
pub use crate::source::{Source, SourceError};

/// How long after the first release a run may take what could not be taken then. Afterwards what v2
/// has is older than what AIP has, and AIP forgets what has ended here after 30 days.
pub const FINISH_TIME: Duration = Duration::from_hours(24);

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Finds out what would be taken. Nothing is written.
    DryRun,
    /// Holds what is there now; v2 goes on.
    Hold,
    /// Takes what has changed since, and releases all that is held; v2 has stopped.
    Finish {
        /// How many others may be connected to v2's database.
        other_connections: u64,
    },
}

/// What a run works with.
pub struct Import {
    /// Registers the clients, and knows storage, hashes and time.
    pub server: AuthorizationServer,
    /// Asks the PDSs that v2 does not know the authorization server of.
    pub pds: Arc<PdsClient>,
    /// Seals what v2 has in clear.
    pub sealer: Arc<Sealer>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The `client_id` that AIP has at PDSs: the URL of its client document.
    pub upstream_client_id: String,
    /// What a client may ask for that v2 knew no scope of.
    pub default_scope: ScopeSet,
    /// v2's client keys: the thumbprint and the `kid` of each, under which AIP publishes them.
    pub upstream_keys: Vec<(Thumbprint, String)>,
}

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// v2's database.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// AIP's database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A secret could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Another run.
    #[error(
        "another import is running, or was killed less than a minute ago: wait a minute, and run this \
         again"
    )]
    Busy,
    /// v2 may still be running.
    #[error(
        "{number} other connection(s) to AIP v2's database are open ({who}): stop every v2 server \
         first, for two that refresh one session end it. If they are not v2's, say --force {number}"
    )]
    StillInUse {
        /// How many.
        number: u64,
        /// The first of them, by name and address.
        who: String,
    },
    /// It has ended.
    #[error(
        "the import was finished at {}; what AIP v2 has is older than what AIP has since then, and is \
         not taken any more",
        instant(*.0)
    )]
    Finished(Timestamp),
}

impl Import {
    /// Reads all that v2 has and takes it as `mode` says. `progress` receives how many sessions of how
    /// many were looked at.
    pub async fn run(
        &self,
        source: Source,
        mode: Mode,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Report, ImportError> {
        let storage = &self.server.storage;
        let began = storage.database_time(self.server.clock.now()).await?;
        let owner = random_name::<16>(&*self.rng);
        let run = Run {
            import: self,
            source,
            mode,
            began,
            owner,
            report: Report::default(),
            progress,
        };
        run.run_to_end().await
    }
}

/// An instant for people (RFC 3339).
fn instant(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("{at} s"),
    }
}

/// Whether the operator lets the client have tokens and keys of PDSs.
fn may_have_credentials(scope: &ScopeSet) -> bool {
    scope.contains(&Scope::Credentials)
}
