//! etcd, kube-apiserver and kube-controller-manager on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::daemon::Daemon;
use crate::pki::{Authority, TokenKeys};
use crate::poll::eventually;
use crate::reaper::Reaper;
use crate::{kubeconfig, ports, programs};

/// The group that may do everything.
pub(crate) const ADMIN_GROUP: &str = "system:masters";
/// How long a program may take to get ready on a machine that builds something else meanwhile.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Another process may take a port between our look and the server's start.
const MAX_START_ATTEMPTS: usize = 3;

/// A running cluster without nodes. It ends when dropped, and with the test program at the latest.
pub struct ControlPlane {
    context: String,
    port: u16,
    authority: Authority,
    // The order in which they are dropped: clients of a server before the server.
    _controllers: Daemon,
    _api: Daemon,
    _etcd: Daemon,
    reaper: Reaper,
}

/// Somebody who can log in to the cluster.
pub struct User {
    /// A kubeconfig of their own.
    pub kubeconfig: PathBuf,
    /// A client in their name.
    pub client: Client,
}

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

impl ControlPlane {
    /// A new cluster, whose context is called `test`.
    ///
    /// # Panics
    ///
    /// If it does not start; the reason is in the message.
    pub async fn start() -> Self {
        Self::start_as("test").await
    }

    /// A new cluster with a context of this name: names may repeat, clusters do not.
    ///
    /// # Panics
    ///
    /// If it does not start; the reason is in the message.
    pub async fn start_as(context: &str) -> Self {
        let programs = programs::folder();
        let mut failures = Vec::new();
        for _ in 0..MAX_START_ATTEMPTS {
            match Self::attempt(context, &programs).await {
                Ok(cluster) => return cluster,
                Err(failure) => failures.push(failure),
            }
        }
        panic!("no control plane:\n{}", failures.join("\n"));
    }

    /// The cluster that the tests of one program share; each takes a [`namespace`] of its own.
    ///
    /// [`namespace`]: ControlPlane::namespace
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// The name of its context in every kubeconfig.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The kubeconfig of `admin`, who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.reaper.folder().join("admin.conf")
    }

    /// A new client of `admin`. A client belongs to the runtime it was made in: every test makes
    /// its own.
    ///
    /// # Panics
    ///
    /// If the working folder was removed.
    pub async fn client(&self) -> Client {
        let text = fs::read_to_string(self.kubeconfig()).expect("the cluster's folder is there");
        kubeconfig::client(&text).await
    }

    /// A user in a group, with the rights that the cluster's roles give them, none at first.
    ///
    /// # Panics
    ///
    /// If the working folder was removed.
    pub async fn user(&self, name: &str, group: &str) -> User {
        let (path, text) = self.write_user(name, group);
        let client = kubeconfig::client(&text).await;
        User {
            kubeconfig: path,
            client,
        }
    }

    /// A new namespace, whose name begins with `prefix`, ready for Pods.
    ///
    /// # Panics
    ///
    /// If the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> String {
        let client = self.client().await;
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{prefix}-")),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let made = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await;
        let name = made.expect("a namespace can be made").name_any();
        // Before the controllers have made it, Pods are refused.
        let accounts = Api::<ServiceAccount>::namespaced(client, &name);
        eventually("the ServiceAccount `default`", async || {
            accounts.get("default").await
        })
        .await;
        name
    }

    /// What is asked of the API server from now on.
    pub fn audit(&self) -> Audit {
        Audit::from_now(self.reaper.folder().join("audit.log"))
    }

    /// The kubeconfig of a user, as a file and as its text.
    pub(crate) fn write_user(&self, name: &str, group: &str) -> (PathBuf, String) {
        let address = address(&self.context, self.port, &self.authority);
        let text = kubeconfig::text(&address, name, self.authority.user(name, group));
        let path = write(self.reaper.folder(), &format!("{name}.conf"), &text);
        (path, text)
    }

    /// What no other cluster of this machine has now.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    async fn attempt(context: &str, programs: &Path) -> Result<Self, String> {
        let reaper = Reaper::start();
        let folder = reaper.folder();
        let authority = Authority::new();
        let port = ports::free();
        write_keys(folder, &authority);

        let mut etcd = Daemon::start("etcd", programs, &etcd_arguments(), &reaper);
        let socket = folder.join("etcd:1");
        ready(&mut etcd, async || {
            UnixStream::connect(&socket).await.map(drop)
        })
        .await?;

        let arguments = api_arguments(folder, port);
        let mut api = Daemon::start("kube-apiserver", programs, &arguments, &reaper);
        let address = address(context, port, &authority);
        let admin = kubeconfig::text(&address, "admin", authority.user("admin", ADMIN_GROUP));
        let client = kubeconfig::client(&admin).await;
        ready(&mut api, async || {
            let request = http::Request::get("/readyz").body(Vec::new());
            client
                .request_text(request.expect("the request is valid"))
                .await
        })
        .await?;

        write(folder, "admin.conf", &admin);
        let user = "system:kube-controller-manager";
        let controllers = kubeconfig::text(&address, user, authority.user(user, ADMIN_GROUP));
        write(folder, "controllers.conf", &controllers);
        let arguments = controller_arguments(folder, ports::free());
        let mut controllers =
            Daemon::start("kube-controller-manager", programs, &arguments, &reaper);
        // Without it no Pod is admitted; that it exists shows that the controllers are at work.
        let accounts = Api::<ServiceAccount>::namespaced(client, "default");
        ready(&mut controllers, async || accounts.get("default").await).await?;

        Ok(Self {
            context: context.to_owned(),
            port,
            authority,
            _controllers: controllers,
            _api: api,
            _etcd: etcd,
            reaper,
        })
    }
}

