//! What an API server can answer besides what it was asked for.

use aip_stack::desired::ObjectRef;
use kube::client::AuthError;
use kube::core::Status;

use super::credentials;
use crate::error_text::{json_error_position, root_cause};

/// A failed request to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server answered with a `Status` of failure.
    #[error("{}", self.status_text())]
    Status(Box<Status>),
    /// Connection, TLS or DNS failure; the root cause.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// The user's credentials could not be made: an exec plugin failed, a token has expired.
    #[error("the credentials of the context cannot be used: {0}")]
    Credentials(String),
    /// No answer within this many seconds.
    #[error("the API server did not answer within {0} s")]
    Timeout(u64),
    /// It answered something that is no Kubernetes object.
    #[error("the API server's answer cannot be read: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// The `Status`, if the API server answered with one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// There is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        // `Status::is_not_found` of kube 5.0.0 looks at the reason alone, which a page for an unknown path
        // does not have.
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Another manager owns a field, or the object changed in between.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// The user lacks the right; a refusal of an admission plugin has the same code and is not
    /// meant, whatever its message says. The authorizer's sentence is
    /// `RESOURCE is forbidden: User "NAME" cannot VERB resource "RESOURCE" in API group "GROUP"`.
    pub fn lacks_right(&self) -> bool {
        self.status().is_some_and(|status| {
            status.is_forbidden() && authorizer_says_no(&status.message).is_some()
        })
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

    /// Whether the API server does not know the kind that the request was about. Of an object of a known
    /// kind that does not exist, it repeats the name.
    pub fn is_unknown_kind(&self) -> bool {
        let status = self.status().filter(|status| status.code == 404);
        status.is_some_and(|status| {
            let details = status.details.as_ref();
            details.is_none_or(|details| details.name.is_empty())
        })
    }

    /// The error as it may be shown for an object: the API server repeats invalid values, and those
    /// of a Secret are secret.
    pub fn describe_for(&self, object: &ObjectRef) -> String {
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
            Some(status) if status.code == 401 => format!(
                "the API server rejected the credentials of this context (401 {}): log in again",
                status.message
            ),
            Some(status) => status.message.clone(),
            None => String::new(),
        }
    }
}

/// What follows the user in the sentence of the API server's authorizer
/// (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`). Admission plugins write their own
/// words after "is forbidden: ", and none begins with the user.
fn authorizer_says_no(message: &str) -> Option<()> {
    let said = match message.strip_prefix("forbidden: ") {
        Some(said) => said,
        None => message.split_once(" is forbidden: ")?.1,
    };
    let mut behind = said.strip_prefix("User \"")?;
    // The user is quoted as Go does it.
    loop {
        let end = behind.find(['"', '\\'])?;
        let escape = behind[end..].starts_with('\\');
        let skipped = behind[end..].chars().take(1 + usize::from(escape));
        behind = &behind[end + skipped.map(char::len_utf8).sum::<usize>()..];
        if !escape {
            break;
        }
    }
    let (verb, object) = behind.strip_prefix(" cannot ")?.split_once(' ')?;
    let known = object.starts_with("resource \"") || object.starts_with("path \"");
    (known && !verb.is_empty()).then_some(())
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        use kube::Error;
        match error {
            Error::Api(status) => Self::Status(status),
            Error::Auth(error) => Self::Credentials(credentials::failure(&error, None)),
            Error::SerdeError(error) => Self::Unreadable(json_error_position(&error)),
            Error::Service(error) => from_chain(error.as_ref()),
            Error::HyperError(error) => from_chain(&error),
            Error::FromUtf8(_) => Self::Unreadable("it is not UTF-8".to_owned()),
            Error::LinesCodecMaxLineLengthExceeded => {
                Self::Unreadable("a line is too long".to_owned())
            }
            Error::ReadEvents(error) => Self::Unreachable(error.to_string()),
            Error::HttpError(error) => Self::Unreadable(error.to_string()),
            Error::BuildRequest(_)
            | Error::Discovery(_)
            | Error::InferConfig(_)
            | Error::InferKubeconfig(_)
            | Error::ProxyProtocolUnsupported { .. }
            | Error::ProxyProtocolDisabled { .. } => {
                Self::Unreadable("the request could not be made".to_owned())
            }
            Error::RustlsTls(error) => Self::Unreachable(root_cause(&error)),
            Error::TlsRequired => Self::Unreachable("the cluster's URL needs TLS".to_owned()),
        }
    }
}

/// Layers of the client hide what they know in the causes of their errors.
fn from_chain(error: &(dyn std::error::Error + 'static)) -> ApiError {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<AuthError>() {
            return ApiError::Credentials(credentials::failure(error, None));
        }
        next = error.source();
    }
    ApiError::Unreachable(root_cause(error))
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
            error.describe_for(&object("Secret")),
            "422 Invalid: data[A] (FieldValueInvalid)"
        );
        assert!(error.describe_for(&object("ConfigMap")).contains("hunter2"));
    }

    #[test]
    fn a_missing_right_is_distinguished_from_a_refusal_by_admission() {
        let forbidden = |message: &str| {
            ApiError::Status(Status::failure(message, "Forbidden").with_code(403).boxed())
        };
        for said in [
            "secrets \"a\" is forbidden: User \"x\" cannot patch resource \"secrets\" in API group \"\" in the namespace \"n\"",
            "namespaces is forbidden: User \"system:serviceaccount:ci:deploy\" cannot create resource \"namespaces\" in API group \"\" at the cluster scope",
            "secrets is forbidden: User \"a \\\"b\\\" c\" cannot list resource \"secrets\" in API group \"\" in the namespace \"n\": requires one of [\"container.secrets.list\"] permission(s).",
            "forbidden: User \"x\" cannot get path \"/version\"",
        ] {
            assert!(forbidden(said).lacks_right(), "{said}");
        }
        for said in [
            "pods \"x\" is forbidden: violates PodSecurity",
            "deployments.apps \"aip\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: images cannot use the tag latest",
            "deployments.apps \"aip\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: User \"x\" cannot patch resource \"deployments\"",
            "admission webhook \"policy.example\" denied the request: resource \"aip\" cannot run as root",
            "pods \"x\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0",
            "pods \"x\" is forbidden: User \"x",
            "pods \"x\" is forbidden: User \"x\" cannot ",
            "cannot",
        ] {
            assert!(!forbidden(said).lacks_right(), "{said}");
        }
        // Another code is not about rights, whatever it says.
        let said = "secrets is forbidden: User \"x\" cannot patch resource \"secrets\"";
        let invalid = ApiError::Status(Status::failure(said, "Invalid").with_code(422).boxed());
        assert!(!invalid.lacks_right());
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
