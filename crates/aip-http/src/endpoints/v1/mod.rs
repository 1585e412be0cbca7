//! The paths of AIP v1 (the Python server), where the operator wants them (`compat.v1`): other names for
//! what AIP does, on the same services. An access token of AIP stands for v1's `auth_token`, a DID for its
//! `guid`, and nothing here takes a token from a URL or puts one there.

mod app_password;
mod credentials;
mod debug;
mod me;
mod permissions;
mod resolve;
mod sign_in;
mod upstream;

pub(super) use self::app_password::app_password;
pub(super) use self::credentials::credentials;
pub(super) use self::debug::debug;
pub(super) use self::me::{me, refresh};
pub(super) use self::permissions::permissions;
pub(super) use self::resolve::resolve;
pub(super) use self::sign_in::sign_in;
pub(super) use self::upstream::{callback, client_metadata};

use aip_base::single_header;
use aip_storage::grant::Grant;
use http::StatusCode;

use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;
use crate::v1_names::V1Names;

/// Names the account of a call, as `X-AIP-Account` does.
pub(super) const SUBJECT: &str = "x-subject";
/// Names the server of a call at `/xrpc`, which can only be the account's PDS.
pub(super) const SERVICE: &str = "x-service";

/// The configuration. Without one these paths are not mounted.
fn names(app: &AppState) -> Result<&V1Names, ApiError> {
    app.v1()
        .ok_or_else(|| ApiError::caller(StatusCode::NOT_FOUND, "not_found", "compat.v1 is off."))
}

/// Refuses a call for another account than that of whoever signed in for the token. Only `/xrpc` acts for
/// others.
fn require_own_account(incoming: &IncomingRequest, grant: &Grant) -> Result<(), ApiError> {
    let named = single_header(incoming.headers(), SUBJECT)
        .map_err(|_| ApiError::request("the header X-Subject is repeated or unreadable"))?;
    let is_own = named.is_none_or(|named| named == grant.subject.as_str());
    if is_own && grant.delegate().is_none() {
        return Ok(());
    }
    let words = "this is for the account that signed in; only /xrpc acts for others";
    Err(ApiError::caller(
        StatusCode::FORBIDDEN,
        "access_denied",
        words,
    ))
}