/// Asks until the program answers; an error if it ends or takes too long.
async fn ready<T, E: std::fmt::Display>(
    daemon: &mut Daemon,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let Err(refusal) = ask().await else {
            return Ok(());
        };
        if let Some(exit_message) = daemon.exit_message() {
            return Err(exit_message);
        }
        if Instant::now() >= deadline {
            return Err(format!("not ready in time: {refusal}"));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn address<'a>(context: &'a str, port: u16, authority: &Authority) -> kubeconfig::Address<'a> {
    kubeconfig::Address {
        context,
        server: format!("https://127.0.0.1:{port}"),
        authority: authority.pem(),
    }
}

fn write_keys(folder: &Path, authority: &Authority) {
    let server = authority.server("kube-apiserver");
    let tokens = TokenKeys::new();
    write(folder, "ca.crt", &authority.pem());
    write(folder, "server.crt", &server.certificate);
    write(folder, "server.key", &server.key);
    write(folder, "tokens.key", &tokens.private);
    write(folder, "tokens.pub", &tokens.public);
    write(folder, "audit.json", include_str!("audit.json"));
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("the working folder is writable");
    path
}

/// etcd speaks plain HTTP without a login, so it stays on Unix sockets in the working folder. It
/// insists on `host:port`, hence the names.
fn etcd_arguments() -> Vec<String> {
    [
        "--data-dir=etcd",
        "--listen-client-urls=unix://etcd:1",
        "--advertise-client-urls=unix://etcd:1",
        "--listen-peer-urls=unix://etcd:2",
        "--initial-advertise-peer-urls=unix://etcd:2",
        "--initial-cluster=default=unix://etcd:2",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    .map(str::to_owned)
    .into()
}

fn api_arguments(folder: &Path, port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers=unix://{folder}/etcd:1"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none".to_owned(),
        "--tls-cert-file=server.crt".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        "--client-ca-file=ca.crt".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--anonymous-auth=false".to_owned(),
        // The names of our nodes are not in DNS.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--service-account-key-file=tokens.pub".to_owned(),
        "--service-account-signing-key-file=tokens.key".to_owned(),
        "--audit-policy-file=audit.json".to_owned(),
        "--audit-log-path=audit.log".to_owned(),
    ]
}

fn controller_arguments(folder: &Path, port: u16) -> Vec<String> {
    vec![
        format!("--kubeconfig={}/controllers.conf", folder.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
        "--root-ca-file=ca.crt".to_owned(),
        "--service-account-private-key-file=tokens.key".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]
}
