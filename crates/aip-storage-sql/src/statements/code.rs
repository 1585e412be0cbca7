//! Redeeming a code (RFC 6749 §4.1.3, RFC 7636 §4.6).

use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::{ClientId, RedirectUri};
use aip_storage::grant::{
    CodeRedemption, Codes, Grant, NewTokens, RedeemCode, RedeemedCode, RevokeReason, TokenFault,
};
use aip_storage::resource_uri::ResourceList;
use async_trait::async_trait;

use super::sql::{Fields, sql, unavailable};
use super::tokens::{insert_access_token, insert_refresh_token};
use super::{DbConnection, Store, grant_row, revoke};

#[async_trait]
impl Codes for Store {
    async fn redeem_code(&self, redemption: &CodeRedemption) -> Result<RedeemCode, StorageError> {
        let mut tx = self.begin().await?;
        let spent = sql("UPDATE codes SET spent_at = $1
             WHERE hash = $2 AND client_id = $3
                 AND (redirect_uri = $4 OR ($4 IS NULL AND code_challenge IS NOT NULL))
                 AND code_challenge IS NOT DISTINCT FROM $5
                 AND (dpop_jkt IS NULL OR dpop_jkt = $6)
                 AND expires_at > $1 AND spent_at IS NULL
                 AND EXISTS (SELECT 1 FROM grants
                     WHERE grants.id = codes.grant_id AND grants.revoked_at IS NULL)
             RETURNING grant_id, nonce")
        .bind(&redemption.now)
        .bind(&redemption.code)
        .bind(&redemption.client_id)
        .bind(&redemption.redirect_uri)
        .bind(&redemption.challenge)
        .bind(&redemption.dpop_jkt)
        .first(&mut *tx)
        .await?;
        let Some(row) = spent else {
            let outcome = explain_refusal(&mut tx, redemption).await?;
            tx.commit().await.map_err(unavailable)?;
            return Ok(outcome);
        };
        let fields = Fields::of("codes", "grant_id", &row)?;
        let id = fields.get("grant_id")?;
        let nonce = fields.get("nonce")?;
        let (tokens, jkt) = (&redemption.tokens, redemption.dpop_jkt.as_ref());
        let Some(grant) = store_first_tokens(&mut tx, id, jkt, tokens, redemption.now).await?
        else {
            return Ok(RedeemCode::Refused);
        };
        tx.commit().await.map_err(unavailable)?;
        Ok(RedeemCode::Redeemed(Box::new(RedeemedCode {
            grant,
            nonce,
        })))
    }

    async fn code_resources(
        &self,
        code: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<ResourceList>, StorageError> {
        sql(
            "SELECT g.id, g.resources FROM codes c JOIN grants g ON g.id = c.grant_id
             WHERE c.hash = $1 AND c.client_id = $2 AND c.expires_at > $3",
        )
        .bind((code, client, &now))
        .one(self.reader(), |row| {
            let resources: Option<ResourceList> =
                Fields::of("grants", "id", row)?.get("resources")?;
            Ok(resources.unwrap_or_default())
        })
        .await
    }

    async fn why_code_refused(
        &self,
        redemption: &CodeRedemption,
    ) -> Result<TokenFault, StorageError> {
        let row = sql(
            "SELECT c.client_id, c.redirect_uri, c.code_challenge, c.dpop_jkt, c.expires_at,
                 g.revoked_at IS NOT NULL AS ended
             FROM codes c JOIN grants g ON g.id = c.grant_id WHERE c.hash = $1",
        )
        .bind(&redemption.code)
        .first(self.reader())
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
            Some(sent) => sent == redirect.as_str(),
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
}

/// Binds a grant to the key of its app, if that has one, and stores its first tokens. `None`: the
/// grant was revoked meanwhile, and the transaction must not be committed.
pub(super) async fn store_first_tokens(
    conn: &mut DbConnection,
    id: RowId,
    dpop_jkt: Option<&String>,
    tokens: &NewTokens,
    now: Timestamp,
) -> Result<Option<Grant>, StorageError> {
    let bound = sql("UPDATE grants SET dpop_jkt = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind((&id, &dpop_jkt.cloned()))
        .execute(&mut *conn)
        .await?;
    if bound == 0 {
        return Ok(None);
    }
    let grant = grant_row::existing(&mut *conn, id).await?;
    insert_refresh_token(&mut *conn, &grant, tokens, now).await?;
    insert_access_token(conn, &grant, tokens, dpop_jkt, now).await?;
    Ok(Some(grant))
}

/// Only the client that the code was made for can prove a replay, and only with what belongs to
/// the code: whoever found a code in a log, without its verifier, must not be able to end the
/// session.
async fn explain_refusal(
    conn: &mut DbConnection,
    redemption: &CodeRedemption,
) -> Result<RedeemCode, StorageError> {
    let spent_before = sql("SELECT grant_id FROM codes
         WHERE hash = $1 AND client_id = $2 AND spent_at IS NOT NULL
             AND (redirect_uri = $3 OR ($3 IS NULL AND code_challenge IS NOT NULL))
             AND code_challenge IS NOT DISTINCT FROM $4
             AND (dpop_jkt IS NULL OR dpop_jkt = $5)")
    .bind(&redemption.code)
    .bind(&redemption.client_id)
    .bind(&redemption.redirect_uri)
    .bind(&redemption.challenge)
    .bind(&redemption.dpop_jkt)
    .first(&mut *conn)
    .await?;
    let Some(row) = spent_before else {
        return Ok(RedeemCode::Refused);
    };
    let id = Fields::of("codes", "grant_id", &row)?.get("grant_id")?;
    revoke::revoke_grant(conn, id, RevokeReason::CodeReplayed, redemption.now).await?;
    Ok(RedeemCode::AlreadySpent(Box::new(
        grant_row::existing(conn, id).await?,
    )))
}
