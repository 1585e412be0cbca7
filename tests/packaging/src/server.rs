//! `aip` from the release, with the stand-ins around it, behind whatever proxy a test has.

use std::path::Path;

use aip_sandbox::{NameServer, Sandbox, SandboxOptions};
use anyhow::Result;
use harness::app::App;
use harness::process::bare;
use tempfile::TempDir;
use tokio::process::Command;

use crate::given::unpacked_archive;
use crate::service::{Service, free_port};

/// A running server.
pub struct AipServer {
    /// Where it listens, for the proxy.
    pub port: u16,
    /// The people and their PDS.
    pub sandbox: Sandbox,
    service: Service,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    _names: NameServer,
}

impl AipServer {
    /// Starts it for browsers that come to `base`, with these variables more.
    pub async fn start(base: &str, more: &[(&'static str, String)]) -> Result<Self> {
        let sandbox = Sandbox::start(SandboxOptions::default()).await?;
        let names = NameServer::start(sandbox.dns.clone()).await?;
        let folder = TempDir::new()?;
        let port = free_port();
        let mut variables = vec![
            (
                "AIP_DATA_DIR",
                folder.path().join("data").display().to_string(),
            ),
            ("AIP_DEVELOPMENT", "true".to_owned()),
            ("AIP_DNS_NAMESERVERS", names.address.to_string()),
            ("AIP_EXTERNAL_BASE", base.to_owned()),
            ("AIP_INTERNAL_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("AIP_LISTEN", format!("127.0.0.1:{port}")),
            ("AIP_LOG_FORMAT", "json".to_owned()),
            ("AIP_PLC_URLS", sandbox.plc.origin().to_owned()),
        ];
        variables.extend(more.iter().cloned());
        let mut command = program(folder.path(), &variables);
        command.arg("serve");
        let service = Service::start(command, &folder.path().join("aip.log"), port).await;
        Ok(Self {
            port,
            sandbox,
            service,
            folder,
            variables,
            _names: names,
        })
    }

    /// Registers an app.
    pub async fn register(&self) -> Result<App> {
        App::register(
            program(self.folder.path(), &self.variables),
            "Behind a proxy",
        )
        .await
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        self.service.log()
    }
}

fn program(folder: &Path, variables: &[(&'static str, String)]) -> Command {
    let mut command = bare(unpacked_archive().join("aip"), folder);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}
