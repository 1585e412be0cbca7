//! Whether an account is in use, as its PDS says to anybody who asks
//! (<https://atproto.com/specs/account>, `com.atproto.sync.getRepoStatus`).

use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::{HttpError, Limits};
use http::StatusCode;
use serde::Deserialize;
use url::form_urlencoded;

use crate::client::PdsClient;
use crate::document;

/// An answer has some hundred bytes.
const LIMITS: Limits = Limits {
    max_bytes: 4096,
    deadline: Duration::from_secs(5),
};
/// Why an account is not in use, by the words of the specification.
const STATUSES: [&str; 6] = [
    "deactivated",
    "deleted",
    "desynchronized",
    "suspended",
    "takendown",
    "throttled",
];

/// What a PDS says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoStatus {
    /// In use.
    Active,
    /// Not in use, with the word for it: `inactive` where the PDS has none that is known.
    Inactive(&'static str),
    /// There is no such account at this PDS.
    NotFound,
}

/// Nobody knows whether an account is in use.
#[derive(Debug, thiserror::Error)]
pub enum RepoStatusError {
    /// Nothing was sent: the PDS is down or asked for a pause.
    #[error("the PDS is to be left alone for {} s", .0.as_secs())]
    Paused(Duration),
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Another answer.
    #[error("the PDS answered with status {0}")]
    Status(StatusCode),
    /// Not what the method answers, or about somebody else.
    #[error("the PDS answered with something that is no status of that account")]
    Malformed,
}

#[derive(Deserialize)]
struct Answer {
    did: String,
    active: bool,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl PdsClient {
    /// Whether `did` is in use at `pds`.
    pub async fn repo_status(
        &self,
        pds: &Origin,
        did: &Did,
    ) -> Result<RepoStatus, RepoStatusError> {
        if let Some(wait) = self.origins.refresh_wait(pds) {
            return Err(RepoStatusError::Paused(wait));
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("did", did.as_str())
            .finish();
        let url = pds.join(&format!("/xrpc/com.atproto.sync.getRepoStatus?{query}"));
        let answer = document::get(&*self.http, &url, LIMITS).await?;
        read(did, answer.status, &answer.body)
    }
}

fn read(did: &Did, status: StatusCode, body: &[u8]) -> Result<RepoStatus, RepoStatusError> {
    match status {
        StatusCode::OK => {
            let answer: Answer =
                serde_json::from_slice(body).map_err(|_| RepoStatusError::Malformed)?;
            if answer.did != did.as_str() {
                return Err(RepoStatusError::Malformed);
            }
            if answer.active {
                return Ok(RepoStatus::Active);
            }
            let status = answer.status.unwrap_or_default();
            let known = STATUSES.iter().find(|known| **known == status);
            Ok(RepoStatus::Inactive(known.copied().unwrap_or("inactive")))
        }
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            match serde_json::from_slice::<Refusal>(body) {
                Ok(refusal) if refusal.error == "RepoNotFound" => Ok(RepoStatus::NotFound),
                _ => Err(RepoStatusError::Status(status)),
            }
        }
        status => Err(RepoStatusError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Option<RepoStatus> {
        let did = Did::parse("did:plc:z72i7hdynmk6r22z27h6tvur").unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let body = body.replace("ALICE", did.as_str());
        read(&did, status, body.as_bytes()).ok()
    }

    #[test]
    fn the_word_of_the_pds_is_taken_only_if_it_is_about_that_account() {
        use RepoStatus::{Active, Inactive, NotFound};
        for (status, body, expected) in [
            (
                200,
                r#"{"did":"ALICE","active":true,"rev":"3k"}"#,
                Some(Active),
            ),
            (
                200,
                r#"{"did":"ALICE","active":false,"status":"deactivated"}"#,
                Some(Inactive("deactivated")),
            ),
            (
                200,
                r#"{"did":"ALICE","active":false,"status":"takendown"}"#,
                Some(Inactive("takendown")),
            ),
            (
                200,
                r#"{"did":"ALICE","active":false,"status":"odd"}"#,
                Some(Inactive("inactive")),
            ),
            (
                200,
                r#"{"did":"ALICE","active":false}"#,
                Some(Inactive("inactive")),
            ),
            (
                400,
                r#"{"error":"RepoNotFound","message":"no"}"#,
                Some(NotFound),
            ),
            (404, r#"{"error":"RepoNotFound"}"#, Some(NotFound)),
            (400, r#"{"error":"InvalidRequest"}"#, None),
            (404, "not found", None),
            (501, r#"{"error":"MethodNotImplemented"}"#, None),
            (503, r#"{"did":"ALICE","active":false}"#, None),
            (
                200,
                r#"{"did":"did:web:other.example","active":false}"#,
                None,
            ),
            (200, r#"{"did":"ALICE"}"#, None),
            (200, "<html>", None),
        ] {
            assert_eq!(told(status, body), expected, "{status} {body}");
        }
    }
}
