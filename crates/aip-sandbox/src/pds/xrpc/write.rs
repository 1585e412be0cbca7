//! The methods that write records: `com.atproto.repo.{createRecord, putRecord, deleteRecord,
//! applyWrites}`. Each is a list of writes that is checked as a whole before any takes effect.

use aip_atproto::RepoAction;
use aip_base::lock;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::accounts::AccountState;
use super::super::error::XrpcError;
use super::super::inner::Site;
use super::super::repos::{RecordKey, record_cid};
use super::{input, records};
use crate::stage::reply::Reply;
use crate::stage::request::Received;

#[derive(Deserialize)]
struct RecordInput {
    repo: String,
    collection: String,
    rkey: Option<String>,
    record: Option<Value>,
    validate: Option<bool>,
}

#[derive(Deserialize)]
struct BatchInput {
    repo: String,
    writes: Vec<BatchWrite>,
    validate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(tag = "$type")]
enum BatchWrite {
    #[serde(rename = "com.atproto.repo.applyWrites#create")]
    Create {
        collection: String,
        rkey: Option<String>,
        value: Value,
    },
    #[serde(rename = "com.atproto.repo.applyWrites#update")]
    Update {
        collection: String,
        rkey: String,
        value: Value,
    },
    #[serde(rename = "com.atproto.repo.applyWrites#delete")]
    Delete { collection: String, rkey: String },
}

/// One change of a repository.
struct Write {
    /// What the caller must be allowed to do.
    needs: &'static [RepoAction],
    collection: String,
    /// A new one when it is missing.
    rkey: Option<String>,
    /// The record; none removes it.
    record: Option<Value>,
}

impl Site {
    pub(super) fn create_record(&self, request: &Received) -> Result<Reply, XrpcError> {
        self.put(request, &[RepoAction::Create])
    }

    pub(super) fn put_record(&self, request: &Received) -> Result<Reply, XrpcError> {
        self.put(request, &[RepoAction::Create, RepoAction::Update])
    }

    pub(super) fn delete_record(&self, request: &Received) -> Result<Reply, XrpcError> {
        let input: RecordInput = input(request)?;
        let rkey = input
            .rkey
            .ok_or_else(|| XrpcError::invalid_request("rkey is required"))?;
        let write = BatchWrite::Delete {
            collection: input.collection,
            rkey,
        };
        let (commit, _) = self.apply(request, &input.repo, vec![write.into()], None)?;
        Ok(Reply::json(StatusCode::OK, &json!({ "commit": commit })))
    }

    pub(super) fn apply_writes(&self, request: &Received) -> Result<Reply, XrpcError> {
        let input: BatchInput = input(request)?;
        let kinds: Vec<&str> = input.writes.iter().map(BatchWrite::result_type).collect();
        let writes = input.writes.into_iter().map(Write::from).collect();
        let (commit, mut results) = self.apply(request, &input.repo, writes, input.validate)?;
        for (result, kind) in results.iter_mut().zip(kinds) {
            result["$type"] = json!(kind);
        }
        Ok(Reply::json(
            StatusCode::OK,
            &json!({ "commit": commit, "results": results }),
        ))
    }

    fn put(&self, request: &Received, needs: &'static [RepoAction]) -> Result<Reply, XrpcError> {
        let input: RecordInput = input(request)?;
        let record = input.record.filter(Value::is_object);
        let record = record.ok_or_else(|| XrpcError::invalid_request("record is required"))?;
        let (collection, rkey) = (input.collection, input.rkey);
        let write = Write {
            needs,
            collection,
            rkey,
            record: Some(record),
        };
        let (commit, mut results) =
            self.apply(request, &input.repo, vec![write], input.validate)?;
        let mut body = results.pop().unwrap_or_default();
        body["commit"] = commit;
        Ok(Reply::json(StatusCode::OK, &body))
    }

    /// Checks that the caller may do all of `writes` in its own repository, and does them.
    fn apply(
        &self,
        request: &Received,
        repo: &str,
        mut writes: Vec<Write>,
        validate: Option<bool>,
    ) -> Result<(Value, Vec<Value>), XrpcError> {
        let caller = self.caller(request)?;
        for write in &writes {
            for action in write.needs {
                caller.must_write(&write.collection, *action)?;
            }
        }
        if self.repo_did(repo)? != caller.did {
            let message = "Authentication Required";
            return Err(XrpcError::unauthorized("AuthenticationRequired", message));
        }
        if self.account(&caller.did)?.state == AccountState::Deactivated {
            let message = "Account is deactivated";
            return Err(XrpcError::bad_request("AccountDeactivated", message));
        }
        let mut statuses = Vec::with_capacity(writes.len());
        for write in &mut writes {
            let status = match &mut write.record {
                Some(record) => {
                    records::check(&write.collection, write.rkey.as_deref(), record, validate)?
                }
                None => None,
            };
            statuses.push(status);
        }
        let now = self.inner.clock.now();
        let mut repos = lock(&self.inner.repos);
        let mut results = Vec::with_capacity(writes.len());
        for (write, status) in writes.into_iter().zip(statuses) {
            let rkey = write.rkey.unwrap_or_else(|| repos.next_tid(now));
            let key = RecordKey {
                did: caller.did.clone(),
                collection: write.collection,
                rkey,
            };
            let Some(record) = write.record else {
                repos.remove(&key);
                results.push(json!({}));
                continue;
            };
            let mut result = json!({ "uri": key.uri(), "cid": record_cid(&record) });
            if let Some(status) = status {
                result["validationStatus"] = json!(status);
            }
            results.push(result);
            repos.put(key, record);
        }
        let revision = repos.next_tid(now);
        let commit = json!({ "cid": record_cid(&json!(revision)), "rev": revision });
        Ok((commit, results))
    }
}

impl BatchWrite {
    /// The type of the result of such a write.
    fn result_type(&self) -> &'static str {
        match self {
            Self::Create { .. } => "com.atproto.repo.applyWrites#createResult",
            Self::Update { .. } => "com.atproto.repo.applyWrites#updateResult",
            Self::Delete { .. } => "com.atproto.repo.applyWrites#deleteResult",
        }
    }
}

impl From<BatchWrite> for Write {
    fn from(write: BatchWrite) -> Self {
        match write {
            BatchWrite::Create {
                collection,
                rkey,
                value,
            } => Self {
                needs: &[RepoAction::Create],
                collection,
                rkey,
                record: Some(value),
            },
            BatchWrite::Update {
                collection,
                rkey,
                value,
            } => Self {
                needs: &[RepoAction::Update],
                collection,
                rkey: Some(rkey),
                record: Some(value),
            },
            BatchWrite::Delete { collection, rkey } => Self {
                needs: &[RepoAction::Delete],
                collection,
                rkey: Some(rkey),
                record: None,
            },
        }
    }
}
