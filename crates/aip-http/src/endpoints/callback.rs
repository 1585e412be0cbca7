//! `/oauth/atp/callback`: a PDS sends the person back (AT Protocol OAuth, "Authorization Callback").

use aip_base::RowId;
use aip_oauth::authorize::RefusalCode;
use aip_sessions::{Finished, SignInFailure};
use aip_storage::browser::BrowserAccount;
use aip_storage::request::SignedIn;
use axum::response::Response;

use crate::call::Call;
use crate::flow::see_other;
use crate::problem::{Incident, Problem, printable};
use crate::state::App;

/// Finishes the sign-in and goes on with what it was for.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let browser = app.browser(call).await?.ok_or_else(|| {
        Problem::request(
            "This sign-in was begun in another browser, or your browser did not send our cookie. \
             Go back to the app and start again here.",
        )
    })?;
    let id = browser.session.id;
    let query = call.head.uri.query().unwrap_or_default();
    let finished = match app.parts().sign_in.finish(id, query).await {
        Ok(finished) => finished,
        Err(failure) => return failed(app, id, failure).await,
    };
    let Finished {
        did,
        signed_in_at,
        auth_time,
        request,
    } = finished;
    // What this browser knows of an earlier authentication stays true.
    let known = browser.account(did.as_str()).and_then(|it| it.auth_time);
    let auth_time = auth_time.or(known);
    let account = BrowserAccount {
        did: did.clone(),
        signed_in_at,
        auth_time,
    };
    let browser = app.sign_in(browser, account).await?;
    let response = match request {
        Some((token, upstream_session)) => {
            let pending = app.pending(id, &token).await?;
            let who = SignedIn {
                did,
                upstream_session,
                signed_in_at,
                auth_time,
            };
            app.go_on(&pending, who).await?
        }
        None => see_other("/account"),
    };
    Ok(browser.remember(app, response))
}

/// Tells the app, if the sign-in was for one, and the person otherwise. The app learns a code and
/// fixed words; which check failed is for the log.
async fn failed(app: &App, browser: RowId, failure: SignInFailure) -> Result<Response, Problem> {
    let (blame, detail) = (failure.blame(), failure.to_string());
    let unusable;
    let (request, code, words) = match failure {
        SignInFailure::Stray(_) | SignInFailure::Malformed(_) => {
            let words = "This sign-in is over, or it was begun in another browser. Go back to the \
                         app and start again.";
            return Err(Problem::request(words).because(blame, detail));
        }
        SignInFailure::Denied { request, error } => (
            request,
            RefusalCode::from_wire(&error).unwrap_or(RefusalCode::AccessDenied),
            "The host of the account did not let the person in.",
        ),
        SignInFailure::Refused { request, .. } => (
            request,
            RefusalCode::ServerError,
            "The host of the account did not prove who signed in.",
        ),
        SignInFailure::Unusable { request, ref what } => {
            let words =
                format!("The host of the account gave an answer that cannot be used: {what}.");
            unusable = printable(&words);
            (request, RefusalCode::ServerError, unusable.as_str())
        }
        SignInFailure::Unavailable { request, .. } => (
            request,
            RefusalCode::TemporarilyUnavailable,
            "The host of the account does not answer.",
        ),
        SignInFailure::Storage(error) => return Err(error.into()),
        SignInFailure::MissingKey(_) | SignInFailure::Vault(_) => {
            return Err(Problem::ours(detail));
        }
    };
    match request {
        Some(token) => {
            let pending = app.pending(browser, &token).await?;
            let response = app.refuse(&pending, code, words).await?;
            Ok(Incident::of(blame, Some(code.as_str()), detail, response))
        }
        None => Err(Problem::request(words).because(blame, detail)),
    }
}
