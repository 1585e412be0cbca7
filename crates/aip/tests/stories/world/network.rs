//! The network of a story: the product's own guarded client with the development switch, and the
//! stand-in name server.

use std::net::IpAddr;
use std::sync::Arc;

use aip_base::{DnsError, DnsTxt, Http};
use aip_outbound::{Development, Outbound, OutboundConfig, Resolve};
use aip_sandbox::DnsFailure;
use async_trait::async_trait;

/// The stand-in name server, for the outbound client and the resolver.
#[derive(Clone)]
pub(crate) struct StandInDns(pub(crate) aip_sandbox::Dns);

#[async_trait]
impl DnsTxt for StandInDns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.0.txt(name).map_err(translate)
    }
}

#[async_trait]
impl Resolve for StandInDns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.0.addresses(host).map_err(translate)
    }
}

fn translate(failure: DnsFailure) -> DnsError {
    match failure {
        DnsFailure::NoRecord => DnsError::NoRecord,
        other => DnsError::Failed(other.to_string()),
    }
}

/// The way out of AIP, as in production but for the loopback interface.
pub(crate) fn outbound(dns: &StandInDns) -> Arc<dyn Http> {
    let development = Development {
        allow_loopback: true,
        ..Development::default()
    };
    let config = OutboundConfig {
        development: Some(development),
        ..OutboundConfig::default()
    };
    Arc::new(Outbound::new(config, Arc::new(dns.clone())).unwrap())
}
