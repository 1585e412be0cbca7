//! `/oauth/atp/callback`: a PDS sends the person back (AT Protocol OAuth, "Authorization Callback").

use aip_atproto::Did;
use aip_oauth::authorize::RefusalCode;
use aip_sessions::{FlowRequest, SignInFailure, SignInResult};
use aip_storage::browser::BrowserAccount;
use aip_storage::request::{FlowBrowser, SignedIn};
use axum::response::Response;
use http::StatusCode;

use super::{delegations, developer_token_order, developer_tokens};
use crate::api_error::{ApiError, ErrorReport, printable};
use crate::csrf::Purpose;
use crate::incoming_request::IncomingRequest;
use crate::pages::{OtherAccountPage, html};
use crate::respond::see_other;
use crate::state::AppState;

/// Finishes the sign-in and goes on with what it was for.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let browser = app.browser(incoming).await?;
    let flow_tokens = app.flow_tokens(incoming);
    if browser.is_none() && flow_tokens.is_empty() {
        return Err(ApiError::request(
            "This sign-in was begun in another browser, or your browser did not send our cookie. \
             Go back to the app and start again here.",
        ));
    }
    let began_at = FlowBrowser {
        session: browser.as_ref().map(|it| it.session.id),
        flow_cookies: &flow_tokens,
    };
    let query = incoming.head.uri.query().unwrap_or_default();
    let finished = match app.parts().sign_in.finish(&began_at, query).await {
        Ok(finished) => finished,
        Err(failure) => return failed(app, incoming, browser.is_some(), failure).await,
    };
    let SignInResult {
        did,
        signed_in_at,
        auth_time,
        request,
        browser: bound_to,
        instead_of,
        token,
    } = finished;
    // What this browser knows of an earlier authentication stays true.
    let known = browser.as_ref().and_then(|it| it.account(did.as_str()));
    let known = known.and_then(|it| it.auth_time);
    let auth_time = auth_time.or(known);
    let account = BrowserAccount {
        did: did.clone(),
        signed_in_at,
        auth_time,
    };
    let signed_in = app.sign_in(browser, account).await;
    if let Some(token) = token {
        // It is there, and nobody else knows it: it is shown whatever becomes of the sign-in here.
        let page = developer_tokens::made(app, &did, &token).await;
        return Ok(match signed_in {
            Ok(browser) => browser.set_cookie_on(app, page),
            Err(_) => page,
        });
    }
    let browser = signed_in?;
    let response = match request {
        Some((token, upstream_session)) => {
            let who = SignedIn {
                did,
                upstream_session,
                signed_in_at,
                auth_time,
            };
            let id = browser.session.id;
            app.continue_after_sign_in(&token, bound_to, id, who, instead_of.as_ref())
                .await?
        }
        None => match instead_of {
            Some(expected) => see_other(&format!("/account?instead_of={expected}")),
            None => see_other("/account"),
        },
    };
    Ok(browser.set_cookie_on(app, response))
}

/// Tells the app, if the sign-in was for one, and the person otherwise. The app learns a code and
/// fixed words; which check failed is for the log.
async fn failed(
    app: &AppState,
    incoming: &IncomingRequest,
    has_session: bool,
    failure: SignInFailure,
) -> Result<Response, ApiError> {
    let (blame, detail) = (failure.blame(), failure.to_string());
    let unusable;
    let (request, code, words) = match failure {
        SignInFailure::UnknownState(_) | SignInFailure::Malformed(_) => {
            let words = "This sign-in has ended, or it was begun in another browser. Go back to the \
                         app and start again.";
            return Err(ApiError::request(words).with_detail(blame, detail));
        }
        SignInFailure::OtherAccount {
            request,
            expected,
            actual,
        } => {
            // Whoever has no session here goes back to the app, and has nothing to choose from.
            let request = request.filter(|_| has_session);
            let page = other_account(app, incoming, request, &expected, &actual);
            return Ok(ErrorReport::of(blame, None, detail, page.await?));
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
        SignInFailure::DelegationsFull => {
            return Err(
                ApiError::request(delegations::too_many_message()).with_detail(blame, detail)
            );
        }
        SignInFailure::TokensFull => {
            let words = developer_tokens::too_many_message();
            return Err(ApiError::request(words).with_detail(blame, detail));
        }
        SignInFailure::TokenOrderGone => {
            return Err(developer_token_order::over().with_detail(blame, detail));
        }
        SignInFailure::Storage(error) => return Err(error.into()),
        SignInFailure::MissingKey(_) | SignInFailure::Sealer(_) => {
            return Err(ApiError::internal(detail));
        }
    };
    match request {
        Some(FlowRequest { token, browser }) => {
            let pending = app.pending(browser, &token).await?;
            // The words may name the host, which can lead to the account.
            let words = match pending.client.settings.pairwise {
                None => words,
                Some(_) => "The sign-in at the host of the account failed.",
            };
            let response = app.refuse(&pending, code, words).await?;
            Ok(ErrorReport::of(
                blame,
                Some(code.as_str()),
                detail,
                response,
            ))
        }
        None => Err(ApiError::request(words).with_detail(blame, detail)),
    }
}

/// Tells the person that the account is not the one that they had chosen here. The app is told when
/// they go back to it.
async fn other_account(
    app: &AppState,
    incoming: &IncomingRequest,
    request: Option<FlowRequest>,
    expected: &Did,
    actual: &Did,
) -> Result<Response, ApiError> {
    let pending = match &request {
        Some(request) => Some(app.pending(request.browser, &request.token).await?),
        None => None,
    };
    let expected = app.account_name(expected).await?;
    let Some(pending) = pending else {
        return Err(ApiError::request(format!(
            "At your host you signed in as another account than {}. Please start again.",
            expected.handle
        )));
    };
    let flow = app.flow(incoming);
    let name = pending.name();
    let page = OtherAccountPage {
        brand: app.brand(),
        app: &pending.client.settings.name,
        expected: &expected.handle,
        actual: actual.as_str(),
        request: &name,
        csrf: &app.csrf(&flow.csrf_binding(app), Purpose::Login(Some(&name))),
    };
    Ok(flow.set_cookie_on(app, incoming, html(StatusCode::BAD_REQUEST, &page)))
}
