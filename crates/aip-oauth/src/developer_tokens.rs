//! Developer tokens ([`aip_storage::developer_token`]): when they were last used, and orders of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp, random_token};
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::developer_token::{
    DEVELOPER_TOKEN_ORDER_LIFE, DeveloperTokenName, DeveloperTokenOrder,
};
use aip_storage::grant::{Grant, RevokeReason};
use quick_cache::sync::Cache;
use secrecy::SecretString;

use crate::AuthorizationServer;

/// How many tokens are remembered as used. Others are written down again.
const REMEMBERED_TOKENS: usize = 4096;

/// Seconds of an hour: how exactly the last use is known.
const HOUR: i64 = 3600;

/// The hour for which each token's use was last written down by this process, shared by clones.
#[derive(Clone)]
pub struct DeveloperTokenUses(Arc<Cache<RowId, Timestamp>>);

impl Default for DeveloperTokenUses {
    fn default() -> Self {
        Self(Arc::new(Cache::new(REMEMBERED_TOKENS)))
    }
}

impl fmt::Debug for DeveloperTokenUses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeveloperTokenUses")
            .field(&self.0.len())
            .finish()
    }
}

impl DeveloperTokenUses {
    /// Whether a use in that hour is still to be written down, which the caller does.
    fn begin(&self, token: RowId, hour: Timestamp) -> bool {
        let is_new = self.0.get(&token) != Some(hour);
        if is_new {
            self.0.insert(token, hour);
        }
        is_new
    }

    /// Forgets a use that could not be written down: the next one is.
    fn undo(&self, token: RowId) {
        self.0.remove(&token);
    }
}

/// What an operator gets who orders a developer token.
#[derive(Debug)]
pub struct OrderedToken {
    /// The id of the order.
    pub id: RowId,
    /// The keyed hash of the secret in the link, by which the order is found.
    pub link_hash: TokenHash,
    /// The secret in the link.
    pub link: SecretString,
    /// The keyed hash of the token, by which it is found when it is made.
    pub token_hash: TokenHash,
    /// The token. It is good when the person has made it.
    pub token: SecretString,
    /// When the link expires.
    pub expires_at: Timestamp,
}

impl AuthorizationServer {
    /// Writes down that a developer token is used, once an hour. What else the grant is for is not its
    /// concern. A failure is logged: the call goes on.
    pub(crate) async fn note_developer_token_use(&self, grant: &Grant) {
        if !grant.client_id.is_of_developer_tokens() {
            return;
        }
        let hour = hour_of(self.clock.now());
        if self.developer_token_uses.begin(grant.id, hour) {
            let noted = self.storage.note_developer_token_use(grant.id, hour).await;
            if let Err(error) = noted {
                self.developer_token_uses.undo(grant.id);
                tracing::warn!(token = %grant.id, %error, "noting the use of a developer token failed");
            }
        }
    }

    /// Orders a developer token for that account: whoever has the link and can sign in as it makes it.
    pub async fn order_developer_token(
        &self,
        account: &Did,
        name: DeveloperTokenName,
        scope: ScopeSet,
        life: Duration,
    ) -> Result<OrderedToken, StorageError> {
        let token = TokenKind::DeveloperToken.mint(&*self.rng);
        let link = SecretString::from(random_token::<32>(&*self.rng));
        let order = DeveloperTokenOrder {
            id: RowId::new(&*self.clock, &*self.rng),
            link: self.hash(&link),
            account: account.clone(),
            name,
            scope,
            life,
            access: self.hash(&token),
            expires_at: self.clock.now() + DEVELOPER_TOKEN_ORDER_LIFE,
        };
        self.storage.put_developer_token_order(&order).await?;
        Ok(OrderedToken {
            id: order.id,
            link_hash: order.link,
            link,
            token_hash: order.access,
            token,
            expires_at: order.expires_at,
        })
    }

    /// The order whose link has that secret, if it is live.
    pub async fn developer_token_order(
        &self,
        link: &str,
    ) -> Result<Option<DeveloperTokenOrder>, StorageError> {
        let hash = self.hasher.hash(link);
        let now = self.clock.now();
        self.storage.developer_token_order(&hash, now).await
    }

    /// Ends a developer token, of that account if one is named: here at once, at other replicas within a
    /// second. Whether it was live.
    pub async fn revoke_developer_token(
        &self,
        id: RowId,
        account: Option<&Did>,
        reason: RevokeReason,
    ) -> Result<bool, StorageError> {
        let now = self.clock.now();
        let detail = format!("token {id}: {}", reason.as_str());
        let kind = AuditKind::DeveloperTokenRevoked;
        let event = AuditEvent::new(&*self.clock, &*self.rng, kind, &detail);
        let ended = self
            .storage
            .revoke_developer_token(id, account, reason, now, event)
            .await?;
        self.known_tokens.forget_grants(|grant| grant.id == id);
        Ok(ended.is_some())
    }
}

/// The beginning of the hour of an instant.
fn hour_of(at: Timestamp) -> Timestamp {
    let secs = at.as_secs();
    Timestamp::from_secs(secs - secs.rem_euclid(HOUR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_down_once_an_hour() {
        struct At;
        impl aip_base::Clock for At {
            fn now(&self) -> Timestamp {
                Timestamp::from_secs(0)
            }
        }
        let token = || RowId::new(&At, &aip_base::SystemRng);
        let (one, other) = (token(), token());
        let uses = DeveloperTokenUses::default();
        let begin = Timestamp::from_secs(1_800_000_000);
        for (token, minutes, is_new) in [
            (one, 0, true),
            (one, 1, false),
            (other, 1, true),
            (one, 59, false),
            (one, 60, true),
            (one, 61, false),
            (other, 61, true),
        ] {
            let hour = hour_of(begin + Duration::from_mins(minutes));
            assert_eq!(hour.as_secs() % HOUR, 0);
            assert_eq!(uses.begin(token, hour), is_new, "after {minutes} min");
        }
        let hour = hour_of(begin + Duration::from_mins(61));
        uses.undo(one);
        for (token, is_new) in [(one, true), (one, false), (other, false)] {
            assert_eq!(uses.begin(token, hour), is_new, "after a failure");
        }
    }
}
