//! Developer tokens on the account page: a person makes one for a script, sees which there are, and revokes
//! them. They sign in at their host for each token: that gives it a session of its own, and nobody makes one
//! by finding the page open.

use std::time::Duration;

use aip_atproto::Did;
use aip_base::RowId;
use aip_oauth::params::Params;
use aip_sessions::{CreatedToken, DeveloperTokenRequest, SignInRequest};
use aip_storage::browser::BrowserAccount;
use aip_storage::delegation::DelegationPreset;
use aip_storage::developer_token::{
    DeveloperTokenName, MAX_DEVELOPER_TOKEN_DAYS, MAX_DEVELOPER_TOKEN_NAME, MAX_DEVELOPER_TOKENS,
    developer_scope_of, developer_token_life,
};
use aip_storage::grant::RevokeReason;
use aip_storage::prompt::Prompt;
use axum::response::Response;
use http::StatusCode;
use secrecy::ExposeSecret;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::pages::{AccountName, DeveloperTokenLine, DeveloperTokenMadePage, day, html, minute};
use crate::respond::see_other;
use crate::sign_in_form;
use crate::state::AppState;

/// Why no token is made, in words for the person.
pub(super) struct TokenRefusal(pub(super) String);

/// The live tokens of an account, newest first.
pub(super) async fn lines(
    app: &AppState,
    account: &Did,
) -> Result<Vec<DeveloperTokenLine>, ApiError> {
    let limit = MAX_DEVELOPER_TOKENS;
    let tokens = app
        .storage()
        .developer_tokens(Some(account), None, limit, app.now())
        .await?;
    let lines = tokens.into_iter().rev().map(|token| DeveloperTokenLine {
        id: token.id.to_string(),
        name: token.name.to_string(),
        scopes: token.scope.describe(),
        made: day(token.created_at),
        until: minute(token.expires_at),
        last_used: token.last_used_at.map(minute),
    });
    Ok(lines.collect())
}

/// Sends the person to their host, to sign in for the token of the form.
pub(super) async fn make(
    app: &AppState,
    incoming: &IncomingRequest,
    params: &Params,
    browser: &Browser,
    owner: &BrowserAccount,
) -> Result<Result<Response, TokenRefusal>, ApiError> {
    let asked = match read(params) {
        Ok(asked) => asked,
        Err(words) => return Ok(Err(TokenRefusal(words))),
    };
    app.count(Limit::SIGN_INS, incoming).await?;
    if has_too_many(app, &owner.did).await? {
        return Ok(Err(TokenRefusal(too_many_message())));
    }
    let begun = begin(app, browser.session.id, &owner.did, &asked).await?;
    Ok(begun.map_err(TokenRefusal))
}

/// Whether an account has as many live tokens as one may.
pub(super) async fn has_too_many(app: &AppState, account: &Did) -> Result<bool, ApiError> {
    let limit = MAX_DEVELOPER_TOKENS;
    let live = app
        .storage()
        .developer_tokens(Some(account), None, limit, app.now())
        .await?;
    Ok(live.len() >= limit as usize)
}

/// Sends a browser to the host of that account, which must sign in there anew. The inner error is in words
/// for the person.
pub(super) async fn begin(
    app: &AppState,
    browser: RowId,
    account: &Did,
    asked: &DeveloperTokenRequest,
) -> Result<Result<Response, String>, ApiError> {
    let subject = account.as_str();
    let start = SignInRequest {
        browser,
        request: None,
        delegation: None,
        token: Some(asked),
        own_document: None,
        subject,
        typed: false,
        prompt: Some(Prompt::Login.as_str()),
    };
    match app.parts().sign_in.begin(start).await {
        Ok(location) => Ok(Ok(see_other(&location))),
        Err(error) => Ok(Err(sign_in_form::failure(error, subject)?.message)),
    }
}

/// The page that shows a token, this once. So it never fails: the account goes by its DID if its handle
/// cannot be read.
pub(super) async fn made(app: &AppState, account: &Did, token: &CreatedToken) -> Response {
    let name = app.account_name(account).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the handle of an account could not be read");
        AccountName::new(account, None)
    });
    let page = DeveloperTokenMadePage {
        brand: app.brand(),
        account: &name,
        name: token.name.as_str(),
        token: token.secret.as_ref().map(ExposeSecret::expose_secret),
        until: &minute(token.expires_at),
        scopes: &token.scope.describe(),
    };
    html(StatusCode::OK, &page)
}

/// Revokes a token of the account.
pub(super) async fn revoke(
    app: &AppState,
    params: &Params,
    owner: &Did,
) -> Result<Response, ApiError> {
    let id: Option<RowId> = params.get("token").and_then(|it| it.parse().ok());
    let id = id.ok_or_else(|| ApiError::request("There is no such token."))?;
    let reason = RevokeReason::ByPerson;
    app.server()
        .revoke_developer_token(id, Some(owner), reason)
        .await?;
    Ok(see_other("/account"))
}

/// What a person is told who has as many tokens as one may.
pub(super) fn too_many_message() -> String {
    format!("An account has at most {MAX_DEVELOPER_TOKENS} tokens. Revoke one first.")
}

fn read(params: &Params) -> Result<DeveloperTokenRequest, String> {
    let name = params.get("name").unwrap_or_default();
    let name: DeveloperTokenName = name.parse().map_err(|_| {
        format!(
            "Please give the token a name of 1 to {MAX_DEVELOPER_TOKEN_NAME} characters, in one line."
        )
    })?;
    let preset: Option<DelegationPreset> = params.get("preset").and_then(|it| it.parse().ok());
    let preset = preset.ok_or("Please choose what the token may do.")?;
    Ok(DeveloperTokenRequest {
        name,
        scope: developer_scope_of(preset),
        life: read_life(params.get("days").unwrap_or_default())?,
        order: None,
    })
}

fn read_life(days: &str) -> Result<Duration, String> {
    let life = days.trim().parse().ok().and_then(developer_token_life);
    life.ok_or_else(|| {
        format!("Please say for how many days, from 1 to {MAX_DEVELOPER_TOKEN_DAYS}.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_many_days_as_were_written() {
        for (days, hours) in [
            ("1", Some(24)),
            (" 30 ", Some(720)),
            ("365", Some(8760)),
            ("0", None),
            ("366", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("ever", None),
            ("99999999999", None),
        ] {
            let read = read_life(days).ok();
            assert_eq!(read, hours.map(Duration::from_hours), "{days}");
        }
    }
}
