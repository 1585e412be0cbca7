//! Telling clients that a person has signed out, from server to server (OpenID Connect Back-Channel
//! Logout 1.0).
//!
//! A logout token is posted to the address that the client registered, or a security event token
//! (OpenID CAEP 1.0, pushed by RFC 8935) where the operator says so. What does not arrive is tried
//! again, at growing intervals and a few times only: the client's own session ends some day, too.

use std::fmt;
use std::time::Duration;

use aip_base::{HttpError, Limits, OnBehalfOf, Partial, Timestamp, random_token};
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::Client;
use aip_storage::logout::{LogoutDelivery, LogoutFormat, LogoutUri};
use aip_storage::sector::Sector;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::AuthorizationServer;
use crate::signing::SigningError;

/// The type of a logout token (§2.4), which no other token of AIP has.
const TOKEN_TYPE: &str = "logout+jwt";

/// The event that a logout token tells of (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The type of a security event token (RFC 8417 §2.3).
const EVENT_TOKEN_TYPE: &str = "secevent+jwt";

/// The event that such a token tells of (CAEP 1.0 §3.1).
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// How long a logout token is good: §4 recommends two minutes at most.
const TOKEN_TTL: Duration = Duration::from_mins(2);

/// Deliveries that are made side by side.
const CLAIM_BATCH_SIZE: u32 = 50;

/// Of these, deliveries to one client: one that answers late does not hold the others up.
const MAX_DELIVERIES_PER_CLIENT: u32 = 8;

/// What a delivery may cost.
const DELIVERY_LIMITS: Limits = Limits {
    max_bytes: 16 * 1024,
    deadline: Duration::from_secs(5),
};

/// The pauses after the first try and those after it. After the last it is given up.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];

/// A delivery that the outbound guard refuses is given up after so many tries.
const MAX_REFUSED_ATTEMPTS: u32 = 3;

/// The claims of a logout token (§2.4). There is no `nonce`, so that nobody takes it for an `id_token`.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sid: String,
    events: Map<String, Value>,
}

/// The claims of a security event token. There is neither `sub` nor `exp` (OpenID Shared Signals Framework
/// 1.0 §4.1), so that nobody takes it for another token.
#[derive(Serialize)]
struct EventClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    jti: String,
    sub_id: Value,
    events: Map<String, Value>,
}

/// Why a client was not told. No word is a secret.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Sign(#[from] SigningError),
    #[error("the address is no URI of a request: {0}")]
    Address(http::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the answer has status {}", .0.as_u16())]
    Status(StatusCode),
}

impl DeliveryError {
    /// Whether it makes no sense to try again after so many tries: the client's answer to an unusable or
    /// failed logout is 400 (§2.8). The guard also refuses what DNS says of a name at this moment.
    fn is_final(&self, tries: u32) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Http(HttpError::Refused(_)) => tries >= MAX_REFUSED_ATTEMPTS,
            Self::Status(status) => *status == StatusCode::BAD_REQUEST,
            Self::Sign(_) | Self::Http(_) => false,
        }
    }
}

impl AuthorizationServer {
    /// Tells clients of the logouts that are due. Whether there may be more.
    pub async fn deliver_due_logouts(&self) -> Result<bool, StorageError> {
        let now = self.clock.now();
        let claimed = self
            .storage
            .claim_logouts(now, CLAIM_BATCH_SIZE, MAX_DELIVERIES_PER_CLIENT);
        let claimed = claimed.await?;
        self.deliver_logouts(&claimed).await;
        Ok(!claimed.is_empty())
    }

    /// Makes deliveries that are claimed, side by side as many as go; others are due when the claim has
    /// lapsed.
    pub async fn deliver_logouts(&self, claimed: &[LogoutDelivery]) {
        let at_once = usize::try_from(CLAIM_BATCH_SIZE).unwrap_or(usize::MAX);
        let deliveries = claimed.iter().take(at_once);
        join_all(deliveries.map(|delivery| self.deliver_or_log(delivery))).await;
    }

    async fn deliver_or_log(&self, delivery: &LogoutDelivery) {
        if let Err(error) = self.deliver_logout(delivery).await {
            // It is due again when the claim has lapsed.
            let client = delivery.client_id.as_str();
            tracing::error!(%error, client, "logout delivery interrupted");
        }
    }

    async fn deliver_logout(&self, delivery: &LogoutDelivery) -> Result<(), StorageError> {
        let id = &delivery.client_id;
        let kept = self.storage.client(id).await?;
        let found = self.client_of_request(id, kept).await?;
        if found.is_none() && self.client_documents.is_unreachable(id) {
            return self
                .defer_or_give_up(delivery, &"its document cannot be read", false)
                .await;
        }
        let addressed = found.as_deref().and_then(|client| {
            let notification = client.settings.backchannel_logout.as_ref()?;
            Some((client, &notification.uri))
        });
        // Deleted meanwhile, or it does not want to be notified any more, or its document is gone.
        let Some((client, uri)) = addressed else {
            return self.storage.end_logout(delivery, None).await.map(drop);
        };
        let attempts = delivery.attempts;
        match self.post_logout_token(client, uri, delivery).await {
            Ok(()) => {
                count("delivered");
                tracing::info!(
                    client = id.as_str(),
                    attempts,
                    "logout notification delivered"
                );
                self.end_delivery(delivery, AuditKind::LogoutDelivered, "told")
                    .await
            }
            Err(error) => {
                let is_final = error.is_final(attempts);
                self.defer_or_give_up(delivery, &error, is_final).await
            }
        }
    }

