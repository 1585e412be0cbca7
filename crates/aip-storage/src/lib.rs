//! What AIP keeps, and the verbs by which it changes.
//!
//! The traits offer *verbs with outcomes* (`redeem_code` → redeemed, already spent, refused),
//! never find-then-consume: every binding is a condition of the one statement that spends, so no
//! implementation can be raced into a double spend. Values that must be read back arrive sealed,
//! values that are only compared arrive hashed; this crate never sees a usable secret.

pub mod account;
pub mod account_events;
pub mod assertion_key;
pub mod audit;
pub mod browser;
mod checked_uri;
pub mod client;
mod client_keys;
pub mod client_registration;
pub mod client_token;
pub mod delegation;
pub mod developer_token;
pub mod device;
pub mod display_uri;
pub mod gcra;
pub mod grant;
pub mod housekeeping;
pub mod imports;
pub mod logout;
pub mod nonces;
pub mod notices;
pub mod operations;
pub mod prompt;
pub mod rates;
mod redirect_uri;
pub mod refresh;
pub mod replay;
pub mod request;
pub mod requested_claims;
pub mod resource_uri;
pub mod sector;
pub mod session_read;
pub mod session_status;
pub mod signing_keys;
pub mod subject;
pub mod upstream;

mod error;

pub use error::StorageError;

/// `as_str` of closed lists of words, which are written in databases, logs and metrics.
macro_rules! stable_names {
    ($($type:ty),*) => {$(
        impl $type {
            /// The stable name, as stored.
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    )*};
}

stable_names!(
    audit::AuditKind,
    client::ApplicationType,
    client::ClientAuthMethod,
    client::GrantType,
    client::IdTokenAlg,
    client::AccessTokenFormat,
    client::SecurityProfile,
    delegation::DelegationEnd,
    delegation::DelegationPreset,
    grant::RevokeReason,
    housekeeping::RetentionClass,
    logout::LogoutFormat,
    nonces::ServerRole,
    prompt::Prompt,
    request::ResponseMode,
    requested_claims::ClaimName,
    requested_claims::ClaimPlace,
    upstream::EndReason,
    upstream::ReauthReason,
    upstream::SessionKind,
    upstream::StateName
);

/// Makes [`Storage`] of the traits of all families of records.
macro_rules! storage_of {
    ($($family:path),+ $(,)?) => {
        /// Everything the application keeps, behind one object.
        pub trait Storage: $($family +)+ {}

        impl<T: $($family +)+> Storage for T {}
    };
}

storage_of!(
    account::Accounts,
    account_events::AccountEvents,
    assertion_key::AssertionKeys,
    audit::Audit,
    browser::Browsers,
    client::Clients,
    client_registration::ClientRegistrations,
    client_token::ClientTokens,
    delegation::Delegations,
    developer_token::DeveloperTokens,
    device::DeviceCodes,
    grant::Codes,
    grant::Grants,
    grant::RefreshTokens,
    housekeeping::Housekeeping,
    imports::Imports,
    logout::LogoutDeliveries,
    operations::Operations,
    refresh::Refreshes,
    replay::Replays,
    request::Requests,
    signing_keys::SigningKeySets,
    upstream::UpstreamSessions
);
