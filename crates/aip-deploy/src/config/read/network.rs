//! Who reaches the Pods, how many there are, and what they reach.

use std::collections::BTreeMap;

use url::Url;

use super::super::checks;
use super::super::fix::{Edit, Fix, Remedy};
use super::super::reader::{ConfigString, Object};
use super::super::{Autoscaling, LoadBalancer, NetworkPolicy, Service};
use super::StackConfigBuilder;

impl StackConfigBuilder<'_> {
    pub(super) fn service(&mut self, fields: &Object, restricted: bool) -> Option<Service> {
        let empty = Object::default();
        let service = fields.object("service").unwrap_or(&empty);
        if service.plain("type") == Some("cluster_ip") {
            return Some(Service {
                load_balancer: None,
            });
        }
        let Some(certificate) = fields.plain("ssl_cert_arn").map(str::to_owned) else {
            self.reader.missing(
                fields.line,
                "aip_config.ssl_cert_arn",
                "is missing: the AWS load balancer needs a certificate for port 443; behind an ingress or \
                 gateway, set aip_config.service.type to cluster_ip instead",
                Fix::new(Remedy::Certificate, "aip_config.ssl_cert_arn", Edit::Prompt),
            );
            return None;
        };
        self.checked(
            fields,
            "ssl_cert_arn",
            checks::arn(&certificate, "acm", "certificate/"),
        );
        let controller = service.plain("annotations_style") == Some("controller");
        let class = service.plain("load_balancer_class").map(str::to_owned);
        let class = class.or_else(|| controller.then(|| "service.k8s.aws/nlb".to_owned()));
        let plain_http = service.bool("plain_http").unwrap_or(!restricted);
        if plain_http {
            self.notices.push(
                "the load balancer also serves unencrypted HTTP on port 80; set aip_config.service.plain_http \
                 to false to disable it"
                    .to_owned(),
            );
        }
        let annotations = service.map("annotations").into_iter();
        let annotations = annotations
            .filter_map(|(name, text)| Some((name, text.plaintext()?.to_owned())))
            .collect();
        let internal = service.bool("internal").unwrap_or(false);
        Some(Service {
            load_balancer: Some(LoadBalancer {
                certificate_arn: certificate,
                controller,
                class,
                internal,
                plain_http,
                annotations,
            }),
        })
    }

    pub(super) fn autoscaling(&mut self, fields: &Object) -> Option<Autoscaling> {
        let given = fields.object("autoscaling")?;
        let scaling = Autoscaling {
            min_replicas: given.int("min_replicas").unwrap_or(2),
            max_replicas: given.int("max_replicas").unwrap_or(10),
            cpu_percent: given.int("cpu_percent").unwrap_or(70),
        };
        if scaling.min_replicas > scaling.max_replicas {
            let message = "min_replicas is larger than max_replicas";
            let path = "aip_config.autoscaling.max_replicas";
            let most = Edit::Set(scaling.min_replicas.to_string());
            let fix = Fix::new(Remedy::MaxReplicas, path, most);
            self.reader
                .problem(given.line, "aip_config.autoscaling", message, Some(fix));
        }
        if fields.fields.contains_key("replicas") {
            let message =
                "conflicts with aip_config.autoscaling, which controls the number of Pods";
            let path = "aip_config.replicas";
            let fix = Fix::new(Remedy::AutoscaledReplicas, path, Edit::Remove);
            self.reader.problem(given.line, path, message, Some(fix));
        }
        Some(scaling)
    }

    /// The networks of the reverse proxies before the Pods. The load balancers of the stack forward
    /// connections with the caller's address and write no header, so nobody is to be trusted there.
    /// What stands before a Service inside the cluster is not known here.
    pub(super) fn trusted_proxies(
        &mut self,
        fields: &Object,
        restricted: bool,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
    ) -> Vec<String> {
        const PATH: &str = "aip_config.trusted_proxies";
        const VARIABLE: &str = "AIP_TRUSTED_PROXIES";
        let given = fields.texts("trusted_proxies");
        let service = fields
            .object("service")
            .and_then(|service| service.plain("type"));
        let said =
            given.is_some() || required.contains_key(VARIABLE) || extra.contains_key(VARIABLE);
        if restricted && service == Some("cluster_ip") && !said {
            let add = Fix::new(Remedy::Proxies, &format!("{PATH}[0]"), Edit::Prompt);
            self.notices.push(format!(
                "{PATH} is not set: behind an ingress controller or gateway, all clients share its address and \
                 its rate limits; `{add}` prompts for its network, `{PATH}: []` declares that there is none"
            ));
        }
        let networks = given.unwrap_or_default();
        self.blocks(fields, PATH, &networks);
        if let Some(index) = networks.iter().position(|network| network.ends_with("/0")) {
            let path = format!("{PATH}[{index}]");
            let message = "trusts X-Forwarded-For from every client";
            let line = fields.lines.get("trusted_proxies").copied();
            let fix = Fix::new(Remedy::Proxies, &path, Edit::Prompt);
            self.reader.problem(line, &path, message, Some(fix));
        }
        networks
    }

    /// That each of a list is a block of addresses.
    fn blocks(&mut self, holder: &Object, path: &str, blocks: &[String]) {
        for (index, block) in blocks.iter().enumerate() {
            if let Err(message) = checks::cidr(block) {
                let path = format!("{path}[{index}]");
                let edit = match block.parse::<std::net::IpAddr>() {
                    Ok(std::net::IpAddr::V4(address)) => Edit::Set(format!("{address}/32")),
                    Ok(std::net::IpAddr::V6(address)) => Edit::Set(format!("{address}/128")),
                    Err(_) => Edit::Prompt,
                };
                let fix = Fix::new(Remedy::CidrBlock, &path, edit);
                self.reader.problem(holder.line, &path, message, Some(fix));
            }
        }
    }

    pub(super) fn network_policy(
        &mut self,
        fields: &Object,
        restricted: bool,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
    ) -> Option<NetworkPolicy> {
        let empty = Object::default();
        let given = fields.object("network_policy").unwrap_or(&empty);
        if !restricted || !given.bool("enabled").unwrap_or(true) {
            return None;
        }
        let allow_cidrs = given.texts("allow_cidrs").unwrap_or_default();
        self.blocks(given, "aip_config.network_policy.allow_cidrs", &allow_cidrs);
        let port = |name: &str, default: u16| {
            let url = Url::parse(required.get(name)?.plaintext()?).ok()?;
            (url.scheme() != "sqlite").then(|| url.port().unwrap_or(default))
        };
        let mut ports: Vec<u16> = [port("DATABASE_URL", 5432), port("REDIS_DSN", 6379)]
            .into_iter()
            .flatten()
            .collect();
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
            allow_cidrs,
        })
    }
}
