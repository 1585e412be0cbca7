//! From routes to the configuration of nginx.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::NO_ROUTE;

/// A route at a listener.
pub(super) struct Route {
    pub(super) address: SocketAddr,
    pub(super) hosts: Vec<String>,
    /// `spec.rules` of the `HTTPRoute`.
    pub(super) rules: Value,
    pub(super) backends: Backends,
}

/// Services and their ready Pods.
#[derive(Default)]
pub(super) struct Backends(BTreeMap<String, Option<Vec<SocketAddr>>>);

impl Backends {
    /// `pods` is none for a Service or port that does not exist.
    pub(super) fn add(&mut self, service: &str, pods: Option<Vec<SocketAddr>>) {
        self.0.insert(service.to_owned(), pods);
    }

    /// The first Service that does not exist.
    pub(super) fn unresolved(&self) -> Option<String> {
        let mut missing = self.0.iter().filter(|(_, pods)| pods.is_none());
        missing.next().map(|(name, _)| name.clone())
    }
}

/// The whole configuration. The address of `probe` answers with its number.
pub(super) fn nginx_configuration(
    folder: &Path,
    probe: (SocketAddr, usize),
    listeners: &[SocketAddr],
    routes: &[Route],
) -> String {
    let mut text = String::from(
        "daemon off;\npid nginx.pid;\nworker_processes 1;\nevents {}\nhttp {\naccess_log off;\n",
    );
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{what}_temp_path {}/{what};", folder.display());
    }
    let (address, number) = probe;
    let _ = writeln!(text, "server {{ listen {address}; return 200 {number}; }}");
    for address in listeners {
        let _ = writeln!(
            text,
            "server {{ listen {address} default_server; return 404 \"{NO_ROUTE}\"; }}"
        );
    }
    for (number, route) in routes.iter().enumerate() {
        for (service, pods) in &route.backends.0 {
            let pods = pods.as_deref().unwrap_or_default();
            if !pods.is_empty() {
                let _ = writeln!(text, "upstream {service}-{number} {{");
                for pod in pods {
                    let _ = writeln!(text, "server {pod};");
                }
                text.push_str("}\n");
            }
        }
        let _ = writeln!(
            text,
            "server {{ listen {}; server_name {};",
            route.address,
            route.hosts.join(" ")
        );
        let mut has_root_location = false;
        for rule in route.rules.as_array().into_iter().flatten() {
            let location_directives = location_directives(rule, number, &route.backends);
            for matched in rule["matches"].as_array().into_iter().flatten() {
                let path = matched["path"]["value"].as_str().unwrap_or("/");
                if matched["path"]["type"] == "Exact" {
                    let _ = writeln!(text, "location = \"{path}\" {{ {location_directives} }}");
                } else if path == "/" {
                    has_root_location = true;
                    let _ = writeln!(text, "location / {{ {location_directives} }}");
                } else {
                    let _ = writeln!(text, "location = \"{path}\" {{ {location_directives} }}");
                    let _ = writeln!(text, "location ^~ \"{path}/\" {{ {location_directives} }}");
                }
            }
        }
        if !has_root_location {
            let _ = writeln!(text, "location / {{ return 404 \"{NO_ROUTE}\"; }}");
        }
        text.push_str("}\n");
    }
    text + "}\n"
}

/// What a rule does with a request. A Pod that fails is not covered up by another one.
fn location_directives(rule: &Value, number: usize, backends: &Backends) -> String {
    let redirect = &rule["filters"][0]["requestRedirect"];
    if let Some(scheme) = redirect["scheme"].as_str() {
        let code = redirect["statusCode"].as_i64().unwrap_or(302);
        return format!("return {code} {scheme}://$host$request_uri;");
    }
    let service = rule["backendRefs"][0]["name"].as_str().unwrap_or_default();
    let pods = backends.0.get(service).and_then(Option::as_ref);
    if pods.is_none_or(Vec::is_empty) {
        return "return 503;".to_owned();
    }
    // Without a word about time, gateways end requests after some seconds.
    let seconds = if rule["timeouts"]["request"] == "0s" {
        86_400
    } else {
        15
    };
    format!(
        "proxy_pass http://{service}-{number}; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
         proxy_next_upstream off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; \
         proxy_read_timeout {seconds}s; proxy_send_timeout {seconds}s;"
    )
}
