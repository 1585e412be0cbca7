//! What the files say: the stack that was selected, with its objects. Made from the stack file by
//! the configuration; every command that talks to a cluster starts from it.

use async_trait::async_trait;
use serde_json::Value;

use crate::desired::Desired;
use crate::exit::Exit;

/// A stack, read and checked.
#[derive(Clone)]
pub struct Target {
    /// The project's name, `aip` in the original.
    pub project: String,
    /// The stack's name.
    pub stack: String,
    /// The kubeconfig context that `k8s_context` demands.
    pub context: String,
    /// Where the objects live.
    pub namespace: String,
    /// The objects.
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

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The configuration is incomplete or wrong: one line per finding, with file, line and the
    /// command that mends it.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// There is no stack, or its secrets cannot be opened.
    #[error("{message}")]
    Other {
        /// Why not.
        message: String,
        /// The exit code of a command that ends with it.
        exit: Exit,
    },
}

impl TargetError {
    /// The exit code of a command that ends with it.
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
