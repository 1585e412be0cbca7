//! Forms that another site sends us (OpenID Connect Core §3.1.2.1 allows `POST`).

use axum::response::Response;
use http::StatusCode;
use url::form_urlencoded;

use crate::endpoint::Endpoint;
use crate::incoming_request::{IncomingRequest, SEC_FETCH_SITE};
use crate::pages::{RepeatPage, html};
use crate::respond::see_other;
use crate::state::AppState;

/// The longest query that a form is repeated with: longer ones do not survive every proxy.
const MAX_QUERY: usize = 6 * 1024;

/// The field that marks a form of another site which our page has repeated.
const REPEAT_MARK_FIELD: &str = "aip_repeated";

/// The same request anew from our own origin, if this is a form that another site may have
/// sent: such a form comes without our `SameSite=Lax` cookies, and a navigation brings them
/// along, or a form of ours when it is too long for a URL. `None`: it is no such form.
pub(crate) fn as_navigation(
    app: &AppState,
    incoming: &IncomingRequest,
    endpoint: Endpoint,
) -> Option<Response> {
    let same_origin = incoming.headers().get(SEC_FETCH_SITE);
    if !incoming.is_post() || same_origin.is_some_and(|site| site == "same-origin") {
        return None;
    }
    // Encoded anew: a form may hold bytes that have no place in a URL.
    let pairs = form_urlencoded::parse(&incoming.form);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let path = endpoint.spec().path;
    if query.len() <= MAX_QUERY {
        return Some(see_other(&format!("{path}?{query}")));
    }
    let fields: Vec<_> = form_urlencoded::parse(&incoming.form).collect();
    // Sent by a browser that does not say where forms come from, and without cookies.
    if fields.iter().any(|(name, _)| name == REPEAT_MARK_FIELD) {
        return None;
    }
    let page = RepeatPage {
        brand: app.brand(),
        action: path,
        mark: REPEAT_MARK_FIELD,
        fields: &fields,
    };
    Some(html(StatusCode::OK, &page))
}
