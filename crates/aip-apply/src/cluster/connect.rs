//! Makes a client for one named context of a kubeconfig, and for no other.
//!
//! The current context is never used, nor the account of a Pod: a command says which cluster it
//! means.

use std::path::PathBuf;
use std::time::Duration;

use aip_base::Environment;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{ExecConfig, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::credentials;
use super::proxy::{Kind, Proxy, proxy_for};
use crate::error_text::root_cause;

/// Where the kubeconfig is, and the environment that leads to clusters.
#[derive(Debug, Clone)]
pub struct Access {
    files: Vec<PathBuf>,
    environment: Environment,
}

/// A client for one kubeconfig context.
pub(super) struct Connection {
    /// Authenticated client, through the proxy if there is one.
    pub(super) client: Client,
    /// The proxy in between, without credentials.
    pub(super) proxy: Option<Uri>,
}

/// No client could be made for the context.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum ConnectError {
    #[error("no kubeconfig found: set KUBECONFIG or create ~/.kube/config")]
    NoKubeconfig,
    #[error("the kubeconfig {} cannot be read: {reason}", file.display())]
    Unreadable {
        file: PathBuf,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    #[error(
        "the kubeconfig has no context `{context}`, required by k8s_context; available contexts: {}",
        if available.is_empty() { "none".to_owned() } else { available.join(", ") }
    )]
    NoContext {
        context: String,
        /// Names of the contexts in the kubeconfig.
        available: Vec<String>,
    },
    #[error("context `{context}` cannot be used: {reason}")]
    Unusable {
        context: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    /// Its credentials cannot be had: a plugin failed, a token file is gone.
    #[error("the credentials of context `{context}` cannot be used: {reason}")]
    Credentials {
        context: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
}

/// A CLI does not wait longer for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Access {
    /// The files of `KUBECONFIG`, else `~/.kube/config`.
    pub fn new(environment: &Environment) -> Self {
        let files = match environment.non_empty("KUBECONFIG") {
            Some(list) => std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            None => environment
                .home()
                .map(|home| home.join(".kube").join("config"))
                .into_iter()
                .collect(),
        };
        Self {
            files,
            environment: environment.clone(),
        }
    }

    fn read(&self) -> Result<Kubeconfig, ConnectError> {
        let unreadable = |file: &PathBuf| {
            let file = file.clone();
            move |reason: kube::config::KubeconfigError| ConnectError::Unreadable {
                file,
                reason: kubeconfig_error(&reason),
            }
        };
        let mut merged: Option<Kubeconfig> = None;
        // kubectl skips files of the list that do not exist.
        for file in self.files.iter().filter(|file| file.exists()) {
            let one = Kubeconfig::read_from(file).map_err(unreadable(file))?;
            merged = Some(match merged {
                None => one,
                Some(before) => before.merge(one).map_err(unreadable(file))?,
            });
        }
        merged.ok_or(ConnectError::NoKubeconfig)
    }
}

/// Connects to the cluster of `context`.
pub(super) async fn connect(access: &Access, context: &str) -> Result<Connection, ConnectError> {
    let mut kubeconfig = access.read()?;
    let Some(named) = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
    else {
        return Err(ConnectError::NoContext {
            context: context.to_owned(),
            available: kubeconfig
                .contexts
                .into_iter()
                .map(|named| named.name)
                .collect(),
        });
    };
    let unusable = |reason: String| ConnectError::Unusable {
        context: context.to_owned(),
        reason,
    };
    let chosen = named.context.clone().unwrap_or_default();
    let cluster = kubeconfig
        .clusters
        .iter_mut()
        .find(|named| named.name == chosen.cluster)
        .and_then(|named| named.cluster.as_mut());
    let configured = match cluster {
        // The library reads HTTPS_PROXY where there is no `proxy-url`, and judges NO_PROXY by the
        // proxy's address: it gets a value that is thrown away below.
        Some(cluster) => cluster.proxy_url.replace(PLACEHOLDER_PROXY_URL.to_owned()),
        None => None,
    };
    let plugin = kubeconfig
        .auth_infos
        .iter()
        .find(|named| Some(&named.name) == chosen.user.as_ref())
        .and_then(|named| named.auth_info.as_ref()?.exec.clone());
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        cluster: None,
        user: None,
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unusable(kubeconfig_error(&error)))?;
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The library's retries go on for minutes; `send` has its own.
    config.default_retry = false;
    let proxy = proxy_for(
        &config.cluster_url,
        configured.as_deref(),
        &access.environment,
    )
    .map_err(|error| unusable(error.to_string()))?;
    let client = match &proxy {
        None => ClientBuilder::try_from(config).map(ClientBuilder::build),
        Some(proxy) => proxied_client(proxy, &config),
    };
    Ok(Connection {
        client: client.map_err(|error| failed(context, error, plugin.as_ref()))?,
        proxy: proxy.map(|proxy| proxy.address),
    })
}

