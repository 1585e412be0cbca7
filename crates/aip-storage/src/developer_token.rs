//! Developer tokens: access tokens that a person makes for scripts of their own.
//!
//! Each is a grant of the account to a client that is part of AIP, with one access token, no refresh
//! token and an upstream session of its own. So a call with it is checked as any other is, and it ends
//! when its grant does. An operator orders one for a person by a link, as only the person can sign in
//! at their PDS.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aip_atproto::{Did, OpenIdScope, Scope, ScopeError, ScopeSet, Transition};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::audit::AuditEvent;
use crate::client::ClientId;
use crate::delegation::DelegationPreset;
use crate::grant::{Grant, RevokeReason};
use crate::upstream::UpstreamSession;

/// The most live developer tokens of one account.
pub const MAX_DEVELOPER_TOKENS: u32 = 20;

/// The longest life of one, in days.
pub const MAX_DEVELOPER_TOKEN_DAYS: u32 = 365;

/// The longest name of one, in characters.
pub const MAX_DEVELOPER_TOKEN_NAME: usize = 60;

/// How long the link of an order can be used.
pub const DEVELOPER_TOKEN_ORDER_LIFE: Duration = Duration::from_mins(15);

/// What a person calls a token: 1 to [`MAX_DEVELOPER_TOKEN_NAME`] characters, none of them a control
/// character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeveloperTokenName(String);

/// Not a [`DeveloperTokenName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_DEVELOPER_TOKEN_NAME} characters, and no line breaks or other control characters"
)]
pub struct InvalidDeveloperTokenName;

/// A scope that a developer token cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeveloperScopeError {
    /// It is not known here.
    #[error("`{0}` is no scope that is known here")]
    Unknown(String),
    /// It leads to the account itself or to its credentials, or is for apps alone.
    #[error(
        "`{0}` is nothing for a developer token: use `repo:`, `blob:`, `rpc:`, `include:`, `transition:generic`, `openid` or `profile`"
    )]
    NotAllowed(String),
    /// Together it is too much.
    #[error(transparent)]
    TooMuch(#[from] ScopeError),
}

/// A live developer token.
#[derive(Debug, Clone)]
pub struct DeveloperToken {
    /// Its id, which is that of its grant.
    pub id: RowId,
    /// Whose it is.
    pub account: Did,
    /// What its owner calls it.
    pub name: DeveloperTokenName,
    /// What it allows.
    pub scope: ScopeSet,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The hour in which it was last used, by its beginning.
    pub last_used_at: Option<Timestamp>,
}

/// A developer token to be stored.
#[derive(Debug, Clone)]
pub struct NewDeveloperToken {
    /// Its grant, to [`ClientId::of_developer_tokens`].
    pub grant: Grant,
    /// What its owner calls it.
    pub name: DeveloperTokenName,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Where the token comes from.
    pub origin: DeveloperTokenOrigin,
}

/// Where a developer token comes from.
#[derive(Debug, Clone)]
pub enum DeveloperTokenOrigin {
    /// It was made now; this is its keyed hash.
    New(TokenHash),
    /// An order of that id, which is spent: whoever ordered it made the token.
    Order(RowId),
}

/// The outcome of making a developer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeDeveloperToken {
    /// It is stored with its grant and its session; its order, if there was one, is spent.
    Made,
    /// The account has as many as one may have. Nothing changed.
    Full,
    /// Its order was spent, refused, or took too long. Nothing changed.
    OrderGone,
}

/// A developer token that an operator wants, and that the person has not made yet.
#[derive(Debug, Clone)]
pub struct DeveloperTokenOrder {
    /// Its id.
    pub id: RowId,
    /// The keyed hash of the secret in its link.
    pub link: TokenHash,
    /// Whose token it is to be. Nobody else can make it.
    pub account: Did,
    /// What it is to be called.
    pub name: DeveloperTokenName,
    /// What it is to allow.
    pub scope: ScopeSet,
    /// How long it is to live.
    pub life: Duration,
    /// The keyed hash of the token, which whoever ordered it has already.
    pub access: TokenHash,
    /// When the link expires.
    pub expires_at: Timestamp,
}

/// Developer tokens.
#[async_trait]
pub trait DeveloperTokens: Send + Sync {
    /// Stores a token with its grant, its session and the events that tell of it, and spends its order,
    /// in one transaction. The present instant is the grant's `created_at`.
    async fn make_developer_token(
        &self,
        token: &NewDeveloperToken,
        session: &UpstreamSession,
        events: &[AuditEvent],
    ) -> Result<MakeDeveloperToken, StorageError>;

    /// Live tokens by id, which is by age: of that account if one is named, those after `after`, at
    /// most `limit`.
    async fn developer_tokens(
        &self,
        account: Option<&Did>,
        after: Option<RowId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DeveloperToken>, StorageError>;

    /// Ends a token, of that account if one is named, with its session, which is due for revocation at
    /// the PDS, and records that as `event` of its owner. Whose it was, if it was live.
    async fn revoke_developer_token(
        &self,
        id: RowId,
        account: Option<&Did>,
        reason: RevokeReason,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<Option<Did>, StorageError>;

    /// Notes that a token was used in the hour that began at `hour`.
    async fn note_developer_token_use(
        &self,
        id: RowId,
        hour: Timestamp,
    ) -> Result<(), StorageError>;

    /// Stores an order.
    async fn put_developer_token_order(
        &self,
        order: &DeveloperTokenOrder,
    ) -> Result<(), StorageError>;

    /// The order of that link, if it is not spent, refused or over.
    async fn developer_token_order(
        &self,
        link: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeveloperTokenOrder>, StorageError>;

    /// Forgets an order that is refused. Whether it was there.
    async fn drop_developer_token_order(&self, id: RowId) -> Result<bool, StorageError>;
}

impl DeveloperTokenName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeveloperTokenName {
    type Err = InvalidDeveloperTokenName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        let count = name.chars().count();
        if (1..=MAX_DEVELOPER_TOKEN_NAME).contains(&count) && !name.chars().any(char::is_control) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidDeveloperTokenName)
        }
    }
}

