//! Requests in flight. Both kinds are taken by the `DELETE` that returns them; how an authorization
//! request was answered is noted in the same transaction.

use aip_atproto::ScopeSet;
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::request::{
    ANSWER_REPEATED_FOR, AnsweredRequest, AuthorizationRequest, RequestAnswer, Requests, SignedIn,
    TakeFlow, UpstreamFlow,
};
use async_trait::async_trait;

use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store};

macro_rules! request_columns {
    () => {
        "token, browser_id, client_id, redirect_uri, scope, state, nonce, code_challenge, \
         dpop_jkt, login_hint, prompt, max_age, signed_in_did, signed_in_session, signed_in_at, \
         expires_at, authenticated_at, asked"
    };
}

#[async_trait]
impl Requests for Store {
    async fn put_request(&self, request: &AuthorizationRequest) -> Result<bool, StorageError> {
        let who = request.signed_in.as_ref();
        let stored = sql(concat!(
            "INSERT INTO authorization_requests (",
            request_columns!(),
            ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
             WHERE NOT EXISTS (SELECT 1 FROM answered_requests WHERE token = $1)
             ON CONFLICT (token) DO NOTHING"
        ))
        .bind(&request.token)
        .bind(&request.browser)
        .bind(&request.client_id)
        .bind(&request.redirect_uri)
        .bind(&request.scope)
        .bind(&request.state)
        .bind(&request.nonce)
        .bind(&request.code_challenge)
        .bind(&request.dpop_jkt)
        .bind(&request.login_hint)
        .bind(&request.prompt)
        .bind(&request.max_age)
        .bind(&who.map(|who| who.did.clone()))
        .bind(&who.map(|who| who.upstream_session))
        .bind(&who.map(|who| who.signed_in_at))
        .bind(&request.expires_at)
        .bind(&who.and_then(|who| who.auth_time))
        .bind(&request.asked)
        .execute(self.writer())
        .await?;
        Ok(stored == 1)
    }