    /// Has a delivery tried again later, unless this was the last try.
    async fn defer_or_give_up(
        &self,
        delivery: &LogoutDelivery,
        error: &(dyn fmt::Display + Sync),
        is_final: bool,
    ) -> Result<(), StorageError> {
        let (id, attempts) = (delivery.client_id.as_str(), delivery.attempts);
        let tried = usize::try_from(attempts).unwrap_or(usize::MAX);
        let pause = tried
            .checked_sub(1)
            .and_then(|tried| RETRY_DELAYS.get(tried));
        if let Some(pause) = pause.filter(|_| !is_final) {
            count("deferred");
            tracing::info!(%error, client = id, attempts, "logout notification failed, retrying later");
            let at = self.clock.now() + *pause;
            return self.storage.defer_logout(delivery, at).await;
        }
        count("given_up");
        tracing::warn!(%error, client = id, attempts, "logout notification failed, giving up");
        let kind = AuditKind::LogoutNotDelivered;
        self.end_delivery(delivery, kind, &error.to_string()).await
    }

    async fn end_delivery(
        &self,
        delivery: &LogoutDelivery,
        kind: AuditKind,
        why: &str,
    ) -> Result<(), StorageError> {
        let detail = format!("grant {}: {why}", delivery.grant);
        let event = AuditEvent::new(&*self.clock, &*self.rng, kind, &detail);
        let event = event
            .of_account(&delivery.subject)
            .of_client(&delivery.client_id);
        self.storage
            .end_logout(delivery, Some(&event))
            .await
            .map(drop)
    }

    async fn post_logout_token(
        &self,
        client: &Client,
        uri: &LogoutUri,
        delivery: &LogoutDelivery,
    ) -> Result<(), DeliveryError> {
        let now = self.clock.now();
        let format = client.settings.backchannel_logout_format;
        let (media_type, body) = match format {
            // A JWT has no character that a form would have to escape.
            LogoutFormat::LogoutToken => {
                let token = self.logout_token(client, delivery, now)?;
                (
                    "application/x-www-form-urlencoded",
                    format!("logout_token={token}"),
                )
            }
            LogoutFormat::Caep10 => {
                let token = self.session_revoked(client, delivery, now)?;
                ("application/secevent+jwt", token)
            }
        };
        // Its own share of what is sent to that host: the address may be anybody's.
        let caller = OnBehalfOf {
            account: delivery.subject.as_str().into(),
            client: client.id.as_str().into(),
        };
        let request = Request::post(uri.as_str())
            .header(CONTENT_TYPE, media_type)
            .header(ACCEPT, "application/json")
            .extension(caller)
            .body(Bytes::from(body))
            .map_err(DeliveryError::Address)?;
        // The status is the answer (§2.8), whatever comes with it.
        let answer = self.logout_http.fetch_partial(request, DELIVERY_LIMITS);
        let Partial { fetched, .. } = answer.await?;
        match fetched.status {
            // §2.8: "some Web frameworks will substitute an HTTP 204 No Content response".
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            // RFC 8935 §2.2.
            StatusCode::ACCEPTED if format == LogoutFormat::Caep10 => Ok(()),
            status => Err(DeliveryError::Status(status)),
        }
    }

    /// The subject is the session at the client, and whose it is (CAEP 1.0 §2).
    fn session_revoked(
        &self,
        client: &Client,
        delivery: &LogoutDelivery,
        now: Timestamp,
    ) -> Result<String, SigningError> {
        let sector = client.settings.pairwise.as_ref().map(Sector::id);
        let subject = self.subject_in(sector, &delivery.subject).to_string();
        let issuer = self.issuer.as_str();
        let event = json!({ "event_timestamp": delivery.ended_at.as_secs() });
        let claims = EventClaims {
            iss: issuer,
            aud: client.id.as_str(),
            iat: now.as_secs(),
            jti: random_token::<16>(&*self.rng),
            sub_id: json!({
                "format": "complex",
                "session": { "format": "opaque", "id": delivery.grant.to_string() },
                "user": { "format": "iss_sub", "iss": issuer, "sub": subject },
            }),
            events: Map::from_iter([(SESSION_REVOKED.to_owned(), event)]),
        };
        self.sign(client.settings.id_token_alg, EVENT_TOKEN_TYPE, &claims)
    }

    fn logout_token(
        &self,
        client: &Client,
        delivery: &LogoutDelivery,
        now: Timestamp,
    ) -> Result<String, SigningError> {
        let event = (EVENT.to_owned(), Value::Object(Map::new()));
        let sector = client.settings.pairwise.as_ref().map(Sector::id);
        let subject = self.subject_in(sector, &delivery.subject).to_string();
        let claims = Claims {
            iss: self.issuer.as_str(),
            sub: &subject,
            aud: client.id.as_str(),
            iat: now.as_secs(),
            exp: (now + TOKEN_TTL).as_secs(),
            jti: random_token::<16>(&*self.rng),
            sid: delivery.grant.to_string(),
            events: Map::from_iter([event]),
        };
        self.sign(client.settings.id_token_alg, TOKEN_TYPE, &claims)
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("aip_logout_deliveries_total", "outcome" => outcome).increment(1);
}
