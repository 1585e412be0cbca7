//! What an import took, and what it left out and why.

use std::collections::BTreeMap;

use aip_atproto::ScopeSet;
use aip_storage::client::ClientId;
use strum::IntoStaticStr;

/// How many rows that were left out are listed. More are counted.
pub const MAX_LISTED_ROWS: usize = 10_000;

/// What a run did, or in a dry run what it would do.
#[derive(Debug, Default)]
pub struct Report {
    /// Clients that were registered.
    pub clients_new: u64,
    /// Clients that were changed at v2 since an earlier run.
    pub clients_changed: u64,
    /// Clients that stay as they are here.
    pub clients_unchanged: u64,
    /// Sessions of OAuth that were taken, new or as they are now.
    pub sessions_taken: u64,
    /// Sessions of app passwords that were taken.
    pub app_passwords_taken: u64,
    /// Access tokens of apps in the sessions that were taken.
    pub access_tokens_taken: u64,
    /// Refresh tokens of apps in the sessions that were taken.
    pub refresh_tokens_taken: u64,
    /// Sessions that an earlier run has taken, and that are as they were.
    pub unchanged: u64,
    /// Sessions that were released earlier and are AIP's own.
    pub released_before: u64,
    /// Sessions that were held and are over at v2.
    pub dropped: u64,
    /// Sessions that are held after this run.
    pub held: u64,
    /// Sessions that this run released.
    pub released: u64,
    /// The clients that may need v2's session body and that the operator has not allowed it, each with
    /// the scope that it has here. v2 knows no more of it: it gave that body to every client.
    pub clients_without_credentials: Vec<(ClientId, ScopeSet)>,
    /// The first [`MAX_LISTED_ROWS`] rows that were left out.
    pub left_out: Vec<LeftOut>,
    /// How many rows were left out, for each reason.
    pub left_out_counts: BTreeMap<&'static str, u64>,
    /// Things that are otherwise at AIP than at v2, of rows that were taken.
    pub notes: Vec<String>,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its table at v2.
    pub table: &'static str,
    /// Which one; never by a secret.
    pub row: String,
    /// Why.
    pub reason: Reason,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// Why a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// It is v2's own client, for its device pages.
    OwnClient,
    /// What the client is registered with cannot be registered here.
    ClientRefused,
    /// It is of a client that is not there, or was left out.
    UnknownClient,
    /// It holds no tokens of a PDS: the sign-in was not finished.
    NoUpstreamTokens,
    /// No app holds a live token of it, so nobody can use it.
    NoAppToken,
    /// The account is not a DID.
    BadDid,
    /// The DPoP key is not the private `did:key` of a P-256 key.
    BadDpopKey,
    /// It is bound to a client key that is not among those that were given.
    UnknownSigningKey,
    /// Its scope cannot be read.
    BadScope,
    /// Tokens of one session are of several clients or accounts.
    MixedTokens,
    /// It was begun as another client than AIP is at PDSs.
    OtherUpstreamClient,
    /// A token that v2 does not give out so.
    BadToken,
    /// A token of a client itself: it asks for a new one by itself.
    ClientCredentials,
    /// A token whose session is not there.
    NoSession,
    /// An app password that has not the form of one.
    BadAppPassword,
    /// Its authorization server is not known yet, because a server does not answer now.
    NotNow,
}

impl Reason {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Report {
    pub(crate) fn leave_out(
        &mut self,
        table: &'static str,
        row: String,
        reason: Reason,
        detail: impl Into<String>,
    ) {
        *self.left_out_counts.entry(reason.as_str()).or_default() += 1;
        if self.left_out.len() < MAX_LISTED_ROWS {
            self.left_out.push(LeftOut {
                table,
                row,
                reason,
                detail: detail.into(),
            });
        }
    }

    /// How many rows were left out in all.
    pub fn left_out_total(&self) -> u64 {
        self.left_out_counts.values().sum()
    }

    /// How many sessions a later run may take.
    pub fn not_now(&self) -> u64 {
        let counts = &self.left_out_counts;
        counts.get(Reason::NotNow.as_str()).copied().unwrap_or(0)
    }
}
