//! What an operator's commands ask of the storage: whether its keys fit, which keys are in use,
//! and what is still sealed with an older one.

use aip_base::Timestamp;
use aip_keys::{Aad, Sealed, TokenHash};
use async_trait::async_trait;

use crate::StorageError;

/// A column of sealed values. The table, the column and the row's id are authenticated with each
/// value, so a value opens in its own place only.
///
/// A release moves values from the columns of held sessions to those of upstream sessions, so the former
/// come first: who seals one column after another meets a value that moves meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter)]
pub enum SealedColumn {
    /// The secrets of a sign-in that is under way.
    FlowSecrets,
    /// The private DPoP key of a session of another server that is held
    /// ([`imports`](crate::imports)).
    HeldDpopKey,
    /// The access token of a held session.
    HeldAccessToken,
    /// The refresh token of a held session.
    HeldRefreshToken,
    /// The app password of a held session.
    HeldAppPassword,
    /// The private DPoP key of an upstream session.
    DpopKey,
    /// The access token of an upstream session.
    AccessToken,
    /// The refresh token of an upstream session.
    RefreshToken,
    /// The app password that an upstream session was begun with.
    AppPassword,
    /// The key set that AIP signs with, where the database holds it.
    SigningKeys,
}

/// A value of a sealed column.
#[derive(Debug, Clone)]
pub struct SealedValue {
    /// The id of its row, as it was sealed with.
    pub row: String,
    /// The value.
    pub sealed: Sealed,
}

/// What shows that a process has the keys that a database was made with.
#[derive(Debug, Clone)]
pub struct KeyCheck {
    /// A known text, sealed for this database.
    pub sealed: Sealed,
    /// The keyed hash of a known text.
    pub pepper: TokenHash,
}

/// How many upstream sessions are bound to a client key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKeyUse {
    /// The key.
    pub kid: String,
    /// Sessions that are lost without it: live ones, and those still to be revoked at their PDS.
    pub sessions: u64,
    /// When the newest of them began.
    pub newest_began_at: Timestamp,
}

/// Verbs for looking after an installation.
#[async_trait]
pub trait Operations: Send + Sync {
    /// What the database takes the time to be, where it has a clock of its own; else `now`.
    async fn database_time(&self, now: Timestamp) -> Result<Timestamp, StorageError>;

    /// The check of the keys, if there is one yet.
    async fn key_check(&self) -> Result<Option<KeyCheck>, StorageError>;

    /// Stores the check of the keys unless there is one. Whether it was the first.
    async fn begin_key_check(&self, check: &KeyCheck) -> Result<bool, StorageError>;

    /// Seals the check anew: `check` takes the place of `old`. Whether `old` was still there.
    async fn renew_key_check(&self, old: &Sealed, check: &Sealed) -> Result<bool, StorageError>;

    /// The client keys that upstream sessions are bound to.
    async fn client_key_uses(&self) -> Result<Vec<ClientKeyUse>, StorageError>;

    /// Some value of a column, to try a key on.
    async fn sample_sealed_value(
        &self,
        column: SealedColumn,
    ) -> Result<Option<SealedValue>, StorageError>;

    /// Values whose text does not begin with `prefix`, which names the key in use: by row, those
    /// after `after`, at most `limit`.
    async fn sealed_with_other_keys(
        &self,
        column: SealedColumn,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SealedValue>, StorageError>;

    /// How many values of a column begin with `prefix`.
    async fn count_sealed(&self, column: SealedColumn, prefix: &str) -> Result<u64, StorageError>;

    /// Puts each second value in the place of the first, all in one transaction; returns how many.
    /// Not where the first is there no longer: whoever wrote since has sealed it with its own key.
    async fn reseal(
        &self,
        column: SealedColumn,
        values: &[(SealedValue, Sealed)],
    ) -> Result<u64, StorageError>;
}

impl SealedColumn {
    /// The place of its value in the row `row`, as it is sealed with the value. Values of a held
    /// session are sealed for where they are when it is released.
    pub const fn place(self, row: &str) -> Aad<'_> {
        let place = match self {
            Self::HeldDpopKey => Self::DpopKey,
            Self::HeldAccessToken => Self::AccessToken,
            Self::HeldRefreshToken => Self::RefreshToken,
            Self::HeldAppPassword => Self::AppPassword,
            placed => placed,
        };
        Aad {
            table: place.table(),
            column: place.column(),
            row,
        }
    }

    /// The SQL name of its table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::FlowSecrets => "upstream_flows",
            Self::SigningKeys => "signing_key_sets",
            Self::DpopKey | Self::AccessToken | Self::RefreshToken | Self::AppPassword => {
                "upstream_sessions"
            }
            Self::HeldDpopKey
            | Self::HeldAccessToken
            | Self::HeldRefreshToken
            | Self::HeldAppPassword => "imported_sessions",
        }
    }

    /// Its name in the table.
    pub const fn column(self) -> &'static str {
        match self {
            Self::FlowSecrets | Self::SigningKeys => "sealed",
            Self::DpopKey | Self::HeldDpopKey => "dpop_key",
            Self::AccessToken | Self::HeldAccessToken => "access_token",
            Self::RefreshToken | Self::HeldRefreshToken => "refresh_token",
            Self::AppPassword | Self::HeldAppPassword => "password",
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn a_column_comes_before_the_one_that_its_values_move_to() {
        let columns: Vec<SealedColumn> = SealedColumn::iter().collect();
        let mut moving = 0;
        for (at, column) in columns.iter().enumerate() {
            let place = column.place("row");
            let is_place =
                |one: &SealedColumn| (one.table(), one.column()) == (place.table, place.column);
            let to = columns.iter().position(is_place);
            assert!(to >= Some(at), "{column:?}");
            moving += usize::from(to > Some(at));
        }
        assert_eq!(moving, 4, "the columns of held sessions");
    }
}
