//! What an API server can answer besides what it was asked for.

use kube::core::Status;

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

    /// The webhook that does not take part in dry runs.
    pub fn webhook_without_dry_run(&self) -> Option<&str> {
        let message = &self.status()?.message;
        message
            .contains("does not support dry run")
            .then(|| message.split('"').nth(1).unwrap_or("unnamed"))
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
