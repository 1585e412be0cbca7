//! A small TCP balancer in front of the replicas: connections go round, and one that is refused is
//! tried at the next replica.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A port of loopback that leads to the replicas. It ends when dropped.
pub(crate) struct Balancer {
    /// Where apps reach AIP.
    pub(crate) address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn start(replicas: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, replicas.into()));
        Ok(Self {
            address,
            _accepting: accepting,
        })
    }
}

async fn accept(listener: TcpListener, replicas: Arc<[SocketAddr]>) {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                connections.spawn(forward(client, Arc::clone(&replicas), turn));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends without an answer when no replica takes the connection.
async fn forward(mut client: TcpStream, replicas: Arc<[SocketAddr]>, turn: usize) {
    for offset in 0..replicas.len() {
        let replica = replicas[(turn + offset) % replicas.len()];
        if let Ok(mut replica) = TcpStream::connect(replica).await {
            // How a connection ends is the business of both ends.
            let _closed = tokio::io::copy_bidirectional(&mut client, &mut replica).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A replica that says its name.
    async fn replica(name: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                assert_eq!(stream.try_write(name).unwrap(), name.len());
            }
        });
        address
    }

    async fn ask(balancer: &Balancer) -> String {
        let mut text = String::new();
        let mut stream = TcpStream::connect(balancer.address).await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn connections_go_round_and_pass_by_those_who_refuse() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = gone.local_addr().unwrap();
        drop(gone);
        let replicas = vec![replica(b"a").await, refuses, replica(b"b").await];
        let balancer = Balancer::start(replicas).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(ask(&balancer).await);
        }
        assert_eq!(answers, ["a", "b", "b", "a", "b", "b"]);
    }
}
