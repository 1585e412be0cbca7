//! The XRPC methods of a PDS (<https://atproto.com/specs/xrpc>).

pub(crate) mod app_passwords;
mod auth;
mod blob;
mod body;
mod identity;
mod proxy;
mod records;
mod repo;
mod server;
mod service_auth;
mod write;

use http::Method;
use serde::de::DeserializeOwned;

use super::error::XrpcError;
use super::inner::Site;
use crate::stage::faults::Endpoint;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

type Handler = fn(&Site, &Received) -> Result<Reply, XrpcError>;

/// The methods that a stand-in answers itself.
static METHODS: [(&str, Method, Handler); 21] = [
    (
        "com.atproto.server.describeServer",
        Method::GET,
        Site::describe_server,
    ),
    (
        "com.atproto.server.getSession",
        Method::GET,
        Site::get_session,
    ),
    (
        "com.atproto.server.createSession",
        Method::POST,
        Site::create_session,
    ),
    (
        "com.atproto.server.refreshSession",
        Method::POST,
        Site::refresh_session,
    ),
    (
        "com.atproto.server.deleteSession",
        Method::POST,
        Site::delete_session,
    ),
    (
        "com.atproto.server.createAppPassword",
        Method::POST,
        Site::create_app_password,
    ),
    (
        "com.atproto.server.listAppPasswords",
        Method::GET,
        Site::list_app_passwords,
    ),
    (
        "com.atproto.server.revokeAppPassword",
        Method::POST,
        Site::revoke_app_password,
    ),
    (
        "com.atproto.server.getServiceAuth",
        Method::GET,
        Site::get_service_auth,
    ),
    (
        "com.atproto.repo.createRecord",
        Method::POST,
        Site::create_record,
    ),
    (
        "com.atproto.repo.describeRepo",
        Method::GET,
        Site::describe_repo,
    ),
    ("com.atproto.repo.putRecord", Method::POST, Site::put_record),
    ("com.atproto.repo.getRecord", Method::GET, Site::get_record),
    (
        "com.atproto.repo.listRecords",
        Method::GET,
        Site::list_records,
    ),
    (
        "com.atproto.repo.deleteRecord",
        Method::POST,
        Site::delete_record,
    ),
    (
        "com.atproto.repo.applyWrites",
        Method::POST,
        Site::apply_writes,
    ),
    (
        "com.atproto.repo.uploadBlob",
        Method::POST,
        Site::upload_blob,
    ),
    ("com.atproto.sync.getBlob", Method::GET, Site::get_blob),
    (
        "com.atproto.sync.getRepoStatus",
        Method::GET,
        Site::get_repo_status,
    ),
    (
        "com.atproto.identity.resolveHandle",
        Method::GET,
        Site::resolve_handle,
    ),
    (
        "com.atproto.identity.updateHandle",
        Method::POST,
        Site::update_handle,
    ),
];

/// The endpoint of a method: by name when it is known.
pub(crate) fn endpoint(path: &str) -> Endpoint {
    let name = without_slash(path);
    let known = METHODS
        .iter()
        .find(|(known, ..)| known.eq_ignore_ascii_case(name));
    match known {
        Some((known, ..)) => Endpoint::Method(known),
        None if name.starts_with('_') => Endpoint::Other,
        None => Endpoint::Xrpc,
    }
}

/// As routes of Express without `strict routing` do.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

impl Site {
    pub(crate) async fn xrpc(&self, request: &Received) -> Reply {
        self.read_row_of(request).await;
        self.call(request).unwrap_or_else(|error| error.reply())
    }

    /// The reference PDS is an Express application: its routes have no regard to case or to a last
    /// slash, and what has a route is served whatever `atproto-proxy` says. All the rest, also a
    /// known name with the other HTTP method, is passed on to a service.
    fn call(&self, request: &Received) -> Result<Reply, XrpcError> {
        let name = method_name(request);
        let verb = match request.method {
            Method::HEAD => Method::GET,
            ref verb => verb.clone(),
        };
        let route = METHODS
            .iter()
            .find(|(known, method, _)| known.eq_ignore_ascii_case(name) && *method == verb);
        match route {
            Some((.., handler)) => handler(self, request),
            None => self.proxy(request),
        }
    }
}

fn method_name(request: &Received) -> &str {
    without_slash(request.path.trim_start_matches("/xrpc/"))
}

/// The input of a procedure.
fn input<T: DeserializeOwned>(request: &Received) -> Result<T, XrpcError> {
    serde_json::from_value(body::json(request)?)
        .map_err(|error| XrpcError::invalid_request(format!("Input: {error}")))
}

/// A parameter that a query must have.
fn parameter(request: &Received, name: &str) -> Result<String, XrpcError> {
    let value = request.query_form().get(name).map(str::to_owned);
    value.ok_or_else(|| {
        XrpcError::invalid_request(format!("Params must have the property \"{name}\""))
    })
}
