//! Requests in flight. Both kinds are taken by the `DELETE` that returns them; how an authorization
//! request was answered is noted in the same transaction.

use aip_atproto::ScopeSet;
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::request::{
    ANSWER_REPEATED_FOR, AnsweredRequest, AuthorizationRequest, Delivery, FlowBrowser,
    MAX_FLOW_COOKIES, OpenRequest, PushedRequest, RedirectDelivery, RequestAccount, RequestAnswer,
    Requests, ResponseMode, SignedIn, TakeFlow, UpstreamFlow,
};
use async_trait::async_trait;

use super::client::{client_columns, read_client};
use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store, device};

/// The columns that [`read_request`] reads, each after the prefix.
macro_rules! request_columns {
    ($prefix:literal) => {
        request_columns!(@ $prefix token browser_id pushed client_id params signed_in_did
            signed_in_session signed_in_at authenticated_at; expires_at)
    };
    (@ $prefix:literal $($column:ident)*; $last:ident) => {
        concat!($($prefix, stringify!($column), ", ",)* $prefix, stringify!($last))
    };
}

/// Deletes the requests that match the condition; locked by their tokens.
macro_rules! delete_requests {
    ($condition:literal) => {
        concat!(
            "WITH held AS MATERIALIZED (SELECT token FROM authorization_requests WHERE ",
            $condition,
            " ORDER BY token",
            for_update!(),
            ") DELETE FROM authorization_requests WHERE token IN (SELECT token FROM held)"
        )
    };
}
pub(super) use delete_requests;

#[async_trait]
impl Requests for Store {
    async fn put_request(&self, request: &AuthorizationRequest) -> Result<bool, StorageError> {
        let who = request.signed_in.as_ref();
        let stored = sql("INSERT INTO authorization_requests
                 (token, browser_id, client_id, params, signed_in_did, signed_in_session,
                  signed_in_at, authenticated_at, expires_at, pushed)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
             WHERE NOT EXISTS (SELECT 1 FROM answered_requests WHERE token = $1)
             ON CONFLICT (token) DO NOTHING")
        .bind(&request.token)
        .bind(&request.browser)
        .bind(&request.client_id)
        .bind(&request.params)
        .bind(&who.map(|who| who.did.clone()))
        .bind(&who.map(|who| who.upstream_session))
        .bind(&who.map(|who| who.signed_in_at))
        .bind(&who.and_then(|who| who.auth_time))
        .bind((&request.expires_at, &request.pushed))
        .execute(self.writer())
        .await?;
        Ok(stored == 1)
    }

    async fn pushed_request(
        &self,
        pushed: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<PushedRequest>, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("authorization_requests", "client_id", row)?;
            Ok(PushedRequest {
                params: fields.get("params")?,
                begun: fields.get("begun")?,
            })
        };
        sql(
            "SELECT client_id, params, browser_id IS NOT NULL AS begun FROM authorization_requests
             WHERE pushed = $1 AND client_id = $2 AND expires_at > $3",
        )
        .bind((pushed, client, &now))
        .one(self.reader(), read)
        .await
    }

