//! Service proxying (<https://atproto.com/specs/xrpc#service-proxying>). There is no service
//! behind the stand-in: it checks what a PDS checks and answers what it would have forwarded.

use aip_atproto::{Nsid, ServiceRef};
use http::StatusCode;
use serde_json::json;

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::method_name;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

impl Site {
    pub(super) fn proxy(&self, request: &Received, service: &str) -> Result<Reply, XrpcError> {
        let service = ServiceRef::parse(service)
            .map_err(|error| XrpcError::invalid_request(error.to_string()))?;
        let method = Nsid::parse(method_name(request))
            .map_err(|error| XrpcError::invalid_request(error.to_string()))?;
        let caller = self.caller(request)?;
        caller.must_call(&method, service.as_str())?;
        let body = json!({
            "iss": caller.did,
            "aud": service.as_str(),
            "lxm": method.as_str(),
            "query": request.query,
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }
}
