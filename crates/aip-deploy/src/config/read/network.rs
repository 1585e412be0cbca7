//! Who reaches the Pods, how many there are, and what they reach.

use std::collections::BTreeMap;

use url::Url;

use super::super::checks;
use super::super::reader::{Object, Text};
use super::super::{Autoscaling, LoadBalancer, NetworkPolicy, Service};
use super::Assembly;

impl Assembly<'_> {
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
                "is missing: the load balancer needs a certificate for port 443",
                "aip-deploy config set --path aip_config.ssl_cert_arn ARN".to_owned(),
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
                "the load balancer also serves port 80 in clear text; aip_config.service.plain_http turns it off"
                    .to_owned(),
            );
        }
        let annotations = service.map("annotations").into_iter();
        let annotations = annotations
            .filter_map(|(name, text)| Some((name, text.known()?.to_owned())))
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
            self.reader
                .problem(given.line, "aip_config.autoscaling", message, None);
        }
        if fields.fields.contains_key("replicas") {
            let message = "does not go with aip_config.autoscaling, which decides it";
            let fix = Some("aip-deploy config rm --path aip_config.replicas".to_owned());
            self.reader
                .problem(given.line, "aip_config.replicas", message, fix);
        }
        Some(scaling)
    }

    pub(super) fn network_policy(
        &mut self,
        fields: &Object,
        restricted: bool,
        required: &BTreeMap<String, Text>,
        extra: &BTreeMap<String, Text>,
    ) -> Option<NetworkPolicy> {
        let empty = Object::default();
        let given = fields.object("network_policy").unwrap_or(&empty);
        if !restricted || !given.bool("enabled").unwrap_or(true) {
            return None;
        }
        let allow_cidrs = given.texts("allow_cidrs").unwrap_or_default();
        for cidr in &allow_cidrs {
            if let Err(message) = checks::cidr(cidr) {
                self.reader.problem(
                    given.line,
                    "aip_config.network_policy.allow_cidrs",
                    message,
                    None,
                );
            }
        }
        let port = |name: &str, default: u16| {
            let url = Url::parse(required.get(name)?.known()?).ok()?;
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
                .and_then(Text::known)
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
