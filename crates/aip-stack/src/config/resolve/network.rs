//! How many Pods there are, whom they trust, and what they reach.

use std::collections::BTreeMap;

use url::Url;

use crate::config::NEXT_DATABASE_URL;
use crate::config::NetworkPolicy;
use crate::config::checks;
use crate::config::choices::ServiceType;
use crate::config::fields::{
    ALLOW_CIDRS, AUTOSCALING, DATABASE_URL, MAX_REPLICAS, MIN_REPLICAS, NETWORK_POLICY,
    NETWORK_POLICY_ENABLED, POSTGRES, REDIS_DSN, REPLICAS, SERVICE_TYPE, TRUSTED_PROXIES,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::valkey_url;
use crate::config::value::ConfigString;
use crate::config::values::Values;

use super::Resolver;
use super::dependencies;
use super::edge::is_proxy;

impl Resolver<'_> {
    /// Whether an autoscaler controls the number of Pods.
    pub(super) fn is_autoscaled(&mut self, values: &Values) -> bool {
        let Some(line) = values.line_of_group(&AUTOSCALING) else {
            return false;
        };
        let least = values.get(&MIN_REPLICAS);
        if least > values.get(&MAX_REPLICAS) {
            let message = "min_replicas is larger than max_replicas";
            let most = Edit::Set(least.to_string());
            let fix = Fix::new(Remedy::MaxReplicas, MAX_REPLICAS.path(), most);
            self.parser
                .problem(Some(line), AUTOSCALING.path(), message, Some(fix));
        }
        if values.is_set(&REPLICAS) {
            let message =
                "conflicts with aip_config.autoscaling, which controls the number of Pods";
            let path = REPLICAS.path();
            let fix = Fix::new(Remedy::AutoscaledReplicas, path, Edit::Remove);
            self.parser.problem(Some(line), path, message, Some(fix));
        }
        true
    }

    /// The networks of the reverse proxies before the Pods. The load balancers of the stack forward
    /// connections with the caller's address and write no header, so nobody is to be trusted there.
    /// A gateway or ingress is a proxy, whose addresses are not known here; whether one stands before
    /// a Service inside the cluster, neither.
    pub(super) fn trusted_proxies(
        &mut self,
        values: &Values,
        restricted: bool,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
    ) {
        const VARIABLE: &str = "AIP_TRUSTED_PROXIES";
        let path = TRUSTED_PROXIES.path();
        let said = values.is_set(&TRUSTED_PROXIES)
            || required.contains_key(VARIABLE)
            || extra.contains_key(VARIABLE);
        let add = Fix::new(Remedy::Proxies, &format!("{path}[0]"), Edit::Prompt);
        if restricted && is_proxy(values) && !said {
            let why = format!(
                "is missing: the network of the gateway or ingress controller, without which all clients share \
                 its address and its rate limits; `{path}: []` trusts nobody"
            );
            self.parser.missing(values.line(), path, &why, add);
        } else if restricted && values.get(&SERVICE_TYPE) == ServiceType::ClusterIp && !said {
            self.notices.push(format!(
                "{path} is not set: behind an ingress controller or gateway, all clients share its address and \
                 its rate limits; `{add}` prompts for its network, `{path}: []` declares that there is none"
            ));
        }
        let networks = values.get(&TRUSTED_PROXIES);
        self.blocks(values.line(), path, &networks);
        if let Some(index) = networks.iter().position(|network| network.ends_with("/0")) {
            let path = format!("{path}[{index}]");
            let message = "trusts X-Forwarded-For from every client";
            let line = values.line_of(&TRUSTED_PROXIES);
            let fix = Fix::new(Remedy::Proxies, &path, Edit::Prompt);
            self.parser.problem(line, &path, message, Some(fix));
        }
    }

    /// That each of a list is a block of addresses.
    fn blocks(&mut self, line: Option<usize>, path: &str, blocks: &[String]) {
        for (index, block) in blocks.iter().enumerate() {
            if let Err(message) = checks::cidr(block) {
                let path = format!("{path}[{index}]");
                let edit = match block.parse::<std::net::IpAddr>() {
                    Ok(std::net::IpAddr::V4(address)) => Edit::Set(format!("{address}/32")),
                    Ok(std::net::IpAddr::V6(address)) => Edit::Set(format!("{address}/128")),
                    Err(_) => Edit::Prompt,
                };
                let fix = Fix::new(Remedy::CidrBlock, &path, edit);
                self.parser.problem(line, &path, message, Some(fix));
            }
        }
    }

    pub(super) fn network_policy(
        &mut self,
        values: &Values,
        restricted: bool,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
    ) -> Option<NetworkPolicy> {
        if !restricted || !values.get(&NETWORK_POLICY_ENABLED) {
            return None;
        }
        let line = values.line_of_group(&NETWORK_POLICY);
        self.blocks(line, ALLOW_CIDRS.path(), &values.get(&ALLOW_CIDRS));
        let database = || {
            let name = DATABASE_URL.name;
            if dependencies::dependency_field(values, name).is_some() {
                return Some(5432);
            }
            let url = Url::parse(required.get(name)?.plaintext()?).ok()?;
            (url.scheme() != "sqlite").then(|| url.port().unwrap_or(5432))
        };
        let valkey = || {
            let name = REDIS_DSN.name;
            if dependencies::dependency_field(values, name).is_some() {
                return Some(dependencies::valkey_ports(values));
            }
            Some(valkey_url::ports(required.get(name)?.plaintext()?))
        };
        // Where the data is being moved to.
        let next = extra.get(NEXT_DATABASE_URL).map(|url| {
            let url = url.plaintext().and_then(|url| Url::parse(url).ok());
            url.and_then(|url| url.port()).unwrap_or(5432)
        });
        let cluster = values.get(&POSTGRES).makes_cluster().then_some(5432);
        // Port 443 of public servers is open anyway.
        let events = extra.get("AIP_JETSTREAM_URL").and_then(|url| {
            let url = Url::parse(url.plaintext()?).ok()?;
            url.port_or_known_default().filter(|port| *port != 443)
        });
        let mut ports: Vec<u16> = [database(), next, cluster, events]
            .into_iter()
            .flatten()
            .collect();
        ports.extend(valkey().unwrap_or_default());
        ports.sort_unstable();
        ports.dedup();
        let statsd = extra.contains_key("TELEGRAF_HOST").then(|| {
            let port = extra
                .get("TELEGRAF_PORT")
                .and_then(ConfigString::plaintext)
                .and_then(|port| port.parse().ok());
            port.unwrap_or(8125)
        });
        Some(NetworkPolicy {
            ports,
            udp_ports: statsd.into_iter().collect(),
        })
    }
}
