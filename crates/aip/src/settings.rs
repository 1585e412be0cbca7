//! From settings to the crates' own configurations.

use std::net::SocketAddr;
use std::sync::Arc;

use aip_base::{SystemClock, SystemRng};
use aip_config::{
    ClientRegistration, Clients, Config, DevelopmentHost, LoadedConfig, Log, LogFormat,
    MAX_TOKEN_LIFETIME, PUBLIC_KEYS_CACHE_TIME, Redis, Server, Tokens, Upstream,
};
use aip_events::{EventServer, Following, Timing};
use aip_http::{TrustedProxies, V1Names};
use aip_keys::RotationPolicy;
use aip_listen::{ListenConfig, Tls, TlsError, TlsFiles};
use aip_oauth::client_registration::RegistrationMode;
use aip_oauth::{MAX_REFRESH_TTL, RegistrationPolicy};
use aip_outbound::{Development, OperatorHttp, OperatorStreams, OutboundConfig};
use aip_pds::ResolverConfig;
use aip_shared_state::valkey::ValkeyConfig;
use aip_telemetry::LogConfig;
use aip_xrpc::quota::CallLimits;
use anyhow::Context as _;

use crate::app::{AppConfig, ClientDocument, OperatorDial, POLL_INTERVAL};

/// The scopes that are AIP's own to give; everything else is the PDS's.
const OPENID_SCOPES: &str = "openid profile email offline_access";

/// The application.
pub(crate) fn app(loaded: &LoadedConfig) -> anyhow::Result<AppConfig> {
    let config = &loaded.config;
    let document = &config.client_document;
    let scope = &document.scope;
    let server = &config.server;
    Ok(AppConfig {
        external_base: loaded.external_base.clone(),
        worker_id: server.worker_id.clone().unwrap_or_else(worker_id),
        brand: config.brand.name.clone(),
        scopes_supported: format!("{OPENID_SCOPES} {scope}")
            .parse()
            .context("client_document.scope")?,
        email_verifiers: config.upstream.email_verifiers.clone(),
        client_document: ClientDocument {
            name: Some(document.name.clone()),
            logo_uri: document.logo.clone(),
            tos_uri: document.tos.clone(),
            policy_uri: document.policy.clone(),
            scope: scope.parse().context("client_document.scope")?,
        },
        resolver: resolver(&config.upstream),
        require_par: config.clients.require_pushed_requests,
        client_assertions: config.clients.assertion_backend_0010,
        registration: registration(&config.clients, &config.tokens),
        max_document_clients: config
            .clients
            .metadata_documents
            .then_some(config.clients.max_document_clients.get() as u64),
        admin_dids: config.clients.admin_dids.clone(),
        rate_limits: server.rate_limits,
        call_limits: call_limits(server),
        events: event_server(loaded)?,
        proxies: TrustedProxies::new(
            server.trusted_proxies.clone(),
            server.forwarded_header.clone(),
        ),
        v1: v1_names(loaded)?,
    })
}

/// The names of AIP v1, if they are switched on.
fn v1_names(loaded: &LoadedConfig) -> anyhow::Result<Option<V1Names>> {
    let compat = &loaded.config.compat;
    let client = match &compat.v1_client {
        Some(id) if compat.v1 => id.parse().context("compat.v1_client")?,
        _ => return Ok(None),
    };
    Ok(Some(V1Names {
        origins: loaded.v1_origins(),
        destination: compat.v1_destination.clone(),
        default_destination: compat.v1_default_destination.clone(),
        development: loaded.config.upstream.development,
        ..V1Names::new(client)
    }))
}

/// When keys are rotated. Public keys may be cached from a process that has not learned of a change
/// yet, and it signs with the key before for as long.
pub(crate) fn key_rotation(config: &Config) -> RotationPolicy {
    let publish_before_use = PUBLIC_KEYS_CACHE_TIME + 2 * POLL_INTERVAL;
    RotationPolicy {
        upstream_every: config.keys.rotate_upstream_every,
        oidc_every: config.keys.rotate_oidc_every,
        service_auth_every: config.keys.rotate_service_auth_every,
        publish_before_use,
        publish_after_use: publish_before_use + MAX_TOKEN_LIFETIME,
        // An app may hold the ID token of a grant for as long as the grant lasts without being used,
        // which an operator may set for one app alone.
        verify_after_retirement: MAX_REFRESH_TTL,
    }
}

pub(crate) fn log(log: &Log) -> LogConfig {
    LogConfig {
        format: match log.format {
            LogFormat::Json => aip_telemetry::LogFormat::Json,
            LogFormat::Pretty => aip_telemetry::LogFormat::Pretty,
        },
        filter: log.filter.as_str().to_owned(),
        colours: crate::output::colours_on_stderr(),
    }
}

/// The limits of the listener `name`.
pub(crate) fn listen(server: &Server, name: &'static str) -> ListenConfig {
    ListenConfig {
        name,
        max_connections: server.max_connections.get(),
        header_read_timeout: server.header_timeout,
        drain_timeout: server.drain_timeout,
        ..ListenConfig::default()
    }
}

/// The certificate of the public listener, if it speaks TLS itself.
pub(crate) fn tls(server: &Server) -> Result<Option<Arc<Tls>>, TlsError> {
    let (Some(certificates), Some(key)) = (&server.tls_cert_file, &server.tls_key_file) else {
        return Ok(None);
    };
    let files = TlsFiles {
        certificates: certificates.clone(),
        key: key.clone(),
    };
    Ok(Some(Arc::new(Tls::load(files)?)))
}

