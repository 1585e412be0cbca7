//! What people come in by: a load balancer, a Gateway or an Ingress, and what each needs.

use crate::config::checks;
use crate::config::choices::{AnnotationsStyle, EdgeKind, ServiceType};
use crate::config::field::Field;
use crate::config::fields::{
    ANNOTATIONS_STYLE, EDGE_KIND, GATEWAY, GATEWAY_NAME, GATEWAY_NAMESPACE,
    GATEWAY_REDIRECT_SECTION, GATEWAY_SECTION, INGRESS, INGRESS_CLASS, LOAD_BALANCER_CLASS,
    PLAIN_HTTP, SERVICE_TYPE, SSL_CERT_ARN,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::values::Values;
use crate::config::{Exposure, GatewayEdge, IngressEdge, LoadBalancer};

use super::Resolver;

/// Whether the edge ends connections, routes by path and calls the Pods itself.
pub(super) fn is_proxy(values: &Values) -> bool {
    values.get(&EDGE_KIND) != EdgeKind::LoadBalancer
}

impl Resolver<'_> {
    /// How the Pods are exposed; none if something is missing for it. `host` is the public host name.
    pub(super) fn exposure(&mut self, values: &Values, host: Option<String>) -> Option<Exposure> {
        self.one_way_in(values);
        self.unused_edges(values);
        match values.get(&EDGE_KIND) {
            EdgeKind::LoadBalancer if values.get(&SERVICE_TYPE) == ServiceType::ClusterIp => {
                Some(Exposure::ClusterIp)
            }
            EdgeKind::LoadBalancer => self.load_balancer(values).map(Exposure::LoadBalancer),
            EdgeKind::Gateway => self.gateway(values, host).map(Exposure::Gateway),
            EdgeKind::Ingress => self.ingress(values, host).map(Exposure::Ingress),
        }
    }

    /// That the Service is no second way in, past the allow-list of the edge.
    fn one_way_in(&mut self, values: &Values) {
        let says_load_balancer =
            values.is_set(&SERVICE_TYPE) && values.get(&SERVICE_TYPE) == ServiceType::LoadBalancer;
        if is_proxy(values) && says_load_balancer {
            let path = SERVICE_TYPE.path();
            let message = format!(
                "conflicts with aip_config.edge.kind, which is {}: a load balancer would lead past it",
                <&str>::from(values.get(&EDGE_KIND))
            );
            let fix = Fix::new(Remedy::SecondEdge, path, Edit::Remove);
            let line = values.line_of(&SERVICE_TYPE);
            self.parser.problem(line, path, message, Some(fix));
        }
    }

    fn unused_edges(&mut self, values: &Values) {
        let kind = values.get(&EDGE_KIND);
        for (group, used_by) in [(&GATEWAY, EdgeKind::Gateway), (&INGRESS, EdgeKind::Ingress)] {
            if values.has(group) && kind != used_by {
                self.notices.push(format!(
                    "{} is not used: aip_config.edge.kind is {}",
                    group.path(),
                    <&str>::from(kind)
                ));
            }
        }
    }

    fn load_balancer(&mut self, values: &Values) -> Option<LoadBalancer> {
        let Some(certificate_arn) = values.get(&SSL_CERT_ARN) else {
            self.parser.missing(
                values.line(),
                SSL_CERT_ARN.path(),
                "is missing: the AWS load balancer needs a certificate for port 443; behind an ingress or \
                 gateway, set aip_config.service.type to cluster_ip instead",
                Fix::new(Remedy::Certificate, SSL_CERT_ARN.path(), Edit::Prompt),
            );
            return None;
        };
        let outcome = checks::arn(&certificate_arn, "acm", "certificate/");
        self.checked(values, &SSL_CERT_ARN, outcome);
        if values.get(&PLAIN_HTTP) {
            self.notices.push(
                "the load balancer also serves unencrypted HTTP on port 80; set aip_config.service.plain_http \
                 to false to disable it"
                    .to_owned(),
            );
        }
        let class = values.get(&LOAD_BALANCER_CLASS).or_else(|| {
            let controller = values.get(&ANNOTATIONS_STYLE) == AnnotationsStyle::Controller;
            controller.then(|| "service.k8s.aws/nlb".to_owned())
        });
        Some(LoadBalancer {
            certificate_arn,
            class,
        })
    }

    fn gateway(&mut self, values: &Values, host: Option<String>) -> Option<GatewayEdge> {
        let gateway = self.edge_name(values, &GATEWAY_NAME, "is missing: the name of the Gateway");
        let section = self.edge_name(
            values,
            &GATEWAY_SECTION,
            "is missing: the name of the Gateway's HTTPS listener; without it, listeners without TLS would \
             serve the pages, too",
        );
        if let Some(namespace) = values.get(&GATEWAY_NAMESPACE) {
            let outcome = checks::dns_label(&namespace);
            self.checked(values, &GATEWAY_NAMESPACE, outcome);
        }
        let redirect_section = values.get(&GATEWAY_REDIRECT_SECTION);
        if let Some(name) = &redirect_section {
            let outcome = if Some(name) == section.as_ref() {
                Err("is the listener of aip_config.edge.gateway.section: requests would be redirected for ever".to_owned())
            } else {
                checks::object_name(name)
            };
            self.checked(values, &GATEWAY_REDIRECT_SECTION, outcome);
        }
        Some(GatewayEdge {
            host: host?,
            gateway: gateway?,
            section: section?,
            redirect_section,
        })
    }

    fn ingress(&mut self, values: &Values, host: Option<String>) -> Option<IngressEdge> {
        let class = self.edge_name(
            values,
            &INGRESS_CLASS,
            "is missing: the name of the IngressClass",
        );
        Some(IngressEdge {
            host: host?,
            class: class?,
        })
    }

    /// The name of an object that the edge cannot do without.
    pub(super) fn edge_name(
        &mut self,
        values: &Values,
        field: &Field<Option<String>>,
        why: &str,
    ) -> Option<String> {
        let Some(name) = values.get(field) else {
            let fix = Fix::new(Remedy::EdgeName, field.path(), Edit::Prompt);
            let line = values.line_of(&EDGE_KIND).or(values.line());
            self.parser.missing(line, field.path(), why, fix);
            return None;
        };
        self.checked(values, field, checks::object_name(&name))
            .then_some(name)
    }
}
