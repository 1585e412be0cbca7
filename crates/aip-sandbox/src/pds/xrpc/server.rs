//! `com.atproto.server.getSession` and `describeServer`, and `com.atproto.sync.getRepoStatus`.

use aip_base::lock;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::accounts::{Account, AccountState};
use super::super::error::XrpcError;
use super::super::inner::Site;
use super::super::settings::Document;
use super::parameter;
use crate::stage::reply::Reply;
use crate::stage::request::Received;

impl Site {
    #[allow(
        clippy::unnecessary_wraps,
        reason = "the table of methods wants one signature"
    )]
    pub(super) fn describe_server(&self, _: &Received) -> Result<Reply, XrpcError> {
        let body = json!({
            "did": self.inner.service_did,
            "availableUserDomains": [".test"],
            "inviteCodeRequired": false,
            "links": {},
            "contact": {},
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) fn get_session(&self, request: &Received) -> Result<Reply, XrpcError> {
        let caller = self.caller(request)?;
        let account = self.account(&caller.did)?;
        let body = self.account_view(&account, caller.may_read_email());
        let body = self.inner.falsified(Document::Session, body);
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) fn get_repo_status(&self, request: &Received) -> Result<Reply, XrpcError> {
        let did = parameter(request, "did")?;
        let accounts = lock(&self.inner.accounts);
        let account = accounts.get(&did);
        let Some(account) = account.filter(|it| it.state != AccountState::Deleted) else {
            let message = format!("Could not find repo for DID: {did}");
            return Err(XrpcError::bad_request("RepoNotFound", message));
        };
        let mut body = json!({ "did": did, "active": account.state == AccountState::Active });
        if let Some(status) = account.state.status() {
            body["status"] = json!(status);
        }
        Ok(Reply::json(StatusCode::OK, &body))
    }

    /// The caller's account.
    pub(super) fn account(&self, did: &str) -> Result<Account, XrpcError> {
        lock(&self.inner.accounts)
            .get(did)
            .filter(|account| account.state.keeps_sessions())
            .cloned()
            .ok_or_else(|| {
                XrpcError::unauthorized("AccountTakedown", "Account has been taken down")
            })
    }

    /// The part that session answers have in common.
    pub(super) fn account_view(&self, account: &Account, with_email: bool) -> Value {
        let mut view = json!({
            "did": account.did.as_str(),
            "handle": account.handle.as_str(),
            "active": account.state == AccountState::Active,
        });
        if let Some(status) = account.state.status() {
            view["status"] = json!(status);
        }
        if with_email {
            view["email"] = json!(account.email);
            view["emailConfirmed"] = json!(account.email_confirmed);
        }
        if let Some(document) = self.inner.directory.document(account.did.as_str()) {
            view["didDoc"] = document;
        }
        view
    }
}