    async fn begin_pushed_request(
        &self,
        request: &AuthorizationRequest,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let begun = sql("UPDATE authorization_requests
             SET token = $1, browser_id = $2, expires_at = $3
             WHERE pushed = $4 AND client_id = $5 AND expires_at > $6 AND browser_id IS NULL")
        .bind((&request.token, &request.browser, &request.expires_at))
        .bind((&request.pushed, &request.client_id, &now))
        .execute(self.writer())
        .await?;
        Ok(begun == 1)
    }

    async fn drop_pushed_request(&self, pushed: &TokenHash) -> Result<(), StorageError> {
        sql("DELETE FROM authorization_requests WHERE pushed = $1 AND browser_id IS NULL")
            .bind(pushed)
            .execute(self.writer())
            .await?;
        Ok(())
    }

    async fn request(
        &self,
        token: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<Option<OpenRequest>, StorageError> {
        sql(concat!(
            "SELECT ",
            request_columns!("r."),
            ", ",
            client_columns!("c"),
            ", s.scope AS upstream_scope, k.scope AS allowed, a.handle
             FROM authorization_requests r
             LEFT JOIN clients c ON c.id = r.client_id
             LEFT JOIN upstream_sessions s ON s.id = r.signed_in_session
             LEFT JOIN consents k ON k.browser_id = r.browser_id AND k.client_id = r.client_id
                 AND k.did = r.signed_in_did
             LEFT JOIN accounts a ON a.did = r.signed_in_did
             WHERE r.token = $1 AND r.browser_id = $2 AND r.expires_at > $3
                 AND r.params IS NOT NULL"
        ))
        .bind((token, &browser, &now))
        .one(self.reader(), read_open_request)
        .await
    }

    async fn sign_in_request(
        &self,
        token: &TokenHash,
        from: RowId,
        to: RowId,
        who: &SignedIn,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let found = sql("UPDATE authorization_requests
             SET browser_id = $3, signed_in_did = $5, signed_in_session = $6, signed_in_at = $7,
                 authenticated_at = $8
             WHERE token = $1 AND browser_id = $2 AND expires_at > $4")
        .bind(token)
        .bind(&from)
        .bind(&to)
        .bind(&now)
        .bind(&who.did)
        .bind(&who.upstream_session)
        .bind(&who.signed_in_at)
        .bind(&who.auth_time)
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
             WHERE token = $1 AND browser_id = $2 AND expires_at > $3 AND params IS NOT NULL
             RETURNING ",
            request_columns!("")
        ))
        .bind((token, &browser, &now))
        .first(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let request = read_request(&row)?;
        let answered = AnsweredRequest {
            client_id: request.client_id.clone(),
            delivery: request.params.delivery.clone(),
            did: request.signed_in.as_ref().map(|who| who.did.clone()),
            answer: RequestAnswer::Refused(error.to_owned()),
        };
        if !note_answer(&mut tx, token, browser, &answered, now).await? {
            return Ok(None);
        }
        if let Some(code) = request.params.delivery.device() {
            // What was decided in another browser stays as it is.
            device::refuse(&mut tx, code, now).await?;
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
        sql(
            "SELECT browser_id, client_id, redirect_uri, response_mode, state, device_code, did,
                 grant_id, error
             FROM answered_requests a
             WHERE token = $1 AND browser_id = $2 AND expires_at > $3
                 AND (grant_id IS NULL OR device_code IS NOT NULL OR EXISTS (SELECT 1 FROM codes c
                     WHERE c.grant_id = a.grant_id AND c.spent_at IS NULL
                         AND c.expires_at > $3))",
        )
        .bind((token, &browser, &now))
        .one(self.reader(), read_answered)
        .await
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
        browser: &FlowBrowser<'_>,
        now: Timestamp,
    ) -> Result<TakeFlow, StorageError> {
        let taken = sql("DELETE FROM upstream_flows
             WHERE state_hash = $1 AND expires_at > $2 AND (browser_id = $3
                 OR browser_id IN (SELECT id FROM browser_sessions
                     WHERE token IN ($4, $5, $6, $7, $8, $9) AND expires_at > $2))
             RETURNING
                 state_hash, id, browser_id, request, issuer, expected_did, sealed, expires_at")
        .bind((state, &now))
        .bind(&browser.session);
        let taken = (0..MAX_FLOW_COOKIES).fold(taken, |taken, at| {
            taken.bind(&browser.flow_cookies.get(at).copied())
        });
        if let Some(row) = taken.first(self.writer()).await? {
            return Ok(TakeFlow::Taken(Box::new(read_flow(&row)?)));
        }
        let elsewhere = sql("SELECT id FROM upstream_flows
             WHERE state_hash = $1 AND expires_at > $2")
        .bind((state, &now))
        .first(self.reader())
        .await?;
        Ok(if elsewhere.is_some() {
            TakeFlow::OtherBrowser
        } else {
            TakeFlow::Unknown
        })
    }
}

fn read_open_request(row: &Row) -> Result<OpenRequest, StorageError> {
    let fields = Fields::of("authorization_requests", "client_id", row)?;
    let upstream_scope: Option<ScopeSet> = fields.get("upstream_scope")?;
    let account = match upstream_scope {
        None => None,
        Some(upstream_scope) => Some(RequestAccount {
            upstream_scope,
            allowed: fields.get("allowed")?,
            handle: fields.get("handle")?,
        }),
    };
    // Of a client that is not there every column is empty, this one of the client's alone.
    let is_registered = fields.get::<Option<bool>>("from_document")?.is_some();
    Ok(OpenRequest {
        request: read_request(row)?,
        client: is_registered.then(|| read_client(row)).transpose()?,
        account,
    })
}

fn read_request(row: &Row) -> Result<AuthorizationRequest, StorageError> {
    let fields = Fields::of("authorization_requests", "client_id", row)?;
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
    Ok(AuthorizationRequest {
        token: fields.get("token")?,
        browser: fields.get("browser_id")?,
        pushed: fields.get("pushed")?,
        client_id: fields.get("client_id")?,
        params: fields.get("params")?,
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
    let (redirect, device) = (answered.delivery.redirect(), answered.delivery.device());
    // The column of the release before cannot be empty.
    let redirect_uri = redirect.map_or_else(String::new, |it| it.redirect_uri.to_string());
    let noted = sql("INSERT INTO answered_requests AS a
             (token, browser_id, client_id, redirect_uri, state, did, grant_id, error, expires_at,
              response_mode, device_code)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, $12)
         ON CONFLICT (token) DO UPDATE SET
             browser_id = excluded.browser_id, client_id = excluded.client_id,
             redirect_uri = excluded.redirect_uri, state = excluded.state, did = excluded.did,
             grant_id = excluded.grant_id, error = excluded.error,
             expires_at = excluded.expires_at, response_mode = excluded.response_mode,
             device_code = excluded.device_code
         WHERE a.expires_at <= $10")
    .bind(token)
    .bind(&browser)
    .bind(&answered.client_id)
    .bind(&redirect_uri)
    .bind(&redirect.and_then(|it| it.state.clone()))
    .bind(&answered.did)
    .bind(&grant)
    .bind(&error)
    .bind(&(now + ANSWER_REPEATED_FOR))
    .bind(&now)
    .bind(&redirect.map(|it| it.response_mode))
    .bind(&device.copied())
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
    let delivery = if let Some(code) = fields.get("device_code")? {
        Delivery::Device(code)
    } else {
        let response_mode: Option<ResponseMode> = fields.get("response_mode")?;
        Delivery::Redirect(RedirectDelivery {
            redirect_uri: fields.get("redirect_uri")?,
            response_mode: response_mode.unwrap_or_default(),
            state: fields.get("state")?,
        })
    };
    Ok(AnsweredRequest {
        client_id: fields.get("client_id")?,
        delivery,
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
