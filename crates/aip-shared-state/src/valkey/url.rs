//! The URL of a Valkey (or Redis) server, a group under Sentinel, or a cluster.
//!
//! | URL | what it names |
//! | --- | --- |
//! | `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]` | one server |
//! | `rediss://…` | the same over TLS |
//! | `unix://[USER[:PASSWORD]@]/PATH[?db=DATABASE]` | one server, at a Unix socket |
//! | `redis+sentinel://…HOST[:PORT],HOST[:PORT]/SERVICE[/DATABASE]` | the primary that the Sentinels name |
//! | `redis+cluster://…HOST[:PORT],HOST[:PORT]` or `redis://…?cluster=true` | a cluster |
//!
//! `valkey` may stand for `redis`; `rediss+sentinel` and `rediss+cluster` use TLS. Sentinels
//! with a password of their own have it in `?sentinel_username=…&sentinel_password=…`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Which servers, and how to sign in there.
#[derive(Debug, Clone)]
pub struct ValkeyUrl {
    /// Which servers.
    pub servers: Servers,
    /// Whether over TLS.
    pub tls: bool,
    /// Who we are towards the servers that hold data.
    pub login: Login,
    /// The number of the database; 0 in a cluster.
    pub database: u16,
}

/// Which servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// This one.
    One(HostPort),
    /// The one at this Unix socket.
    Socket(PathBuf),
    /// The primary of a group, whoever that is.
    Sentinel(Sentinels),
    /// All of a cluster, found from any of these.
    Cluster(Vec<HostPort>),
}

/// Who knows the primary of a group.
#[derive(Debug, Clone)]
pub struct Sentinels {
    /// Where they are.
    pub hosts: Vec<HostPort>,
    /// What they call the group.
    pub service: String,
    /// Who we are towards them.
    pub login: Login,
}

/// A user, and its password.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user; the default one unless given.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no URL of a Valkey server. Quotes nothing that may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValkeyUrlError {
    /// Another scheme, or none.
    #[error(
        "expected `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`"
    )]
    Scheme,
    /// No server is named.
    #[error("no host is named")]
    NoHost,
    /// Several servers where there can be one.
    #[error("several hosts need `redis+sentinel://` or `redis+cluster://`")]
    SeveralHosts,
    /// A host without end, or a port that is none.
    #[error("host number {0} is not HOST or HOST:PORT")]
    Host(usize),
    /// The name of the group is missing.
    #[error("Sentinels need the name of the service: `redis+sentinel://HOST:PORT/SERVICE`")]
    NoService,
    /// The path names no database.
    #[error("the database is not a number from 0 to 65535")]
    Database,
    /// A cluster has only one database.
    #[error("a cluster has no database besides number 0")]
    ClusterDatabase,
    /// Too much in the path.
    #[error("there is more in the path than the database")]
    Path,
    /// Percent-encoding that is no text.
    #[error("{0} is not percent-encoded UTF-8")]
    Encoding(&'static str),
    /// A parameter that means nothing.
    #[error("unknown parameter in the query: known are {KNOWN_PARAMETERS}")]
    Parameter,
}

const KNOWN_PARAMETERS: &str = "`db`, `cluster=true`, `sentinel_username`, `sentinel_password`";

/// The kinds of URLs, by scheme.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Socket,
    Sentinel,
    Cluster,
}

/// The query of a URL.
#[derive(Default)]
struct Query {
    database: Option<u16>,
    cluster: bool,
    sentinel: Login,
}

impl FromStr for ValkeyUrl {
    type Err = ValkeyUrlError;

