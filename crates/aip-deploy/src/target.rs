//! What the files say: the stack that was selected, with its objects. Made from the stack file by
//! the configuration; every command that talks to a cluster starts from it.

use async_trait::async_trait;
use serde_json::Value;

use crate::desired::Desired;
use crate::exit::Exit;

/// A stack, resolved and validated: what a deployment works on.
#[derive(Clone)]
pub struct Target {
    /// The project's name, `aip` in the original.
    pub project: String,
    /// The stack's name.
    pub stack: String,
    /// The kubeconfig context that `k8s_context` demands.
    pub context: String,
    /// `aip-<stack>`.
    pub namespace: String,
    /// The desired objects, in the order of an apply.
    pub desired: Vec<Desired>,
    /// What the operator should know about the configuration; no secrets.
    pub notices: Vec<String>,
    /// The image of the server.
    pub image: String,
    /// The text of the stack file, for the history.
    pub stack_file: String,
}

impl Target {
    /// The objects as the API server is sent them.
    pub fn objects(&self) -> Vec<Value> {
        self.desired.iter().map(Desired::value).collect()
    }
}

/// The stack could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The configuration is incomplete or wrong: one line per finding, with file, line and the
    /// command that fixes it.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// There is no stack, or its secrets cannot be opened.
    #[error("{message}")]
    Other {
        /// The underlying error.
        message: String,
        /// Exit code of a command that fails with this error.
        exit: Exit,
    },
}

impl TargetError {
    /// Exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_) => Exit::Usage,
            Self::Other { exit, .. } => *exit,
        }
    }
}

/// Reads targets.
#[async_trait]
pub trait Targets: Send + Sync {
    /// The selected stack as its file stands now.
    async fn current(&self) -> Result<Target, TargetError>;

    /// The selected stack as it was with another text of its file, from the history.
    async fn with_stack_file(&self, text: &str) -> Result<Target, TargetError>;
}
