//! `aip healthcheck`: asks a running server whether it is ready, for containers without `curl`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Http as _, Limits};
use aip_config::LoadedConfig;
use aip_outbound::{Development, Dns, Outbound, OutboundConfig};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, sleep, timeout};
use url::{Host, Url};

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::settings;

/// The probe of the internal listener.
const READY: &str = "/internal/ready";
/// How soon a server that is starting is asked again.
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// A name for an address: names are what the way out takes.
const SERVER: &str = "aip.invalid";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is asked instead of `/internal/ready` of the internal listener
    #[arg(long)]
    url: Option<Url>,
    /// How many seconds it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    timeout: u64,
    /// For how many seconds a server that is still starting is asked again
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let patience = Duration::from_secs(args.timeout.max(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => internal_url(&loaded)?,
    };
    let asked = runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs(args.wait);
        loop {
            let asked = timeout(patience, ask(&url, &loaded, patience)).await;
            let asked = asked.unwrap_or_else(|_| Err(anyhow!("no answer within {patience:?}")));
            if asked.is_ok() || Instant::now() >= deadline {
                break asked;
            }
            sleep(BETWEEN_TRIES).await;
        }
    });
    Ok(asked.with_context(|| url.to_string())?)
}

fn internal_url(loaded: &LoadedConfig) -> anyhow::Result<Url> {
    let mut address = loaded.config.server.internal_listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(Url::parse(&format!("http://{address}{READY}"))?)
}

/// Goes where the operator says, and nowhere else: the address is fixed beforehand.
async fn ask(url: &Url, loaded: &LoadedConfig, patience: Duration) -> anyhow::Result<()> {
    let port = url
        .port_or_known_default()
        .context("this URL has no port")?;
    let mut asked = url.clone();
    let (name, address) = match url.host().context("this URL has no host")? {
        Host::Domain(name) => {
            let mut found = tokio::net::lookup_host((name, port)).await?;
            let address = found.next().context("the host has no address")?;
            (name.to_owned(), address)
        }
        Host::Ipv4(ip) => (SERVER.to_owned(), SocketAddr::from((ip, port))),
        Host::Ipv6(ip) => (SERVER.to_owned(), SocketAddr::from((ip, port))),
    };
    asked.set_host(Some(&name))?;
    let upstream = &loaded.config.upstream;
    let config = OutboundConfig {
        connect_timeout: patience,
        extra_ca_pem: settings::certificate_bundles(upstream)?,
        development: Some(Development {
            hosts: [(name, address)].into(),
            allow_loopback: false,
        }),
        ..OutboundConfig::default()
    };
    let way_out = Outbound::new(config, Arc::new(Dns::new(&[])?))?;
    let request = Request::get(asked.as_str()).body(Bytes::new())?;
    let limits = Limits {
        deadline: patience,
        ..Limits::DOCUMENT
    };
    let answer = way_out.fetch(request, limits).await?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(anyhow!("not ready: {}", answer.status))
    }
}
