//! The accounts of a PDS.

use std::collections::BTreeMap;
use std::sync::Arc;

use aip_atproto::{Did, Handle};
use aip_jose::SigningKey;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE32_NOPAD;

/// A person with an account, as a test knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub did: Did,
    /// The handle that it began with.
    pub handle: Handle,
    /// The account's password.
    pub password: String,
}

/// What became of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountState {
    /// In use.
    #[default]
    Active,
    /// Switched off by its owner, as during a migration: sessions live on.
    Deactivated,
    /// Taken down by the operator: sessions end.
    TakenDown,
    /// Gone: sessions end.
    Deleted,
}

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) did: Did,
    pub(crate) handle: Handle,
    pub(crate) email: String,
    pub(crate) email_confirmed: bool,
    pub(crate) password: String,
    pub(crate) state: AccountState,
    pub(crate) signing_key: Arc<SigningKey>,
    /// Name to password.
    pub(crate) app_passwords: BTreeMap<String, AppPassword>,
}

#[derive(Debug, Clone)]
pub(crate) struct AppPassword {
    pub(crate) password: String,
    pub(crate) privileged: bool,
    pub(crate) created_at: String,
}

#[derive(Default)]
pub(crate) struct Accounts {
    by_did: BTreeMap<String, Account>,
}

impl AccountState {
    /// Whether sessions of such an account still work.
    pub(crate) fn keeps_sessions(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }

    /// The `status` of `com.atproto.server.getSession`; none for an active account.
    pub(crate) fn status(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Deactivated => Some("deactivated"),
            Self::TakenDown => Some("takendown"),
            Self::Deleted => Some("deleted"),
        }
    }
}

impl Accounts {
    pub(crate) fn insert(&mut self, account: Account) {
        self.by_did.insert(account.did.as_str().to_owned(), account);
    }

    pub(crate) fn get(&self, did: &str) -> Option<&Account> {
        self.by_did.get(did)
    }

    pub(crate) fn get_mut(&mut self, did: &str) -> Option<&mut Account> {
        self.by_did.get_mut(did)
    }

    pub(crate) fn by_handle(&self, handle: &str) -> Option<&Account> {
        self.by_did
            .values()
            .find(|account| account.handle.as_str().eq_ignore_ascii_case(handle))
    }

    /// By handle, DID or e-mail address, as sign-in forms take them.
    pub(crate) fn by_identifier(&self, identifier: &str) -> Option<&Account> {
        let identifier = identifier.trim().trim_start_matches('@');
        self.get(identifier)
            .or_else(|| self.by_handle(identifier))
            .or_else(|| {
                self.by_did
                    .values()
                    .find(|account| account.email.eq_ignore_ascii_case(identifier))
            })
    }
}

/// The `did:plc` of an account: made from its handle, so that every run of a test has the same.
pub(crate) fn did_of(handle: &Handle) -> String {
    let hash = digest(&SHA256, handle.as_str().as_bytes());
    let name = BASE32_NOPAD.encode(&hash.as_ref()[..15]);
    format!("did:plc:{}", name.to_ascii_lowercase())
}
