//! Clusters behind a proxy, as `proxy-url` of the kubeconfig and the environment name it. The
//! proxies are real ones, of a few lines each; they alone know where `kubernetes.example` is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cluster::ControlPlane;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::test_project::TestProject;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `CONNECT`.
    Http,
    /// RFC 1928 and RFC 1929.
    Socks5,
}

/// A proxy that leads everything to this machine, and wants a password.
struct Proxy {
    address: String,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tunnels);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let served = match kind {
                        Kind::Http => connect(stream, &count).await,
                        Kind::Socks5 => socks(stream, &count).await,
                    };
                    // Clients hang up whenever they like.
                    drop(served);
                });
            }
        });
        Self { address, tunnels }
    }

    fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::SeqCst)
    }
}

/// Leads on to that port of this machine.
async fn lead(mut from: TcpStream, port: u16, count: &AtomicUsize) -> std::io::Result<()> {
    count.fetch_add(1, Ordering::SeqCst);
    let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
    copy_bidirectional(&mut from, &mut to).await.map(drop)
}

async fn connect(mut stream: TcpStream, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT kubernetes.example:");
    let port = target.and_then(|rest| rest.split(' ').next()?.parse().ok());
    // Base64 of `us er:p:ss`.
    let known = head
        .to_ascii_lowercase()
        .contains(&"\r\nproxy-authorization: basic dXMgZXI6cDpzcw==".to_ascii_lowercase());
    match port.filter(|_| known) {
        Some(port) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            lead(stream, port, count).await
        }
        None => stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await,
    }
}

async fn socks(mut stream: TcpStream, count: &AtomicUsize) -> std::io::Result<()> {
    async fn text(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let length = stream.read_u8().await?;
        let mut text = vec![0; usize::from(length)];
        stream.read_exact(&mut text).await?;
        Ok(text)
    }
    // Version 5 and the ways to log in; the password is chosen.
    stream.read_u8().await?;
    text(&mut stream).await?;
    stream.write_all(&[5, 2]).await?;
    stream.read_u8().await?;
    let login = (text(&mut stream).await?, text(&mut stream).await?);
    let known = login == (b"us er".to_vec(), b"p:ss".to_vec());
    stream.write_all(&[1, u8::from(!known)]).await?;
    // Version 5, CONNECT, reserved, a host name.
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = text(&mut stream).await?;
    let port = stream.read_u16().await?;
    let found = known && request == [5, 1, 0, 3] && host == b"kubernetes.example";
    let reply = [5, u8::from(!found) * 4, 0, 1, 0, 0, 0, 0, 0, 0];
    stream.write_all(&reply).await?;
    if found {
        lead(stream, port, count).await
    } else {
        Ok(())
    }
}

/// A kubeconfig for the shared cluster under a name that only the proxies know.
fn kubeconfig(project: &TestProject, text: &str, proxy: Option<&str>) -> std::path::PathBuf {
    let mut config: Value = serde_json::from_str(text).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap();
    cluster["server"] = server.replace("127.0.0.1", "kubernetes.example").into();
    cluster["tls-server-name"] = "127.0.0.1".into();
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = proxy.into();
    }
    let path = project.state().join("../proxied.conf");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_behind_a_proxy_is_reached_as_kubectl_reaches_it() {
    let mut project = TestProject::new("proxied").await;
    let admin = ControlPlane::shared().await.kubeconfig();
    let text = std::fs::read_to_string(&admin).unwrap();
    for (kind, scheme) in [(Kind::Http, "http"), (Kind::Socks5, "socks5")] {
        let proxy = Proxy::start(kind).await;
        let url = format!("{scheme}://us%20er:p%3Ass@{}", proxy.address);

        // `proxy-url` counts whatever the environment says.
        let path = kubeconfig(&project, &text, Some(&url));
        project.use_kubeconfig(path);
        let mut command = project.command(&["up", "--yes", "--timeout", "120"]);
        let output = command.env("NO_PROXY", "*").output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let tunnels = proxy.tunnels();
        assert!(tunnels > 0, "{scheme}: not through the proxy");

        // The environment's proxy, unless NO_PROXY names the cluster.
        let path = kubeconfig(&project, &text, None);
        project.use_kubeconfig(path);
        let run = async |exceptions: &str| {
            let mut command = project.command(&["preview"]);
            command.env("HTTPS_PROXY", &url).env("NO_PROXY", exceptions);
            command.output().await.unwrap()
        };
        let output = run("other.example, 10.0.0.0/8").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(proxy.tunnels() > tunnels, "{scheme}: not through the proxy");
        let tunnels = proxy.tunnels();
        let output = run("kubernetes.example").await;
        assert_eq!(output.status.code(), Some(1), "nobody else knows the name");
        assert_eq!(proxy.tunnels(), tunnels);

        // A wrong password is the proxy's refusal, and is not repeated.
        let wrong = format!("{scheme}://us%20er:hunter3@{}", proxy.address);
        let path = kubeconfig(&project, &text, Some(&wrong));
        project.use_kubeconfig(path);
        project
            .run(&["preview"])
            .await
            .exits(1)
            .says(&format!("through the proxy {scheme}://{}", proxy.address))
            .does_not_say("hunter3");
    }

    // A cluster on this machine needs no proxy.
    project.use_kubeconfig(admin);
    let mut command = project.command(&["preview"]);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
