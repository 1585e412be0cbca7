//! Scheduler, kubelet and container runtime in one: runs Pods as processes of this machine.
//!
//! It speaks the real protocol with the API server (nodes and leases, bindings, `status`, events,
//! the log endpoint) and reports the states, reasons and messages of the real components. What a
//! process sees differs from a container as little as it can without privileges:
//!
//! * an image is a program of this machine ([`Image`]);
//! * a Pod listens on a loopback address ([`local_address`]), not on an address of a network;
//! * there is one file system: volumes are private folders, and paths into them are rewritten in
//!   arguments and variables (`rewrite`), not in files; users and read-only roots are not enforced;
//! * probes are asked over HTTP without TLS, TCP, or by a command.

mod container;
mod environment;
mod events;
mod images;
mod log_server;
mod logs;
mod network;
mod node;
mod pod;
mod pods;
mod probes;
mod process;
mod quantity;
mod rewrite;
mod scheduler;
mod sources;
mod state;
mod time;
mod volumes;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;

pub use images::{Image, Images};
pub use network::local_address;
pub(crate) use time::now;

use crate::control_plane::{ADMIN_GROUP, ControlPlane};
use crate::kubeconfig;
use crate::pki::Identity;
use crate::reaper::Reaper;
use events::Events;
use logs::Logs;
use network::Network;

/// Its name in the audit log.
const USER: &str = "kubelet";

/// Nodes that run Pods. All processes end when it is dropped.
pub struct Kubelet {
    images: Images,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How many nodes, and how patient.
#[derive(Debug, Clone, Copy)]
pub struct Nodes {
    /// They are called `node-1`, `node-2`, …
    pub count: usize,
    /// The first pause after a failure (image pull, crash); it doubles up to 10 s. The real kubelet
    /// begins with 10 s and ends with 300 s.
    pub back_off: Duration,
}

/// What all Pods share.
pub(crate) struct KubeletShared {
    client: Client,
    nodes: Vec<String>,
    images: Images,
    network: Network,
    events: Events,
    logs: Logs,
    reaper: Reaper,
    back_off: Duration,
}

/// What the thread is given.
struct KubeletConfig {
    kubeconfig: String,
    server: Identity,
    nodes: Nodes,
    images: Images,
    network: Network,
    reaper: Reaper,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            count: 1,
            back_off: Duration::from_secs(1),
        }
    }
}

impl Kubelet {
    /// One node, ready for Pods.
    ///
    /// # Panics
    ///
    /// If the API server refuses the node.
    pub async fn start(cluster: &ControlPlane) -> Self {
        Self::start_with(cluster, Nodes::default()).await
    }

    /// Nodes of choice, ready for Pods.
    ///
    /// # Panics
    ///
    /// If the API server refuses a node.
    pub async fn start_with(cluster: &ControlPlane, nodes: Nodes) -> Self {
        let images = Images::default();
        let start = KubeletConfig {
            kubeconfig: cluster.write_user(USER, ADMIN_GROUP).1,
            server: cluster.authority().server("kubelet"),
            nodes,
            images: images.clone(),
            network: Network::new(cluster.port()),
            reaper: cluster.reaper().clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, readiness) = oneshot::channel();
        // A thread of its own, so that it outlives the test that has started it for all.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be made").block_on(async {
                tokio::select! {
                    () = start.run(ready) => {}
                    _ = stopped => {}
                }
            });
        });
        readiness.await.expect("the kubelet stand-in is ready");
        Self {
            images,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The registry that the nodes pull from.
    pub fn images(&self) -> &Images {
        &self.images
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl KubeletConfig {
    async fn run(self, ready: oneshot::Sender<()>) {
        let client = kubeconfig::client(&self.kubeconfig).await;
        let logs = Logs::default();
        let (port, serve_logs) = log_server::serve(&self.server, logs.clone())
            .await
            .expect("loopback has a free port");
        let nodes: Vec<String> = (1..=self.nodes.count)
            .map(|number| format!("node-{number}"))
            .collect();
        for node in &nodes {
            node::register(&client, node, port)
                .await
                .expect("the API server takes the node");
        }
        let (events, write_events) = Events::new(client.clone());
        let shared = Arc::new(KubeletShared {
            client: client.clone(),
            nodes: nodes.clone(),
            images: self.images,
            network: self.network,
            events: events.clone(),
            logs,
            reaper: self.reaper,
            back_off: self.nodes.back_off,
        });
        let _nobody_waits = ready.send(());
        tokio::join!(
            serve_logs,
            write_events,
            node::keep_alive(client.clone(), nodes),
            scheduler::run(client, events),
            pods::run(shared),
        );
    }
}
