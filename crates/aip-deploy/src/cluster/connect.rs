//! Makes a client for one named context of a kubeconfig, and for no other.
//!
//! The current context is never used, nor the account of a Pod: a command says which cluster it
//! means.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use pulumi_files::Environment;

/// Where the kubeconfig is.
#[derive(Debug, Clone)]
pub struct Access {
    files: Vec<PathBuf>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig was found.
    #[error("there is no kubeconfig: set KUBECONFIG, or write ~/.kube/config")]
    NoKubeconfig,
    /// A file cannot be read.
    #[error("the kubeconfig {} cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The context is not in any file.
    #[error(
        "the kubeconfig has no context `{context}`, which this stack demands (k8s_context); it has: {}",
        if available.is_empty() { "none".to_owned() } else { available.join(", ") }
    )]
    NoContext {
        /// The one the stack demands.
        context: String,
        /// Those there are.
        available: Vec<String>,
    },
    /// The context is there but cannot be used.
    #[error("context `{context}` cannot be used: {reason}")]
    Unusable {
        /// The context.
        context: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A CLI does not wait longer for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Access {
    /// The files of `KUBECONFIG`, else `~/.kube/config`.
    pub fn new(environment: &Environment) -> Self {
        let files = match environment.non_empty("KUBECONFIG") {
            Some(list) => std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            None => environment
                .home()
                .map(|home| home.join(".kube").join("config"))
                .into_iter()
                .collect(),
        };
        Self { files }
    }

    fn read(&self) -> Result<Kubeconfig, ConnectError> {
        let unreadable = |file: &PathBuf| {
            let file = file.clone();
            move |reason: kube::config::KubeconfigError| ConnectError::Unreadable {
                file,
                reason: reason.to_string(),
            }
        };
        let mut merged: Option<Kubeconfig> = None;
        // kubectl skips files of the list that do not exist.
        for file in self.files.iter().filter(|file| file.exists()) {
            let one = Kubeconfig::read_from(file).map_err(unreadable(file))?;
            merged = Some(match merged {
                None => one,
                Some(before) => before.merge(one).map_err(unreadable(file))?,
            });
        }
        merged.ok_or(ConnectError::NoKubeconfig)
    }
}

/// Connects to the cluster of `context`.
pub async fn connect(access: &Access, context: &str) -> Result<Client, ConnectError> {
    let kubeconfig = access.read()?;
    if !kubeconfig
        .contexts
        .iter()
        .any(|named| named.name == context)
    {
        return Err(ConnectError::NoContext {
            context: context.to_owned(),
            available: kubeconfig
                .contexts
                .into_iter()
                .map(|named| named.name)
                .collect(),
        });
    }
    let unusable = |reason: String| ConnectError::Unusable {
        context: context.to_owned(),
        reason,
    };
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        cluster: None,
        user: None,
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unusable(error.to_string()))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The library's retries go on for minutes; `send` has its own.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| unusable(error.to_string()))?;
    Ok(builder.build())
}
