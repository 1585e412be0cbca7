//! DNS: addresses for the connector and TXT records for handles, over one resolver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aip_base::{DnsError, DnsTxt};
use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use crate::OutboundConfigError;

/// How long one name server may take for one try, of which there are two.
const QUERY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Finds the addresses of a host. What it returns is not trusted: the connector filters it.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, best first.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError>;
}

/// The resolver of the product.
#[derive(Debug, Clone)]
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// A resolver that asks `nameservers`, or those of the system when there are none.
    pub fn new(nameservers: &[SocketAddr]) -> Result<Self, OutboundConfigError> {
        let failed = |error: NetError| OutboundConfigError::Dns(error.to_string());
        let mut builder = if nameservers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = nameservers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = QUERY_TIMEOUT;
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self {
            resolver: builder.build().map_err(failed)?,
        })
    }
}

#[async_trait]
impl Resolve for Dns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = self
            .resolver
            .lookup_ip(absolute(host))
            .await
            .map_err(|e| dns_error(&e))?;
        Ok(found.iter().collect())
    }
}

#[async_trait]
impl DnsTxt for Dns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let found = self
            .resolver
            .txt_lookup(absolute(name))
            .await
            .map_err(|e| dns_error(&e))?;
        let records = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::TXT(txt) => Some(txt.to_string()),
                _ => None,
            });
        Ok(records.collect())
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// With the final dot, so that the search domains of the system are not tried.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn dns_error(error: &NetError) -> DnsError {
    if error.is_no_records_found() {
        DnsError::NoRecord
    } else {
        DnsError::Failed(error.to_string())
    }
}
