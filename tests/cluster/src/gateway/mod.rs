//! A gateway of the Gateway API: Debian's nginx, set up by a small controller from the `HTTPRoute`s, Services
//! and `EndpointSlice`s in the API server, whose decisions it writes into the status of the routes. TLS
//! aside: both listeners speak plain HTTP on loopback.

mod configuration;
mod status;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::reaper::Reaper;
use crate::{definitions, http_client, ports};
use configuration::{Backends, Route, nginx_configuration};
use status::Decision;

/// What nginx answers where no route leads.
pub const NO_ROUTE: &str = "the gateway has no route";

/// The names of the listeners: for pages, and for who comes without TLS.
const LISTENERS: [&str; 2] = ["https", "http"];

const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The machine is shared: what takes a moment may take a minute.
const RELOAD_TIMEOUT: Duration = Duration::from_mins(1);
const RELOAD_POLL_INTERVAL: Duration = Duration::from_millis(20);

const GROUP: &str = "gateway.networking.k8s.io";

/// A Gateway object with a listener `https` and a listener `http`, and nginx behind it. It ends when
/// dropped.
pub struct Gateway {
    addresses: BTreeMap<&'static str, SocketAddr>,
    _tasks: JoinSet<()>,
}

/// What the controller works on.
struct Controller {
    client: Client,
    gateway: String,
    namespace: String,
    /// The host names that the listener `https` takes; all if empty.
    hostname: Option<String>,
    routes: Store<DynamicObject>,
    slices: Store<EndpointSlice>,
    addresses: BTreeMap<&'static str, SocketAddr>,
    nginx: Nginx,
}

/// nginx with one worker, and what it is set up as.
struct Nginx {
    daemon: Daemon,
    reaper: Reaper,
    listeners: Vec<SocketAddr>,
    /// Answers with the number of the configuration that is in force.
    probe: SocketAddr,
    configured: String,
    generation: usize,
}

impl Gateway {
    /// A gateway of that name in a namespace of its own, which is called the same. Its listener `https`
    /// takes routes for `hostname` alone, if there is one.
    ///
    /// # Panics
    ///
    /// If nginx does not start, or the API server refuses.
    pub async fn start(client: &Client, name: &str, hostname: Option<&str>) -> Self {
        definitions::install(client, definitions::GATEWAY_API).await;
        create(client, name, hostname).await;
        let changed = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let routes = Api::all_with(client.clone(), &http_route());
        let routes = observe(routes, http_route(), &changed, &mut tasks).await;
        let slices = observe(Api::all(client.clone()), (), &changed, &mut tasks).await;
        let addresses: BTreeMap<&str, SocketAddr> =
            LISTENERS.into_iter().map(|name| (name, free())).collect();
        let mut controller = Controller {
            client: client.clone(),
            gateway: name.to_owned(),
            namespace: name.to_owned(),
            hostname: hostname.map(str::to_owned),
            routes,
            slices,
            addresses: addresses.clone(),
            nginx: Nginx::start(addresses.values().copied().collect()),
        };
        controller.reconcile().await;
        tasks.spawn(async move {
            loop {
                // Services are not watched: what changes there is seen after this time.
                let _timed_out = tokio::time::timeout(POLL_INTERVAL, changed.notified()).await;
                controller.reconcile().await;
            }
        });
        Self {
            addresses,
            _tasks: tasks,
        }
    }

    /// Where a listener listens.
    ///
    /// # Panics
    ///
    /// If it is neither `https` nor `http`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }
}

impl Controller {
    /// Brings nginx and the status of the routes to what the API server has. A route is accepted when
    /// requests get through, and no earlier.
    async fn reconcile(&mut self) {
        let mut routes = Vec::new();
        let mut reports = Vec::new();
        for object in self.routes.state() {
            let spec = &object.data["spec"];
            let parents = spec["parentRefs"].as_array();
            let ours = parents.into_iter().flatten();
            let mut ours = ours.filter(|parent| self.is_meant(parent, &object));
            let section = ours.find_map(|parent| parent["sectionName"].as_str());
            let mut listeners = LISTENERS.into_iter();
            let Some(listener) = listeners.find(|listener| Some(*listener) == section) else {
                continue;
            };
            let hosts: Vec<String> = serde_json::from_value(spec["hostnames"].clone())
                .expect("the API server checks the host names");
            let is_accepted = match &self.hostname {
                Some(only) if listener == "https" => hosts.contains(only),
                _ => true,
            };
            let namespace = object.namespace().unwrap_or_default();
            let backends = self.backends(spec, &namespace).await;
            let decision = Decision {
                is_accepted,
                unresolved: backends.unresolved(),
            };
            if let Some(status) = decision.status_of(&object) {
                reports.push((namespace, object.name_any(), status));
            }
            if is_accepted {
                routes.push(Route {
                    address: self.addresses[listener],
                    hosts,
                    rules: spec["rules"].clone(),
                    backends,
                });
            }
        }
        self.nginx.configure(&routes).await;
        for (namespace, name, status) in reports {
            let api = Api::<DynamicObject>::namespaced_with(
                self.client.clone(),
                &namespace,
                &http_route(),
            );
            let patch = Patch::Merge(status);
            // A route that has just been deleted has no status.
            let _gone = api
                .patch_status(&name, &PatchParams::default(), &patch)
                .await;
        }
    }