    async fn request(
        &self,
        token: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<Option<AuthorizationRequest>, StorageError> {
        let row = sql(concat!(
            "SELECT ",
            request_columns!(),
            " FROM authorization_requests WHERE token = $1 AND browser_id = $2 AND expires_at > $3"
        ))
        .bind(token)
        .bind(&browser)
        .bind(&now)
        .first(self.reader())
        .await?;
        row.as_ref().map(read_request).transpose()
    }

    async fn sign_in_request(
        &self,
        token: &TokenHash,
        browser: RowId,
        who: &SignedIn,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let found = sql("UPDATE authorization_requests
             SET signed_in_did = $4, signed_in_session = $5, signed_in_at = $6,
                 authenticated_at = $7
             WHERE token = $1 AND browser_id = $2 AND expires_at > $3")
        .bind(token)
        .bind(&browser)
        .bind(&now)
        .bind(&who.did)
        .bind(&who.upstream_session)
        .bind(&who.signed_in_at)
        .bind(&who.auth_time)
        .execute(self.writer())
        .await?;
        Ok(found == 1)
    }

    async fn move_request(
        &self,
        token: &TokenHash,
        from: RowId,
        to: RowId,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let found = sql("UPDATE authorization_requests SET browser_id = $3
             WHERE token = $1 AND browser_id = $2 AND expires_at > $4")
        .bind(token)
        .bind(&from)
        .bind(&to)
        .bind(&now)
        .execute(self.writer())
        .await?;
        Ok(found == 1)
    }

    async fn refuse_request(
        &self,
        token: &TokenHash,
        browser: RowId,
        error: &str,
        now: Timestamp,
    ) -> Result<Option<AuthorizationRequest>, StorageError> {
        let mut tx = self.begin().await?;
        let row = sql(concat!(
            "DELETE FROM authorization_requests
             WHERE token = $1 AND browser_id = $2 AND expires_at > $3 RETURNING ",
            request_columns!()
        ))
        .bind(token)
        .bind(&browser)
        .bind(&now)
        .first(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let request = read_request(&row)?;
        let answered = AnsweredRequest {
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            state: request.state.clone(),
            did: request.signed_in.as_ref().map(|who| who.did.clone()),
            answer: RequestAnswer::Refused(error.to_owned()),
        };
        if !note_answer(&mut tx, token, browser, &answered, now).await? {
            return Ok(None);
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(Some(request))
    }

    async fn answered_request(
        &self,
        token: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<Option<AnsweredRequest>, StorageError> {
        let row = sql(
            "SELECT browser_id, client_id, redirect_uri, state, did, grant_id, error
             FROM answered_requests a
             WHERE token = $1 AND browser_id = $2 AND expires_at > $3
                 AND (grant_id IS NULL OR EXISTS (SELECT 1 FROM codes c
                     WHERE c.grant_id = a.grant_id AND c.spent_at IS NULL
                         AND c.expires_at > $3))",
        )
        .bind(token)
        .bind(&browser)
        .bind(&now)
        .first(self.reader())
        .await?;
        row.as_ref().map(read_answered).transpose()
    }

    async fn put_flow(&self, flow: &UpstreamFlow) -> Result<(), StorageError> {
        sql("INSERT INTO upstream_flows
                 (state_hash, id, browser_id, request, issuer, expected_did, sealed, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&flow.state)
        .bind(&flow.id)
        .bind(&flow.browser)
        .bind(&flow.request)
        .bind(&flow.issuer)
        .bind(&flow.expected)
        .bind(&flow.sealed)
        .bind(&flow.expires_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn take_flow(
        &self,
        state: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<TakeFlow, StorageError> {
        let taken = sql("DELETE FROM upstream_flows
             WHERE state_hash = $1 AND browser_id = $2 AND expires_at > $3
             RETURNING
                 state_hash, id, browser_id, request, issuer, expected_did, sealed, expires_at")
        .bind(state)
        .bind(&browser)
        .bind(&now)
        .first(self.writer())
        .await?;
        if let Some(row) = taken {
            return Ok(TakeFlow::Taken(Box::new(read_flow(&row)?)));
        }
        let elsewhere = sql("SELECT id FROM upstream_flows
             WHERE state_hash = $1 AND browser_id <> $2 AND expires_at > $3")
        .bind(state)
        .bind(&browser)
        .bind(&now)
        .first(self.reader())
        .await?;
        Ok(if elsewhere.is_some() {
            TakeFlow::OtherBrowser
        } else {
            TakeFlow::Unknown
        })
    }
}

fn read_request(row: &Row) -> Result<AuthorizationRequest, StorageError> {
    let fields = Fields::of("authorization_requests", "browser_id", row)?;
    let signed_in = match (
        fields.get("signed_in_did")?,
        fields.get("signed_in_session")?,
        fields.get("signed_in_at")?,
    ) {
        (Some(did), Some(upstream_session), Some(signed_in_at)) => Some(SignedIn {
            did,
            upstream_session,
            signed_in_at,
            auth_time: fields.get("authenticated_at")?,
        }),
        (None, None, None) => None,
        _ => {
            return Err(fields
                .inconsistent("account, upstream session and time of a sign-in come together"));
        }
    };
    let scope: ScopeSet = fields.get("scope")?;
    let asked: Option<ScopeSet> = fields.get("asked")?;
    Ok(AuthorizationRequest {
        token: fields.get("token")?,
        browser: fields.get("browser_id")?,
        client_id: fields.get("client_id")?,
        redirect_uri: fields.get("redirect_uri")?,
        asked: asked.unwrap_or_else(|| scope.clone()),
        scope,
        state: fields.get("state")?,
        nonce: fields.get("nonce")?,
        code_challenge: fields.get("code_challenge")?,
        dpop_jkt: fields.get("dpop_jkt")?,
        login_hint: fields.get("login_hint")?,
        prompt: fields.get("prompt")?,
        max_age: fields.get("max_age")?,
        signed_in,
        expires_at: fields.get("expires_at")?,
    })
}

/// Notes how a request was answered. `false`: it was answered before, and the transaction must not
/// be committed.
pub(super) async fn note_answer(
    conn: &mut DbConnection,
    token: &TokenHash,
    browser: RowId,
    answered: &AnsweredRequest,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let (grant, error) = match &answered.answer {
        RequestAnswer::Granted(grant) => (Some(*grant), None),
        RequestAnswer::Refused(error) => (None, Some(error.clone())),
    };
    let noted = sql("INSERT INTO answered_requests AS a
             (token, browser_id, client_id, redirect_uri, state, did, grant_id, error, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (token) DO UPDATE SET
             browser_id = excluded.browser_id, client_id = excluded.client_id,
             redirect_uri = excluded.redirect_uri, state = excluded.state, did = excluded.did,
             grant_id = excluded.grant_id, error = excluded.error,
             expires_at = excluded.expires_at
         WHERE a.expires_at <= $10")
    .bind(token)
    .bind(&browser)
    .bind(&answered.client_id)
    .bind(&answered.redirect_uri)
    .bind(&answered.state)
    .bind(&answered.did)
    .bind(&grant)
    .bind(&error)
    .bind(&(now + ANSWER_REPEATED_FOR))
    .bind(&now)
    .execute(conn)
    .await?;
    Ok(noted == 1)
}

fn read_answered(row: &Row) -> Result<AnsweredRequest, StorageError> {
    let fields = Fields::of("answered_requests", "browser_id", row)?;
    let answer = match (fields.get("grant_id")?, fields.get("error")?) {
        (Some(grant), None) => RequestAnswer::Granted(grant),
        (None, Some(error)) => RequestAnswer::Refused(error),
        _ => return Err(fields.inconsistent("an answer is a grant or an error")),
    };
    Ok(AnsweredRequest {
        client_id: fields.get("client_id")?,
        redirect_uri: fields.get("redirect_uri")?,
        state: fields.get("state")?,
        did: fields.get("did")?,
        answer,
    })
}

fn read_flow(row: &Row) -> Result<UpstreamFlow, StorageError> {
    let fields = Fields::of("upstream_flows", "id", row)?;
    Ok(UpstreamFlow {
        state: fields.get("state_hash")?,
        id: fields.get("id")?,
        browser: fields.get("browser_id")?,
        request: fields.get("request")?,
        issuer: fields.get("issuer")?,
        expected: fields.get("expected_did")?,
        sealed: fields.get("sealed")?,
        expires_at: fields.get("expires_at")?,
    })
}
