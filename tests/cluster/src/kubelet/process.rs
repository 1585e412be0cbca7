//! One container as processes of this machine: what is run, with what, and where it is reached.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::environment::Environment;
use super::images::Image;
use super::rewrite::Rewrite;
use crate::http_client;
use crate::reaper::Reaper;

/// How much of a command's output is worth a message.
const MAX_OUTPUT_BYTES: u64 = 10 * 1024;

/// Everything that the processes of one container share.
pub(crate) struct ProcessSpec {
    pub(crate) container: Container,
    pub(crate) image: Image,
    pub(crate) environment: Environment,
    pub(crate) rewrite: Rewrite,
    pub(crate) folder: PathBuf,
    pub(crate) local: IpAddr,
    pub(crate) reaper: Reaper,
}

impl ProcessSpec {
    /// The container's own process.
    pub(crate) fn entrypoint(&self) -> Command {
        let own = |words: &Option<Vec<String>>| -> Option<Vec<String>> {
            let words = words.as_ref().filter(|words| !words.is_empty())?;
            Some(
                words
                    .iter()
                    .map(|word| self.environment.expand(word))
                    .collect(),
            )
        };
        let arguments = own(&self.container.args);
        if let Some(mut words) = own(&self.container.command) {
            words.extend(arguments.unwrap_or_default());
            return self.command(&words);
        }
        let arguments = arguments.unwrap_or_else(|| self.image.arguments.clone());
        self.program(self.image.entrypoint.clone(), &arguments)
    }

    /// A command in the container.
    fn command(&self, words: &[String]) -> Command {
        let (program, arguments) = words
            .split_first()
            .map_or(("", words), |(first, rest)| (first.as_str(), rest));
        let local = self.rewrite.path(program);
        self.program(local.unwrap_or_else(|| self.image.find(program)), arguments)
    }

    fn program(&self, program: PathBuf, arguments: &[String]) -> Command {
        let mut command = Command::new(program);
        let working = self.container.working_dir.as_deref();
        command
            .args(arguments.iter().map(|argument| self.rewrite.text(argument)))
            .current_dir(
                working
                    .and_then(|path| self.rewrite.path(path))
                    .unwrap_or_else(|| self.folder.clone()),
            )
            .env_clear()
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (name, self.rewrite.text(value))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs a command in the container to its end.
    pub(crate) async fn exec(&self, action: &ExecAction, patience: Duration) -> Result<(), String> {
        let words = action.command.as_deref().unwrap_or_default();
        let mut child = self
            .command(words)
            .spawn()
            .map_err(|error| error.to_string())?;
        let group = child.id().map(|id| self.reaper.watch(id));
        let mut output = String::new();
        let run = async {
            let readers = (child.stdout.take(), child.stderr.take());
            for reader in [readers.0.map(either), readers.1.map(either)]
                .into_iter()
                .flatten()
            {
                let _unreadable = reader
                    .take(MAX_OUTPUT_BYTES)
                    .read_to_string(&mut output)
                    .await;
            }
            child.wait().await
        };
        let status = timeout(patience, run).await;
        drop(group);
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(_)) => Err(output),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("command {words:?} timed out")),
        }
    }

    /// Asks the container over HTTP; any status from 200 to 399 is well.
    pub(crate) async fn http_get(
        &self,
        action: &HTTPGetAction,
        patience: Duration,
    ) -> Result<(), String> {
        if action.scheme.as_deref() == Some("HTTPS") {
            return Err("the stand-in asks over plain HTTP only".to_owned());
        }
        let address = self.address(&action.port)?;
        let path = action.path.as_deref().unwrap_or("/");
        let mut headers = vec![(
            http::header::USER_AGENT,
            HeaderValue::from_static("kube-probe/1.36"),
        )];
        for header in action.http_headers.iter().flatten() {
            let name = HeaderName::try_from(&header.name).map_err(|error| error.to_string())?;
            let value = HeaderValue::try_from(&header.value).map_err(|error| error.to_string())?;
            headers.push((name, value));
        }
        let url = format!("http://{address}{path}");
        match timeout(patience, http_client::get_with(address, path, &headers)).await {
            Ok(Ok(answer)) if (200..400).contains(&answer.status().as_u16()) => Ok(()),
            Ok(Ok(answer)) => Err(format!(
                "HTTP probe failed with statuscode: {}",
                answer.status().as_u16()
            )),
            Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
            Err(_) => Err(format!("Get \"{url}\": context deadline exceeded")),
        }
    }

    /// Whether somebody listens.
    pub(crate) async fn tcp(
        &self,
        action: &TCPSocketAction,
        patience: Duration,
    ) -> Result<(), String> {
        let address = self.address(&action.port)?;
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("dial tcp {address}: {error}")),
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        }
    }

    fn address(&self, port: &IntOrString) -> Result<SocketAddr, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let mut ports = self.container.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_ref() == Some(name));
                named
                    .map(|port| port.container_port)
                    .or_else(|| name.parse().ok())
            }
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        number
            .map(|port| SocketAddr::new(self.local, port))
            .ok_or_else(|| format!("no such port: {port:?}"))
    }
}

type Reader = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

fn either(reader: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Reader {
    Box::new(reader)
}
