//! What an API server can answer besides what it was asked for.

use kube::core::Status;

use crate::desired::ObjectRef;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server said no.
    #[error("{}", self.status_text())]
    Status(Box<Status>),
    /// It could not be reached.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// The user's credentials could not be made: an exec plugin failed, a token has expired.
    #[error("the credentials of the context cannot be used: {0}")]
    Credentials(String),
    /// It took too long.
    #[error("the API server did not answer within {0} s")]
    Timeout(u64),
    /// It answered something that is no Kubernetes object.
    #[error("the API server's answer cannot be read: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// The refusal, if it is one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// There is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Another manager owns a field, or the object changed in between.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// The user lacks the right; a refusal of an admission plugin has the same code and is not
    /// meant.
    pub fn lacks_right(&self) -> bool {
        self.status()
            .is_some_and(|status| status.is_forbidden() && status.message.contains(" cannot "))
    }

    /// The admission webhook or policy that takes no part in dry runs, by what it says: the API
    /// has no code for it.
    pub fn refuses_dry_runs(&self) -> Option<&str> {
        let message = &self.status()?.message;
        let said = message.to_lowercase();
        let named = ["dry run", "dry-run", "dryrun"]
            .iter()
            .any(|words| said.contains(words));
        let (_, behind) = message
            .split_once("admission webhook ")
            .or_else(|| message.split_once("ValidatingAdmissionPolicy "))?;
        named.then(|| behind.split(['"', '\'']).nth(1).unwrap_or("unnamed"))
    }

    /// The error as it may be shown for an object: the API server repeats invalid values, and those
    /// of a Secret are secret.
    pub fn about(&self, object: &ObjectRef) -> String {
        let Some(status) = self.status().filter(|_| object.kind == "Secret") else {
            return self.to_string();
        };
        let details = status.details.as_ref();
        let fields: Vec<String> = details
            .into_iter()
            .flat_map(|details| &details.causes)
            .map(|cause| format!("{} ({})", cause.field, cause.reason))
            .collect();
        format!("{} {}: {}", status.code, status.reason, fields.join(", "))
    }

    fn status_text(&self) -> String {
        match self.status() {
            Some(status) if status.message.is_empty() => {
                format!("the API server answered {} {}", status.code, status.reason)
            }
            Some(status) => status.message.clone(),
            None => String::new(),
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status(status),
            kube::Error::Auth(error) => Self::Credentials(error.to_string()),
            kube::Error::SerdeError(error) => Self::Unreadable(error.to_string()),
            kube::Error::Service(error) => Self::Unreachable(chain(error.as_ref())),
            kube::Error::HyperError(error) => Self::Unreachable(chain(&error)),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// The innermost cause says what happened: "connection refused", "certificate has expired".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    #[test]
    fn a_refused_secret_is_explained_without_the_value_that_the_api_server_repeats() {
        let cause = StatusCause {
            reason: "FieldValueInvalid".to_owned(),
            message: "Invalid value: \"hunter2\"".to_owned(),
            field: "data[A]".to_owned(),
        };
        let details = StatusDetails {
            name: "s".to_owned(),
            group: String::new(),
            kind: "Secret".to_owned(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        };
        let status = Status::failure(
            "Secret \"s\" is invalid: Invalid value: \"hunter2\"",
            "Invalid",
        );
        let error = ApiError::Status(status.with_code(422).with_details(details).boxed());
        let object = |kind: &str| ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespace: None,
            name: "s".to_owned(),
            logical_name: "s".to_owned(),
        };
        assert_eq!(
            error.about(&object("Secret")),
            "422 Invalid: data[A] (FieldValueInvalid)"
        );
        assert!(error.about(&object("ConfigMap")).contains("hunter2"));
    }

    #[test]
    fn a_missing_right_is_told_from_a_refusal_by_admission() {
        let forbidden = |message: &str| {
            ApiError::Status(Status::failure(message, "Forbidden").with_code(403).boxed())
        };
        assert!(forbidden("secrets is forbidden: User \"x\" cannot patch resource").lacks_right());
        assert!(!forbidden("pods \"x\" is forbidden: violates PodSecurity").lacks_right());
    }

    #[test]
    fn who_takes_no_part_in_dry_runs_is_named_and_other_refusals_are_not_meant() {
        let said = |message: &str| {
            let error = ApiError::Status(Status::failure(message, "BadRequest").boxed());
            error.refuses_dry_runs().map(str::to_owned)
        };
        assert_eq!(
            said("admission webhook \"policy.example\" does not support dry run").as_deref(),
            Some("policy.example")
        );
        assert_eq!(
            said("forbidden: ValidatingAdmissionPolicy 'once' with binding 'b' denied request: no dry-run here").as_deref(),
            Some("once")
        );
        assert_eq!(
            said("admission webhook \"policy.example\" denied the request: no"),
            None
        );
        assert_eq!(said("the dry run is over"), None);
    }
}