    fn is_meant(&self, parent: &Value, route: &DynamicObject) -> bool {
        let own = route.namespace().unwrap_or_default();
        parent["name"] == self.gateway.as_str()
            && parent["namespace"].as_str().unwrap_or(&own) == self.namespace
    }

    /// The ready Pods of every Service that the rules name.
    async fn backends(&self, spec: &Value, namespace: &str) -> Backends {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let mut backends = Backends::default();
        let rules = spec["rules"].as_array().into_iter().flatten();
        let references: Vec<(String, i64)> = rules
            .flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten())
            .map(|reference| {
                let name = reference["name"].as_str().unwrap_or_default();
                (
                    name.to_owned(),
                    reference["port"].as_i64().unwrap_or_default(),
                )
            })
            .collect();
        for (name, number) in references {
            let name = name.as_str();
            let service = services.get_opt(name).await.ok().flatten();
            let ports = service.and_then(|service| service.spec?.ports);
            let mut ports = ports.into_iter().flatten();
            let port = ports.find(|port| i64::from(port.port) == number);
            let port = port.map(|port| port.name.unwrap_or_default());
            let pods = port.map(|port| {
                let label = "kubernetes.io/service-name";
                let ours = |slice: &EndpointSlice| {
                    slice.namespace().as_deref() == Some(namespace)
                        && slice.labels().get(label).map(String::as_str) == Some(name)
                };
                crate::balancer::ready(&self.slices, ours, &port)
            });
            backends.add(name, pods);
        }
        backends
    }
}

impl Nginx {
    fn start(listeners: Vec<SocketAddr>) -> Self {
        let reaper = Reaper::start();
        let probe = free();
        let first = nginx_configuration(reaper.folder(), (probe, 0), &listeners, &[]);
        std::fs::write(reaper.folder().join("nginx.conf"), &first).expect("the folder is writable");
        let folder = reaper.folder().display();
        let arguments = [
            "-p",
            &format!("{folder}/"),
            "-c",
            "nginx.conf",
            "-e",
            "stderr",
        ];
        let arguments = arguments.map(str::to_owned);
        Self {
            daemon: Daemon::start("nginx", &program_folder(), &arguments, &reaper),
            reaper,
            listeners,
            probe,
            configured: first,
            generation: 0,
        }
    }

    /// Returns when nginx works by these routes.
    async fn configure(&mut self, routes: &[Route]) {
        let configuration = |generation| {
            let probe = (self.probe, generation);
            nginx_configuration(self.reaper.folder(), probe, &self.listeners, routes)
        };
        if configuration(self.generation) != self.configured {
            let next = configuration(self.generation + 1);
            self.generation += 1;
            let path = self.reaper.folder().join("nginx.conf");
            std::fs::write(path, &next).expect("the folder is writable");
            self.daemon.signal(Signal::HUP);
            self.configured = next;
        }
        let number = self.generation.to_string();
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        loop {
            let answer = http_client::get(self.probe, "/").await;
            if answer.is_ok_and(|answer| answer.body() == number.as_bytes()) {
                return;
            }
            if let Some(ended) = self.daemon.exit_message() {
                panic!("{ended}");
            }
            assert!(
                Instant::now() < deadline,
                "nginx does not take over its configuration"
            );
            tokio::time::sleep(RELOAD_POLL_INTERVAL).await;
        }
    }
}

/// Where Debian keeps nginx, which is not on the `PATH` of most users.
fn program_folder() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.find(|folder| folder.join("nginx").is_file());
    found.expect("nginx is installed: `cargo xtask test cluster` does it")
}

fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()))
}

fn http_route() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(GROUP, "v1", "HTTPRoute"),
        "httproutes",
    )
}

/// Keeps the objects of a kind, and tells of every change.
async fn observe<K>(
    api: Api<K>,
    kind: K::DynamicType,
    changed: &Arc<Notify>,
    tasks: &mut JoinSet<()>,
) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + std::hash::Hash + Send + Sync,
{
    use futures_util::StreamExt as _;
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    let changed = Arc::clone(changed);
    tasks.spawn(events.for_each(move |_| {
        changed.notify_one();
        std::future::ready(())
    }));
    let _gone = store.wait_until_ready().await;
    store
}

/// The objects in the cluster: a namespace, and the Gateway in it.
async fn create(client: &Client, name: &str, hostname: Option<&str>) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    apply(Api::all_with(client.clone(), &kind), name, &namespace).await;
    let from_all = json!({"namespaces": {"from": "All"}});
    let mut https = json!({"name": "https", "port": 443, "protocol": "HTTPS", "allowedRoutes": from_all,
        "tls": {"certificateRefs": [{"name": "wildcard"}]}});
    if let Some(hostname) = hostname {
        https["hostname"] = hostname.into();
    }
    let gateway = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway", "metadata": {"name": name, "namespace": name},
        "spec": {"gatewayClassName": "nginx", "listeners": [
            https,
            {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": from_all},
        ]},
    });
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", "Gateway"));
    apply(
        Api::namespaced_with(client.clone(), name, &kind),
        name,
        &gateway,
    )
    .await;
}

async fn apply(api: Api<DynamicObject>, name: &str, object: &Value) {
    let parameters = PatchParams::apply("cluster-tests").force();
    let applied = api.patch(name, &parameters, &Patch::Apply(object)).await;
    applied.unwrap_or_else(|error| panic!("{object}: {error}"));
}
