//! Why a code or refresh token was refused: read after the fact, for the log.

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::client::{ClientId, RedirectUri};
use aip_storage::grant::{CodeRedemption, Rotation, TokenFault};

use super::Store;
use super::sql::{Fields, sql};

pub(super) async fn of_code(
    store: &Store,
    redemption: &CodeRedemption,
) -> Result<TokenFault, StorageError> {
    let row = sql(
        "SELECT c.client_id, c.redirect_uri, c.code_challenge, c.dpop_jkt, c.expires_at,
             g.revoked_at IS NOT NULL AS ended
         FROM codes c JOIN grants g ON g.id = c.grant_id WHERE c.hash = $1",
    )
    .bind(&redemption.code)
    .first(store.reader())
    .await?;
    let Some(row) = row else {
        return Ok(TokenFault::Unknown);
    };
    let fields = Fields::of("codes", "client_id", &row)?;
    let client: ClientId = fields.get("client_id")?;
    let redirect: RedirectUri = fields.get("redirect_uri")?;
    let challenge: Option<String> = fields.get("code_challenge")?;
    let key: Option<String> = fields.get("dpop_jkt")?;
    let expires_at: Timestamp = fields.get("expires_at")?;
    let ended: bool = fields.get("ended")?;
    let redirect_fits = match &redemption.redirect_uri {
        Some(sent) => *sent == redirect,
        None => challenge.is_some(),
    };
    Ok(if client != redemption.client_id {
        TokenFault::OtherClient(client)
    } else if !redirect_fits {
        TokenFault::OtherRedirect(redirect)
    } else if challenge != redemption.challenge {
        match (challenge, &redemption.challenge) {
            (Some(_), None) => TokenFault::NoVerifier,
            (None, Some(_)) => TokenFault::NoChallenge,
            _ => TokenFault::OtherVerifier,
        }
    } else if key.is_some() && key != redemption.dpop_jkt {
        TokenFault::OtherKey
    } else if expires_at <= redemption.now {
        TokenFault::Expired(expires_at)
    } else if ended {
        TokenFault::GrantEnded
    } else {
        TokenFault::Raced
    })
}

pub(super) async fn of_refresh_token(
    store: &Store,
    rotation: &Rotation,
) -> Result<TokenFault, StorageError> {
    let row = sql("SELECT r.client_id, r.expires_at, g.dpop_jkt,
             g.revoked_at IS NOT NULL AS ended
         FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.hash = $1")
    .bind(&rotation.refresh)
    .first(store.reader())
    .await?;
    let Some(row) = row else {
        return Ok(TokenFault::Unknown);
    };
    let fields = Fields::of("refresh_tokens", "client_id", &row)?;
    let client: ClientId = fields.get("client_id")?;
    let key: Option<String> = fields.get("dpop_jkt")?;
    let expires_at: Timestamp = fields.get("expires_at")?;
    let ended: bool = fields.get("ended")?;
    Ok(if client != rotation.client_id {
        TokenFault::OtherClient(client)
    } else if key != rotation.dpop_jkt && !rotation.any_key {
        TokenFault::OtherKey
    } else if expires_at <= rotation.now {
        TokenFault::Expired(expires_at)
    } else if ended {
        TokenFault::GrantEnded
    } else {
        TokenFault::Raced
    })
}
