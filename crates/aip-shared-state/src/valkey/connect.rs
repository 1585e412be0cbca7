//! Making connections: to the one server, to the primary that Sentinels name, to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
};
use secrecy::ExposeSecret as _;

use super::url::{HostPort, Login, Sentinels, Servers};
use super::{COMMAND_TIMEOUT, ValkeyConfig};

/// How long one server may take to accept a connection and the login on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes what a server says unasked.
pub(super) type PushHandler = std::sync::Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A connection. Cheap to clone; all clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server. Boxed, as the other is small.
    Server(Box<MultiplexedConnection>),
    /// To the servers of a cluster. It heals itself when one of them goes.
    Cluster(ClusterConnection),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A server refused, or did not answer.
    #[error("{server}: {error}")]
    Server {
        /// Host and port.
        server: String,
        /// The error that the client library reports.
        error: RedisError,
    },
    /// No Sentinel knows the group.
    #[error("no Sentinel names a primary of `{service}`: {reason}")]
    NoPrimary {
        /// The group.
        service: String,
        /// What was wrong with the last one.
        reason: String,
    },
    /// What a Sentinel takes for the primary is none, so that writing there would be lost.
    #[error("{server} is named as primary and is none")]
    NotPrimary {
        /// Host and port.
        server: String,
    },
    /// The file of certificate authorities is not usable.
    #[error("{}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It takes too long.
    #[error("no connection in time")]
    TimedOut,
}

impl Connection {
    /// Connects and listens on `channel`.
    pub(super) async fn connect(
        config: &ValkeyConfig,
        channel: &str,
        on_push: &PushHandler,
    ) -> Result<Self, ConnectError> {
        let url = &config.url;
        match &url.servers {
            Servers::Cluster(hosts) => {
                let connection = connect_cluster(config, hosts, channel, on_push).await;
                connection.map_err(|error| ConnectError::Server {
                    server: url.to_string(),
                    error,
                })
            }
            Servers::Sentinel(sentinels) => {
                let primary = primary(config, sentinels).await?;
                let at = primary.to_string();
                let address = config.address(&primary);
                let mut connection =
                    connect_server(config, &address, at.clone(), channel, on_push).await?;
                let role = connection.query(redis::cmd("ROLE")).await;
                match role.map(|role| is_primary(&role)) {
                    Ok(true) => Ok(connection),
                    Ok(false) => Err(ConnectError::NotPrimary { server: at }),
                    Err(error) => Err(ConnectError::Server { server: at, error }),
                }
            }
            Servers::One(host) => {
                let address = config.address(host);
                connect_server(config, &address, host.to_string(), channel, on_push).await
            }
            Servers::Socket(path) => {
                let address = ConnectionAddr::Unix(path.clone());
                connect_server(config, &address, url.to_string(), channel, on_push).await
            }
        }
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn query(&mut self, command: Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Server(connection) => connection.req_packed_command(&command).await,
            Self::Cluster(connection) => connection.req_packed_command(&command).await,
        }?
        .extract_error()
    }
}

impl ValkeyConfig {
    fn address(&self, at: &HostPort) -> ConnectionAddr {
        let HostPort { host, port } = at.clone();
        if self.url.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    /// Whom to trust instead of the system's authorities.
    fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: None,
            root_cert: self.authorities.clone(),
        }
    }

    fn client(
        &self,
        address: &ConnectionAddr,
        login: &Login,
        database: u16,
    ) -> Result<Client, RedisError> {
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(database.into());
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.expose_secret());
        }
        let info: ConnectionInfo = address.clone().into_connection_info()?;
        let tls = matches!(address, ConnectionAddr::TcpTls { .. });
        let info = info.set_redis_settings(settings);
        if tls {
            Client::build_with_tls(info, self.certificates())
        } else {
            Client::open(info)
        }
    }
}

fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(COMMAND_TIMEOUT))
}

/// What hands every push to `on_push`.
fn push_sender(on_push: &PushHandler) -> impl AsyncPushSender {
    let on_push = std::sync::Arc::clone(on_push);
    move |info: PushInfo| {
        on_push(info);
        Ok::<(), ()>(())
    }
}

async fn connect_server(
    config: &ValkeyConfig,
    address: &ConnectionAddr,
    name: String,
    channel: &str,
    on_push: &PushHandler,
) -> Result<Connection, ConnectError> {
    let connect = async {
        let client = config.client(address, &config.url.login, config.url.database)?;
        let connection_config = connection_config().set_push_sender(push_sender(on_push));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&connection_config)
            .await?;
        connection.subscribe(channel).await?;
        Ok(Connection::Server(Box::new(connection)))
    };
    connect.await.map_err(|error| ConnectError::Server {
        server: name,
        error,
    })
}

async fn connect_cluster(
    config: &ValkeyConfig,
    hosts: &[HostPort],
    channel: &str,
    on_push: &PushHandler,
) -> Result<Connection, RedisError> {
    let addresses = hosts.iter().map(|host| config.address(host));
    let mut builder = ClusterClient::builder(addresses)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(COMMAND_TIMEOUT)
        .retries(1)
        .push_sender(push_sender(on_push));
    if config.url.tls {
        builder = builder.tls(TlsMode::Secure).certs(config.certificates());
    }
    let login = &config.url.login;
    if let Some(user) = &login.user {
        builder = builder.username(user);
    }
    if let Some(password) = &login.password {
        builder = builder.password(password.expose_secret());
    }
    let mut connection = builder.build()?.get_async_connection().await?;
    connection.subscribe(channel).await?;
    Ok(Connection::Cluster(connection))
}

/// Asks the Sentinels in turn; the first that knows is believed, as its word is checked.
async fn primary(config: &ValkeyConfig, sentinels: &Sentinels) -> Result<HostPort, ConnectError> {
    let mut reason = String::new();
    for sentinel in &sentinels.hosts {
        match ask_sentinel(config, sentinels, sentinel).await {
            Ok(Some(primary)) => return Ok(primary),
            Ok(None) => reason = format!("{sentinel} does not know it"),
            Err(error) => reason = format!("{sentinel}: {error}"),
        }
    }
    Err(ConnectError::NoPrimary {
        service: sentinels.service.clone(),
        reason,
    })
}

async fn ask_sentinel(
    config: &ValkeyConfig,
    sentinels: &Sentinels,
    at: &HostPort,
) -> Result<Option<HostPort>, RedisError> {
    let client = config.client(&config.address(at), &sentinels.login, 0)?;
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&connection_config())
        .await?;
    let mut question = redis::cmd("SENTINEL");
    question
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(&sentinels.service);
    let primary: Option<(String, u16)> = question.query_async(&mut connection).await?;
    Ok(primary.map(|(host, port)| HostPort { host, port }))
}

/// Reads the answer to `ROLE`.
fn is_primary(role: &Value) -> bool {
    let first = match role {
        Value::Array(role) => role.first(),
        _ => None,
    };
    matches!(first, Some(Value::BulkString(name)) if name == b"master")
}
