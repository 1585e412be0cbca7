//! The XRPC methods of a PDS (<https://atproto.com/specs/xrpc>).

pub(crate) mod app_passwords;
mod auth;
mod blob;
mod identity;
mod proxy;
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
static METHODS: [(&str, Method, Handler); 19] = [
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
pub(crate) fn endpoint(nsid: &str) -> Endpoint {
    match METHODS.iter().find(|(name, ..)| *name == nsid) {
        Some((name, ..)) => Endpoint::Method(name),
        None if nsid.starts_with('_') => Endpoint::Other,
        None => Endpoint::Xrpc,
    }
}

impl Site {
    pub(crate) async fn xrpc(&self, request: &Received) -> Reply {
        self.read_row_of(request).await;
        self.call(request).unwrap_or_else(|error| error.reply())
    }

    fn call(&self, request: &Received) -> Result<Reply, XrpcError> {
        if let Some(service) = request.header("atproto-proxy") {
            return self.proxy(request, service);
        }
        let nsid = method_name(request);
        let Some((_, method, handler)) = METHODS.iter().find(|(name, ..)| *name == nsid) else {
            let status = http::StatusCode::NOT_IMPLEMENTED;
            return Err(XrpcError::new(
                status,
                "MethodNotImplemented",
                "Method Not Implemented",
            ));
        };
        if *method != request.method {
            let status = http::StatusCode::METHOD_NOT_ALLOWED;
            let message = format!(
                "Incorrect HTTP method ({}) expected {method}",
                request.method
            );
            return Err(XrpcError::new(status, "InvalidRequest", message));
        }
        handler(self, request)
    }
}

fn method_name(request: &Received) -> &str {
    request.path.trim_start_matches("/xrpc/")
}

/// The input of a procedure.
fn input<T: DeserializeOwned>(request: &Received) -> Result<T, XrpcError> {
    serde_json::from_slice(&request.body)
        .map_err(|error| XrpcError::invalid_request(format!("Input: {error}")))
}

/// A parameter that a query must have.
fn parameter(request: &Received, name: &str) -> Result<String, XrpcError> {
    let value = request.query_form().get(name).map(str::to_owned);
    value.ok_or_else(|| {
        XrpcError::invalid_request(format!("Params must have the property \"{name}\""))
    })
}
