//! `/login`: who are you? For an app's request, or for AIP's own account page.

use aip_oauth::authorize::RefusalCode;
use aip_oauth::interaction::is_fresh;
use aip_oauth::params::Params;
use aip_storage::browser::BrowserAccount;
use aip_storage::prompt::Prompt;
use axum::response::Response;
use http::StatusCode;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::csrf::Purpose;
use crate::flow_cookie::FlowCookie;
use crate::incoming_request::IncomingRequest;
use crate::respond::see_other;
use crate::sign_in_form::SignInForm;
use crate::sign_in_target::{SignInTarget, StoredRequest};
use crate::state::AppState;

/// Shows the page, or takes its form.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let browser = app.browser(incoming).await?;
    let field = params.get("request");
    if incoming.is_post() {
        let flow = app.check_flow_csrf(incoming, &params, Purpose::Login(field))?;
        return match SignInTarget::read(app, incoming, browser.as_ref(), field).await {
            Ok(Ok(target)) => take(app, incoming, &params, browser.as_ref(), &flow, &target).await,
            Ok(Err(answer)) => Ok(answer),
            // Sent twice, and answered meanwhile: a pushed request is then not there any more.
            Err(error) => match (&browser, field) {
                (Some(browser), Some(field)) => {
                    let token = SignInTarget::token(app, &flow, field);
                    let repeated = app.repeat(&token, browser.session.id, None).await;
                    repeated.map_err(|_| error)
                }
                _ => Err(error),
            },
        };
    }
    let target = match SignInTarget::read(app, incoming, browser.as_ref(), field).await? {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    let flow = app.flow(incoming);
    let form = SignInForm {
        browser: browser.as_ref(),
        flow: &flow,
        target: &target,
        subject: target.subject().unwrap_or_default(),
        typed: true,
    };
    form.show(app, incoming, StatusCode::OK, None).await
}

/// Takes the form: back to the app, on with an account of this browser, or to somebody's PDS.
async fn take(
    app: &AppState,
    incoming: &IncomingRequest,
    params: &Params,
    browser: Option<&Browser>,
    flow: &FlowCookie,
    target: &SignInTarget,
) -> Result<Response, ApiError> {
    if let Some(code) = params.get("back").and_then(RefusalCode::from_wire) {
        return back_to_app(app, target, code).await;
    }
    let account = params.get("account");
    let chosen = browser
        .zip(account)
        .and_then(|(browser, did)| Some((browser, browser.account(did)?)));
    if let Some((browser, account)) = chosen
        && let Some(response) = resume(app, browser, account, flow, target).await?
    {
        return Ok(response);
    }
    // An account that was signed in when the page was made, and is no more, signs in again.
    let subject = account.or(params.get("subject")).unwrap_or_default();
    let form = SignInForm {
        browser,
        flow,
        target,
        subject,
        typed: account.is_none(),
    };
    form.submit(app, incoming).await
}

/// Goes on with an account that is signed in here. `None`: it has to prove itself again.
async fn resume(
    app: &AppState,
    browser: &Browser,
    account: &BrowserAccount,
    flow: &FlowCookie,
    target: &SignInTarget,
) -> Result<Option<Response>, ApiError> {
    let id = browser.session.id;
    match target.store(app, id, flow).await? {
        None => Ok(Some(see_other("/account"))),
        Some(StoredRequest::Done(token)) => app.repeat(&token, id, None).await.map(Some),
        Some(StoredRequest::Live(pending)) => {
            let afresh = pending.wants(Prompt::Login);
            if afresh || !is_fresh(account, pending.request.params.max_age, app.now()) {
                return Ok(None);
            }
            app.resume(&pending, account).await
        }
    }
}

/// The person gives up: the app is told.
async fn back_to_app(
    app: &AppState,
    target: &SignInTarget,
    code: RefusalCode,
) -> Result<Response, ApiError> {
    let detail = match code {
        RefusalCode::AccessDenied => "the person did not sign in",
        _ => "the host of the account did not take the request",
    };
    match target {
        SignInTarget::Nothing => Ok(see_other("/")),
        SignInTarget::Stored(pending) => app.refuse(pending, code, detail).await,
        SignInTarget::UnstoredRequest(it) => app.refuse_unstored(&it.valid, code, detail).await,
    }
}