/// Which clients may register themselves. Their scopes are those of the discovery document.
fn registration(clients: &Clients, tokens: &Tokens) -> RegistrationPolicy {
    RegistrationPolicy {
        mode: match clients.registration {
            ClientRegistration::Off => RegistrationMode::Off,
            ClientRegistration::Token => RegistrationMode::Token,
            ClientRegistration::Open => RegistrationMode::Open,
        },
        max_clients: clients.max_registered.get() as u64,
        unused_ttl: clients.unused_registration_ttl,
        require_pkce: clients.registered_require_pkce,
        access_token_ttl: tokens.access_ttl,
        refresh_token_ttl: tokens.refresh_ttl,
        refresh_grace: tokens.refresh_grace,
        ..RegistrationPolicy::default()
    }
}

/// How many calls on PDSs an app may make.
fn call_limits(server: &Server) -> Option<CallLimits> {
    server.rate_limits.then_some(CallLimits {
        account: server.xrpc_calls_per_account,
        client: server.xrpc_calls_per_app,
    })
}

/// What is wrong if callers cannot be distinguished: browsers reach the server over TLS, which it does
/// not speak itself, so there is a proxy in front, and none is trusted.
pub(crate) fn untrusted_proxy(loaded: &LoadedConfig) -> Option<&'static str> {
    let server = &loaded.config.server;
    let behind_one = loaded.external_base.is_https() && server.tls_cert_file.is_none();
    (server.rate_limits && behind_one && server.trusted_proxies.is_empty()).then_some(
        "TLS ends at a proxy in front of this server, and no proxy is trusted: rate limits count \
         all callers as one",
    )
}

/// The way out. Reads the certificate bundles.
pub(crate) fn outbound(loaded: &LoadedConfig) -> anyhow::Result<OutboundConfig> {
    let upstream = &loaded.config.upstream;
    let defaults = OutboundConfig::default();
    let hosts = upstream.development_hosts.iter();
    let development = upstream.development.then(|| Development {
        hosts: hosts
            .map(|host| (host.name.clone(), development_address(host)))
            .collect(),
        allow_loopback: loaded.opens_loopback(),
    });
    Ok(OutboundConfig {
        user_agent: upstream.user_agent.clone().unwrap_or(defaults.user_agent),
        connect_timeout: upstream.connect_timeout,
        extra_ca_pem: certificate_bundles(upstream)?,
        extra_ports: upstream.extra_ports.clone(),
        nameservers: upstream.nameservers.iter().map(|server| server.0).collect(),
        development,
        ..defaults
    })
}

/// The certificate authorities to trust besides the system's, as PEM.
pub(crate) fn certificate_bundles(upstream: &Upstream) -> anyhow::Result<Vec<Vec<u8>>> {
    let bundles = upstream.certificate_bundles.iter().map(|path| {
        std::fs::read(path)
            .with_context(|| format!("upstream.certificate_bundles: {}", path.display()))
    });
    bundles.collect()
}

/// The stream of events to follow, if one is named. Reads the certificate bundles.
pub(crate) fn following(loaded: &LoadedConfig) -> anyhow::Result<Option<Following>> {
    let Some(server) = event_server(loaded)? else {
        return Ok(None);
    };
    let bundles = certificate_bundles(&loaded.config.upstream)?;
    Ok(Some(Following {
        server,
        compress: loaded.config.events.compress,
        dial: Arc::new(OperatorDial(OperatorStreams::new(&bundles)?)),
        http: Arc::new(OperatorHttp::new(&bundles)?),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        timing: Timing::default(),
    }))
}

fn event_server(loaded: &LoadedConfig) -> anyhow::Result<Option<EventServer>> {
    let url = loaded.config.events.jetstream_url.as_ref();
    let server = url.map(|url| url.as_str().parse());
    server.transpose().context("events.jetstream_url")
}

/// The server for what replicas share. Reads the file of certificate authorities.
pub(crate) fn valkey(redis: &Redis) -> anyhow::Result<Option<ValkeyConfig>> {
    let Some(url) = &redis.url else {
        return Ok(None);
    };
    let url = url.expose().parse().context("redis.url")?;
    let config = ValkeyConfig::new(url, redis.ca_file.as_ref()).context("redis.ca_file")?;
    Ok(Some(config))
}

/// Port 0 stands for the port of the URL.
fn development_address(host: &DevelopmentHost) -> SocketAddr {
    SocketAddr::new(host.address, host.port.unwrap_or(0))
}

/// How handles and DIDs are resolved.
pub(crate) fn resolver(upstream: &Upstream) -> ResolverConfig {
    ResolverConfig {
        plc: upstream.plc_urls.clone(),
        handle_fallback: upstream.handle_resolvers.clone(),
        development: upstream.development,
        ..ResolverConfig::default()
    }
}

/// The host's name and the process id: two processes of one host must not share a name.
pub(crate) fn worker_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use aip_config::OWN_PATHS;
    use aip_http::Endpoint;
    use strum::IntoEnumIterator as _;

    /// Below such a path nobody could tell whether a proxy took the base path away.
    #[test]
    fn no_base_path_begins_as_an_endpoint_does() {
        for endpoint in Endpoint::iter() {
            let path = endpoint.spec().path;
            let first = path.split('/').nth(1).unwrap();
            assert!(first.is_empty() || OWN_PATHS.contains(&first), "{path}");
        }
    }
}
