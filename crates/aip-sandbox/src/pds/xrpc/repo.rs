//! `com.atproto.repo.getRecord`, `listRecords` and `describeRepo`: public, as all of a repository
//! is.

use aip_atproto::AtIdentifier;
use aip_base::lock;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::error::XrpcError;
use super::super::inner::Site;
use super::super::repos::{RecordKey, record_view};
use super::parameter;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

impl Site {
    pub(super) fn get_record(&self, request: &Received) -> Result<Reply, XrpcError> {
        let key = RecordKey {
            did: self.repo_did(&parameter(request, "repo")?)?,
            collection: parameter(request, "collection")?,
            rkey: parameter(request, "rkey")?,
        };
        let repos = lock(&self.inner.repos);
        let record = repos.get(&key).ok_or_else(|| {
            let message = format!("Could not locate record: {}", key.uri());
            XrpcError::bad_request("RecordNotFound", message)
        })?;
        Ok(Reply::json(StatusCode::OK, &record_view(&key, record)))
    }

    pub(super) fn describe_repo(&self, request: &Received) -> Result<Reply, XrpcError> {
        let did = self.repo_did(&parameter(request, "repo")?)?;
        let account = self.account(&did)?;
        let document = self.inner.directory.document(&did);
        let document = document.unwrap_or_else(|| json!({ "id": did }));
        let collections = lock(&self.inner.repos).collections(&did);
        let body = json!({
            "handle": account.handle.as_str(),
            "did": did,
            "didDoc": document,
            "collections": collections,
            "handleIsCorrect": true,
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) fn list_records(&self, request: &Received) -> Result<Reply, XrpcError> {
        let did = self.repo_did(&parameter(request, "repo")?)?;
        let collection = parameter(request, "collection")?;
        let query = request.query_form();
        let limit: usize = query
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(50);
        let oldest_first = query.get("reverse") == Some("true");
        let cursor = query.get("cursor");
        let repos = lock(&self.inner.repos);
        let after_cursor = |rkey: &str| match cursor {
            Some(cursor) if oldest_first => rkey > cursor,
            Some(cursor) => rkey < cursor,
            None => true,
        };
        let mut found: Vec<(&RecordKey, &Value)> = repos
            .collection(&did, &collection)
            .filter(|(key, _)| after_cursor(&key.rkey))
            .collect();
        if !oldest_first {
            found.reverse();
        }
        found.truncate(limit.clamp(1, 100));
        let records: Vec<Value> = found
            .iter()
            .map(|(key, record)| record_view(key, record))
            .collect();
        let mut body = json!({ "records": records });
        if let Some((key, _)) = found.last() {
            body["cursor"] = json!(key.rkey);
        }
        Ok(Reply::json(StatusCode::OK, &body))
    }

    /// The account that `repo` names, by DID or handle.
    pub(super) fn repo_did(&self, repo: &str) -> Result<String, XrpcError> {
        let unknown = || XrpcError::invalid_request(format!("Could not find repo: {repo}"));
        let accounts = lock(&self.inner.accounts);
        let account = match repo.parse::<AtIdentifier>().map_err(|_| unknown())? {
            AtIdentifier::Did(did) => accounts.get(did.as_str()),
            AtIdentifier::Handle(handle) => accounts.by_handle(handle.as_str()),
        };
        account
            .map(|account| account.did.as_str().to_owned())
            .ok_or_else(unknown)
    }
}
