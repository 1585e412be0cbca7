//! Service proxying (<https://atproto.com/specs/xrpc#service-proxying>). There is no service
//! behind the stand-in: it checks what a PDS checks and answers what it would have forwarded.

use aip_atproto::{Nsid, ServiceRef};
use http::StatusCode;
use serde_json::json;

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::method_name;
use super::service_auth::is_protected;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

impl Site {
    pub(super) fn proxy(&self, request: &Received) -> Result<Reply, XrpcError> {
        let method = Nsid::parse(method_name(request))
            .map_err(|_| XrpcError::invalid_request("invalid xrpc path"))?;
        if is_protected(method.as_str()) {
            return Err(XrpcError::bad_request("InvalidToken", "Bad token method"));
        }
        // An empty header is as good as none, and no default service is configured.
        let service = request.header("atproto-proxy").filter(|it| !it.is_empty());
        let service = service.ok_or_else(|| {
            XrpcError::invalid_request(format!("No service configured for {method}"))
        })?;
        let service = ServiceRef::parse(service)
            .map_err(|error| XrpcError::invalid_request(error.to_string()))?;
        let caller = self.caller(request)?;
        caller.must_call(&method, service.as_str())?;
        caller.must_be_privileged_for(&method)?;
        let body = json!({
            "iss": caller.did,
            "aud": service.as_str(),
            "lxm": method.as_str(),
            "query": request.query,
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }
}