    fn from_str(text: &str) -> Result<Self, ValkeyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ValkeyUrlError::Scheme)?;
        let (kind, tls) = kind(scheme).ok_or(ValkeyUrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = Query::parse(query)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let kind = match kind {
            Kind::Server if query.cluster => Kind::Cluster,
            kind => kind,
        };
        let path = path.trim_start_matches('/');
        let (servers, database) = match kind {
            Kind::Socket => {
                let path = decode(path, "the path")?;
                if path.is_empty() || !hosts.is_empty() {
                    return Err(ValkeyUrlError::NoHost);
                }
                (Servers::Socket(PathBuf::from(format!("/{path}"))), "")
            }
            Kind::Server => {
                let mut hosts = HostPort::list(hosts, SERVER_PORT)?.into_iter();
                let host = hosts.next().ok_or(ValkeyUrlError::NoHost)?;
                if hosts.next().is_some() {
                    return Err(ValkeyUrlError::SeveralHosts);
                }
                (Servers::One(host), path)
            }
            Kind::Cluster => (Servers::Cluster(HostPort::list(hosts, SERVER_PORT)?), path),
            Kind::Sentinel => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err(ValkeyUrlError::NoService);
                }
                let sentinels = Sentinels {
                    hosts: HostPort::list(hosts, SENTINEL_PORT)?,
                    service: decode(service, "the service")?,
                    login: query.sentinel,
                };
                (Servers::Sentinel(sentinels), database)
            }
        };
        let database = match database.trim_end_matches('/') {
            "" => query.database.unwrap_or_default(),
            path if path.contains('/') => return Err(ValkeyUrlError::Path),
            number => number.parse().map_err(|_| ValkeyUrlError::Database)?,
        };
        if matches!(servers, Servers::Cluster(_)) && database != 0 {
            return Err(ValkeyUrlError::ClusterDatabase);
        }
        Ok(Self {
            servers,
            tls,
            login,
            database,
        })
    }
}

/// What a scheme names, and whether over TLS.
fn kind(scheme: &str) -> Option<(Kind, bool)> {
    let (base, extension) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        "unix" if extension.is_empty() => return Some((Kind::Socket, false)),
        _ => return None,
    };
    let kind = match extension {
        "" => Kind::Server,
        "unix" if !tls => Kind::Socket,
        "sentinel" => Kind::Sentinel,
        "cluster" => Kind::Cluster,
        _ => return None,
    };
    Some((kind, tls))
}

impl Query {
    fn parse(text: &str) -> Result<Self, ValkeyUrlError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').ok_or(ValkeyUrlError::Parameter)? {
                ("db", number) => {
                    query.database = Some(number.parse().map_err(|_| ValkeyUrlError::Database)?);
                }
                ("cluster", "true") => query.cluster = true,
                ("cluster", "false") => query.cluster = false,
                ("sentinel_username", user) => query.sentinel.user = Some(decode(user, "a user")?),
                ("sentinel_password", password) => {
                    query.sentinel.password = Some(decode(password, "a password")?.into());
                }
                _ => return Err(ValkeyUrlError::Parameter),
            }
        }
        Ok(query)
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, ValkeyUrlError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(decode(password, "the password")?.into())),
            None => (text, None),
        };
        let user = decode(user, "the user")?;
        Ok(Self {
            user: (!user.is_empty()).then_some(user),
            password,
        })
    }
}

impl HostPort {
    fn list(text: &str, port: u16) -> Result<Vec<Self>, ValkeyUrlError> {
        if text.is_empty() {
            return Err(ValkeyUrlError::NoHost);
        }
        (1..)
            .zip(text.split(','))
            .map(|(number, host)| Self::parse(host, port).ok_or(ValkeyUrlError::Host(number)))
            .collect()
    }

    fn parse(text: &str, default: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port {
            "" => default,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!host.is_empty() && host.bytes().all(plain)).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Where, without who.
impl fmt::Display for ValkeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[HostPort]| {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            hosts.join(",")
        };
        let scheme = if self.tls { "rediss" } else { "redis" };
        match &self.servers {
            Servers::One(host) => write!(f, "{scheme}://{host}/{}", self.database),
            Servers::Socket(path) => write!(f, "unix://{}?db={}", path.display(), self.database),
            Servers::Sentinel(Sentinels { hosts, service, .. }) => {
                let hosts = list(hosts);
                write!(f, "{scheme}+sentinel://{hosts}/{service}/{}", self.database)
            }
            Servers::Cluster(hosts) => write!(f, "{scheme}+cluster://{}", list(hosts)),
        }
    }
}

impl PartialEq for Sentinels {
    /// By what they are; who we are towards them does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.hosts == other.hosts && self.service == other.service
    }
}

impl Eq for Sentinels {}

fn decode(text: &str, what: &'static str) -> Result<String, ValkeyUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(String::from)
        .map_err(|_| ValkeyUrlError::Encoding(what))
}