impl fmt::Display for DeveloperTokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClientId {
    /// The client of all developer tokens. It is part of AIP: no request can name it, and nobody lists or
    /// changes it.
    pub fn of_developer_tokens() -> Self {
        Self::fixed(DEVELOPER_TOKENS)
    }

    /// Whether it is [`ClientId::of_developer_tokens`].
    pub fn is_of_developer_tokens(&self) -> bool {
        self.as_str() == DEVELOPER_TOKENS
    }
}

const DEVELOPER_TOKENS: &str = "aip:developer-tokens";

/// The life of a token for so many days; `None` if that is none, or more than
/// [`MAX_DEVELOPER_TOKEN_DAYS`].
pub fn developer_token_life(days: u32) -> Option<Duration> {
    let is_allowed = (1..=MAX_DEVELOPER_TOKEN_DAYS).contains(&days);
    is_allowed.then(|| Duration::from_hours(24) * days)
}

/// What a token allows that does what `preset` says: besides, it tells whose it is.
pub fn developer_scope_of(preset: DelegationPreset) -> ScopeSet {
    preset
        .scope()
        .iter()
        .cloned()
        .chain(identity().iter().cloned())
        .collect()
}

/// What a token allows for which `asked` was asked: besides, it tells whose it is.
pub fn developer_scope(asked: &ScopeSet) -> Result<ScopeSet, DeveloperScopeError> {
    if let Some(unknown) = asked.unknown().next() {
        return Err(DeveloperScopeError::Unknown(unknown.to_owned()));
    }
    let refused = asked.iter().find(|scope| !is_for_scripts(scope));
    match refused {
        Some(scope) => Err(DeveloperScopeError::NotAllowed(scope.to_string())),
        None => Ok(asked.union(&identity())?),
    }
}

/// What tells whose a token is.
fn identity() -> ScopeSet {
    let scopes = [
        Scope::Atproto,
        Scope::OpenId(OpenIdScope::OpenId),
        Scope::OpenId(OpenIdScope::Profile),
    ];
    scopes.into_iter().collect()
}

fn is_for_scripts(scope: &Scope) -> bool {
    match scope {
        Scope::Atproto
        | Scope::OpenId(OpenIdScope::OpenId | OpenIdScope::Profile)
        | Scope::Transition(Transition::Generic)
        | Scope::Repo(_)
        | Scope::Rpc(_)
        | Scope::Blob(_)
        | Scope::Include(_) => true,
        Scope::OpenId(_)
        | Scope::Transition(_)
        | Scope::Account(_)
        | Scope::Identity(_)
        | Scope::Credentials
        | Scope::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn a_name_is_short_and_of_one_line() {
        for (typed, name) in [
            ("CI", Some("CI")),
            ("  backup of posts ", Some("backup of posts")),
            ("Ñandú 🦤", Some("Ñandú 🦤")),
            ("", None),
            ("   ", None),
            ("two\nlines", None),
            ("bell\u{7}", None),
        ] {
            let read: Option<DeveloperTokenName> = typed.parse().ok();
            assert_eq!(read.as_ref().map(DeveloperTokenName::as_str), name);
        }
        let longest = "ü".repeat(MAX_DEVELOPER_TOKEN_NAME);
        assert!(longest.parse::<DeveloperTokenName>().is_ok());
        assert!(format!("{longest}x").parse::<DeveloperTokenName>().is_err());
    }

    #[test]
    fn a_token_lives_for_a_day_to_a_year() {
        for (days, hours) in [(0, None), (1, Some(24)), (365, Some(8760)), (366, None)] {
            assert_eq!(developer_token_life(days), hours.map(Duration::from_hours));
        }
    }

    #[test]
    fn a_token_never_leads_to_the_account_itself() {
        for (asked, allowed) in [
            ("repo:app.bsky.feed.post", "repo:app.bsky.feed.post"),
            ("atproto transition:generic", "transition:generic"),
            ("blob:image/* rpc:app.bsky.feed.getTimeline?aud=*", ""),
            ("openid", ""),
        ] {
            let asked: ScopeSet = asked.parse().unwrap();
            let scope = developer_scope(&asked).unwrap();
            assert!(scope.covers_all(&asked), "{scope}");
            assert!(scope.to_string().contains(allowed), "{scope}");
            for identity in ["atproto", "openid", "profile"] {
                assert!(scope.contains(&Scope::parse(identity)), "{scope}");
            }
        }
        for refused in [
            "aip:credentials",
            "account:email",
            "identity:handle",
            "email",
            "offline_access",
            "transition:email",
            "transition:chat.bsky",
        ] {
            let asked: ScopeSet = format!("repo:* {refused}").parse().unwrap();
            let error = developer_scope(&asked).unwrap_err();
            assert_eq!(error, DeveloperScopeError::NotAllowed(refused.to_owned()));
        }
        let unknown: ScopeSet = "atproto nonsense".parse().unwrap();
        let error = developer_scope(&unknown).unwrap_err();
        assert_eq!(error, DeveloperScopeError::Unknown("nonsense".to_owned()));
    }

    #[test]
    fn each_preset_is_allowed_to_a_token() {
        for preset in DelegationPreset::iter() {
            let scope = developer_scope_of(preset);
            assert_eq!(developer_scope(&preset.scope()).unwrap(), scope);
        }
    }
}
