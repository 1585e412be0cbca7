//! `com.atproto.identity.resolveHandle` and `updateHandle`.

use aip_atproto::Handle;
use aip_base::lock;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::{input, parameter};
use crate::stage::reply::Reply;
use crate::stage::request::Received;

#[derive(Deserialize)]
struct HandleInput {
    handle: String,
}

impl Site {
    pub(super) fn resolve_handle(&self, request: &Received) -> Result<Reply, XrpcError> {
        let handle = parameter(request, "handle")?;
        let accounts = lock(&self.inner.accounts);
        match accounts.by_handle(&handle) {
            Some(account) => Ok(Reply::json(
                StatusCode::OK,
                &json!({ "did": account.did.as_str() }),
            )),
            None => Err(XrpcError::invalid_request("Unable to resolve handle")),
        }
    }

    pub(super) fn update_handle(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        caller.must_change_handle()?;
        let input: HandleInput = input(request)?;
        let handle = Handle::parse(&input.handle)
            .map_err(|error| XrpcError::bad_request("InvalidHandle", error.to_string()))?;
        let mut accounts = lock(&self.inner.accounts);
        if accounts
            .by_handle(handle.as_str())
            .is_some_and(|a| a.did.as_str() != caller.did)
        {
            return Err(XrpcError::bad_request(
                "HandleNotAvailable",
                "Handle already taken",
            ));
        }
        if let Some(account) = accounts.get_mut(&caller.did) {
            self.inner.directory.change(&caller.did, |entry| {
                handle.as_str().clone_into(&mut entry.handle);
            });
            account.handle = handle;
        }
        Ok(Reply::text(StatusCode::OK, ""))
    }
}
