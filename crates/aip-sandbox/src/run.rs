//! The stand-ins and the demo app together, as the program `aip-sandbox` runs them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aip_base::{SystemClock, SystemRng};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::demo::{self, DemoClient, DemoOptions};
use crate::pds::PdsOptions;
use crate::sandbox::{Sandbox, SandboxOptions, StartError};

/// Where everything listens, and which AIP the demo uses. Port 0 is a free one.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The base URL of AIP.
    pub aip: String,
    /// Where AIP listens without TLS, if its base URL leads to a proxy or nowhere on this machine.
    pub aip_address: Option<SocketAddr>,
    /// The demo's client at AIP; without one there is no demo app.
    pub client: Option<DemoClient>,
    /// The port of the PLC directory.
    pub plc_port: u16,
    /// The port of the PDS.
    pub pds_port: u16,
    /// The port of the demo app.
    pub demo_port: u16,
}

/// Running stand-ins, and the demo app if there is one. They end when this is dropped.
pub struct Running {
    /// The stand-ins.
    pub sandbox: Sandbox,
    demo: Option<Demo>,
}

struct Demo {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Running {
    /// The base URL of the demo app.
    pub fn demo_url(&self) -> Option<String> {
        let demo = self.demo.as_ref()?;
        Some(format!("http://{}", demo.address))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Starts the stand-ins, and the demo app if it has a client.
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
    let demo = match options.client {
        Some(client) => Some(start_demo(options.aip, client, options.demo_port, &sandbox).await?),
        None => None,
    };
    Ok(Running { sandbox, demo })
}

async fn start_demo(
    aip: String,
    client: DemoClient,
    port: u16,
    sandbox: &Sandbox,
) -> Result<Demo, StartError> {
    let failed = |source| StartError::listen("the demo app", port, source);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let app = demo::router(DemoOptions {
        issuer: aip,
        base: format!("http://{address}"),
        client: Some(client),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        http: Arc::new(sandbox.http.clone()),
    });
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "demo app failed");
        }
    });
    Ok(Demo { address, serving })
}