/// Stands in for a proxy in what the library reads.
const PLACEHOLDER_PROXY_URL: &str = "http://unused.invalid";

fn failed(context: &str, error: kube::Error, plugin: Option<&ExecConfig>) -> ConnectError {
    let context = context.to_owned();
    match error {
        kube::Error::Auth(error) => ConnectError::Credentials {
            context,
            reason: credentials::failure(&error, plugin),
        },
        kube::Error::InferKubeconfig(error) => ConnectError::Unusable {
            context,
            reason: kubeconfig_error(&error),
        },
        other => ConnectError::Unusable {
            context,
            reason: root_cause(&other),
        },
    }
}

/// A client that reaches the cluster through a proxy.
fn proxied_client(proxy: &Proxy, config: &Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    match proxy.kind {
        Kind::Http => {
            let mut tunnel = Tunnel::new(proxy.address.clone(), tcp);
            if let Some((name, password)) = &proxy.user {
                let encoded = STANDARD.encode(format!("{name}:{password}"));
                // Base64 holds nothing that a header cannot carry.
                if let Ok(mut value) = HeaderValue::try_from(format!("Basic {encoded}")) {
                    value.set_sensitive(true);
                    tunnel = tunnel.with_auth(value);
                }
            }
            client(tunnel, config)
        }
        Kind::Socks5 => {
            let mut socks = SocksV5::new(proxy.address.clone(), tcp);
            if let Some((name, password)) = &proxy.user {
                socks = socks.with_auth(name.clone(), password.clone());
            }
            client(socks, config)
        }
    }
}

/// What the library makes of a configuration, over a connector of our own.
fn client<C>(connector: C, config: &Config) -> Result<Client, kube::Error>
where
    C: tower::Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: hyper_util::client::legacy::connect::Connection
        + hyper::rt::Read
        + hyper::rt::Write
        + Send
        + Unpin
        + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let auth = config.auth_layer()?;
    let https = config.rustls_https_connector_with_connector(connector)?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the cluster and the proxy are the operator's own, by the kubeconfig"
    )]
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Why a kubeconfig cannot be used. The library's sentences repeat the file's text around a
/// mistake, and that may be a token.
fn kubeconfig_error(error: &KubeconfigError) -> String {
    let data = |what: &str, error: &LoadDataError| match error {
        LoadDataError::DecodeBase64(_) => format!("the {what} is not base64"),
        LoadDataError::ReadFile(error, path) => {
            format!("the {what} {} cannot be read: {error}", path.display())
        }
        LoadDataError::NoBase64DataOrFile => format!("the {what} is missing"),
    };
    match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map_or(String::new(), |place| {
                format!(" at line {}, column {}", place.line(), place.column())
            });
            format!("it is not a kubeconfig{place}")
        }
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        KubeconfigError::LoadContext(name) => format!("it has no context `{name}`"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster `{name}`"),
        KubeconfigError::CurrentContextNotSet => "it has no current context".to_owned(),
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            "the files in KUBECONFIG differ in kind or apiVersion".to_owned()
        }
        KubeconfigError::FindPath => "it was not found".to_owned(),
        KubeconfigError::MissingClusterUrl => "its cluster has no `server`".to_owned(),
        KubeconfigError::ParseClusterUrl(_) => "its cluster's `server` is not a URL".to_owned(),
        KubeconfigError::ParseProxyUrl(_) => "its `proxy-url` is not a URL".to_owned(),
        KubeconfigError::LoadCertificateAuthority(error) => data("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("client certificate", error),
        KubeconfigError::LoadClientKey(error) => data("client key", error),
        KubeconfigError::ParseCertificates(_) => {
            "its certificate authority is not valid PEM".to_owned()
        }
    }
}
