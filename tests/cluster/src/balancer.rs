//! kube-proxy and a load balancer in one: a TCP port that leads to the ready Pods of a Service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, runtime};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::kubelet::local_address;
use crate::poll::eventually;

/// Takes connections on loopback and hands them to the ready endpoints in turn. It does not try
/// another endpoint when one refuses: a ready Pod that refuses is a lost request. It ends when
/// dropped.
pub struct Balancer {
    address: SocketAddr,
    slices: Store<EndpointSlice>,
    port: String,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// For the Service's port of this name (empty for a port without one).
    ///
    /// # Panics
    ///
    /// If loopback has no free port.
    pub async fn start(client: &Client, namespace: &str, service: &str, port: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");

        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let label = format!("kubernetes.io/service-name={service}");
        let (slices, writer) = reflector::store();
        let config = watcher::Config::default().labels(&label);
        let changes = runtime::watcher(api, config)
            .default_backoff()
            .reflect(writer);

        let mut tasks = JoinSet::new();
        tasks.spawn(changes.for_each(|_| std::future::ready(())));
        let _gone = slices.wait_until_ready().await;
        tasks.spawn(accept(listener, slices.clone(), port.to_owned()));
        Self {
            address,
            slices,
            port: port.to_owned(),
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until exactly so many Pods are ready.
    ///
    /// # Panics
    ///
    /// If there is another number of them for a minute.
    pub async fn wait_for(&self, count: usize) {
        eventually("ready endpoints", async || match self.endpoints() {
            endpoints if endpoints.len() == count => Ok(()),
            endpoints => Err(format!("{endpoints:?}")),
        })
        .await;
    }

    /// Where the ready Pods listen on this machine.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        ready(&self.slices, |_| true, &self.port)
    }
}

async fn accept(listener: TcpListener, slices: Store<EndpointSlice>, port: String) {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let endpoints = ready(&slices, |_| true, &port);
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let Some(endpoint) = endpoints.get(turn % endpoints.len().max(1)).copied() else {
            // Closed without an answer: the Service has no Pods.
            continue;
        };
        connections.spawn(async move {
            if let Ok(mut pod) = TcpStream::connect(endpoint).await {
                let _closed = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
            }
        });
    }
}

/// Endpoints that may be given new connections, of the slices that `is_meant` chooses: a Pod that is being
/// deleted is none.
pub(crate) fn ready(
    slices: &Store<EndpointSlice>,
    is_meant: impl Fn(&EndpointSlice) -> bool,
    port: &str,
) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = slices
        .state()
        .iter()
        .filter(|slice| is_meant(slice))
        .flat_map(|slice| {
            let mut ports = slice.ports.iter().flatten();
            let named = ports.find(|known| known.name.as_deref().unwrap_or_default() == port);
            let number = named.and_then(|port| u16::try_from(port.port?).ok());
            let ready = slice.endpoints.iter().filter(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.is_none_or(|conditions| conditions.ready != Some(false))
            });
            let hosts = ready.flat_map(|endpoint| &endpoint.addresses);
            hosts
                .filter_map(|host| host.parse().ok())
                .filter_map(move |host| Some(SocketAddr::new(local_address(host).into(), number?)))
                .collect::<Vec<_>>()
        })
        .collect();
    addresses.sort_unstable();
    addresses
}
