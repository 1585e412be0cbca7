//! `/account/token`: the link by which an operator lets a person make a developer token
//! (`aip tokens create`). It is for one account: whoever signs in as another one makes nothing. The token
//! itself never comes here; whoever ordered it has it, and it is good from then on.

use aip_oauth::params::Params;
use aip_sessions::DeveloperTokenRequest;
use aip_storage::developer_token::DeveloperTokenOrder;
use axum::response::Response;
use http::StatusCode;

use super::developer_tokens::{begin, has_too_many, too_many_message};
use crate::api_error::ApiError;
use crate::csrf::Purpose;
use crate::flow_cookie::FlowCookie;
use crate::hash_text::encode;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::pages::{DeveloperTokenOrderPage, DeveloperTokenRefusedPage, html};
use crate::state::AppState;

const SECONDS_OF_A_DAY: u64 = 86_400;

/// Shows what the token is for, or takes the decision.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let link = params.get("order").unwrap_or_default();
    if !incoming.is_post() {
        let order = find(app, link).await?;
        let flow = app.flow(incoming);
        return show(app, incoming, &flow, link, &order, None).await;
    }
    let name = link_name(app, link);
    let purpose = Purpose::DeveloperTokenOrder(&name);
    let flow = app.check_flow_csrf(incoming, &params, purpose)?;
    let order = find(app, link).await?;
    match params.get("decision") {
        Some("make") => make(app, incoming, &flow, link, &order).await,
        Some("refuse") => {
            app.storage().drop_developer_token_order(order.id).await?;
            let page = DeveloperTokenRefusedPage { brand: app.brand() };
            Ok(html(StatusCode::OK, &page))
        }
        _ => Err(ApiError::request("There is nothing to do.")),
    }
}

async fn make(
    app: &AppState,
    incoming: &IncomingRequest,
    flow: &FlowCookie,
    link: &str,
    order: &DeveloperTokenOrder,
) -> Result<Response, ApiError> {
    app.count(Limit::SIGN_INS, incoming).await?;
    if has_too_many(app, &order.account).await? {
        let words = too_many_message();
        return show(app, incoming, flow, link, order, Some(&words)).await;
    }
    let asked = DeveloperTokenRequest {
        name: order.name.clone(),
        scope: order.scope.clone(),
        life: order.life,
        order: Some(order.id),
    };
    let browser = app.flow_session(flow).await?;
    match begin(app, browser, &order.account, &asked).await? {
        Ok(to_host) => Ok(flow.set_cookie_on(app, incoming, to_host)),
        Err(words) => show(app, incoming, flow, link, order, Some(&words)).await,
    }
}

async fn find(app: &AppState, link: &str) -> Result<DeveloperTokenOrder, ApiError> {
    let order = app.server().developer_token_order(link).await?;
    order.ok_or_else(over)
}

/// The answer when the link is of no use any more, or never was.
pub(super) fn over() -> ApiError {
    ApiError::request(
        "This link no longer works: it was used or refused, or is older than 15 minutes. Ask whoever gave it to you for another one.",
    )
}

async fn show(
    app: &AppState,
    incoming: &IncomingRequest,
    flow: &FlowCookie,
    link: &str,
    order: &DeveloperTokenOrder,
    problem: Option<&str>,
) -> Result<Response, ApiError> {
    let status = match problem {
        None => StatusCode::OK,
        Some(_) => StatusCode::BAD_REQUEST,
    };
    let name = link_name(app, link);
    let page = DeveloperTokenOrderPage {
        brand: app.brand(),
        account: &app.account_name(&order.account).await?,
        name: order.name.as_str(),
        days: order.life.as_secs() / SECONDS_OF_A_DAY,
        scopes: &order.scope.describe(),
        problem,
        order: link,
        csrf: &app.csrf(&flow.csrf_binding(app), Purpose::DeveloperTokenOrder(&name)),
    };
    Ok(flow.set_cookie_on(app, incoming, html(status, &page)))
}

/// What the CSRF token is about: the keyed hash of the secret in the link.
fn link_name(app: &AppState, link: &str) -> String {
    encode(&app.server().hasher.hash(link))
}
