//! The stand-ins and the demo app together, as the program `aip-sandbox` runs them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aip_base::{SystemClock, SystemRng};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::demo::{self, DemoClient, DemoOptions};
use crate::pds::{PdsOptions, SetupError};
use crate::sandbox::{Sandbox, SandboxOptions, StartError};

/// Where everything listens, and which AIP the demo uses. Port 0 is a free one.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The base URL of AIP.
    pub aip: String,
    /// Where AIP listens without TLS, if its base URL leads to a proxy or nowhere on this machine.
    pub aip_address: Option<SocketAddr>,
    /// The demo's client at AIP; without one it registers itself.
    pub client: Option<DemoClient>,
    /// The port of the PLC directory.
    pub plc_port: u16,
    /// The port of the PDS.
    pub pds_port: u16,
    /// The port of the demo app.
    pub demo_port: u16,
}

/// Running stand-ins and demo app. They end when this is dropped.
pub struct Running {
    /// The stand-ins.
    pub sandbox: Sandbox,
    demo: SocketAddr,
    serving: JoinHandle<()>,
}

impl Running {
    /// The base URL of the demo app.
    pub fn demo_url(&self) -> String {
        format!("http://{}", self.demo)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Starts the stand-ins and the demo app.
///
/// # Errors
/// When a port is taken.
pub async fn run_stand_ins(options: RunOptions) -> Result<Running, StartError> {
    let sandbox = Sandbox::start(SandboxOptions {
        plc_port: options.plc_port,
        pds: PdsOptions {
            port: options.pds_port,
            ..PdsOptions::default()
        },
        ..SandboxOptions::default()
    })
    .await?;
    let host = options.aip.parse::<http::Uri>().ok();
    if let (Some(address), Some(host)) =
        (options.aip_address, host.as_ref().and_then(|it| it.host()))
    {
        sandbox.http.map_host(host, address);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.demo_port))
        .await
        .map_err(SetupError::from)?;
    let demo = listener.local_addr().map_err(SetupError::from)?;
    let app = demo::router(DemoOptions {
        issuer: options.aip,
        base: format!("http://{demo}"),
        client: options.client,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        http: Arc::new(sandbox.http.clone()),
    });
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the demo app ended");
        }
    });
    Ok(Running {
        sandbox,
        demo,
        serving,
    })
}
