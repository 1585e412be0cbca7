//! The table of settings. A new one is a row here; everything else follows.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aip_atproto::{BaseUrl, Did, Origin};
use aip_base::DatabaseUrl;
use http::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::table::settings;
use crate::types::{
    ClientRegistration, DevelopmentHost, EventStreamUrl, JsonWebKeys, LogFilter, LogFormat,
    NameServer, RedisUrl,
};

settings! {
    /// The listeners, and where the world finds them.
    server: Server {
        /// The address under which browsers, apps and PDSs reach this server, with a path if it
        /// shares its host with others; https unless it is loopback. Needed unless `listen` is
        /// loopback, or `0.0.0.0` or `[::]` together with `upstream.development`.
        external_base: Option<BaseUrl>,
            ["AIP_EXTERNAL_BASE", "EXTERNAL_BASE", "EXTERNAL_HOSTNAME" as bare_host];
        /// Where the public listener listens.
        listen: SocketAddr = "127.0.0.1:8080",
            ["AIP_LISTEN", "HTTP_PORT" as every_address, "PORT" as every_address];
        /// Where probes and metrics are served. Not for the public.
        internal_listen: SocketAddr = "127.0.0.1:9090", ["AIP_INTERNAL_LISTEN"];
        /// The folder of the SQLite database and of generated keys.
        data_dir: PathBuf = "./aip-data", ["AIP_DATA_DIR"];
        /// The name of this process in leases and logs. Host name and process id unless set.
        worker_id: Option<String>, ["AIP_WORKER_ID", "WORKER_ID"];
        /// PEM file with the certificate chain, to serve TLS without a proxy. Reloaded when it
        /// changes.
        tls_cert_file: Option<PathBuf>, ["AIP_TLS_CERT_FILE"];
        /// PEM file with the private key of the certificate.
        tls_key_file: Option<PathBuf>, ["AIP_TLS_KEY_FILE"];
        /// Connections at a time; further ones wait.
        max_connections: NonZeroUsize = "10000", ["AIP_MAX_CONNECTIONS"];
        /// How long the head of a request may take, and how long a connection may idle.
        header_timeout: Duration = "30s", ["AIP_HEADER_TIMEOUT"];
        /// How long requests are still accepted after readiness went off.
        shutdown_delay: Duration = "0s", ["AIP_SHUTDOWN_DELAY"];
        /// How long running requests may go on after the listener has closed.
        drain_timeout: Duration = "30s", ["AIP_DRAIN_TIMEOUT"];
        /// Networks of the proxies in front of this server, as `ADDRESS/BITS` or `ADDRESS`: only
        /// their word on a caller's address counts.
        trusted_proxies: Vec<IpNet> = "", ["AIP_TRUSTED_PROXIES"];
        /// The one header in which these proxies tell a caller's address: `X-Forwarded-For`,
        /// `Forwarded`, or one of their own like `CF-Connecting-IP`. They must overwrite it or
        /// add to it; any other header is the caller's own word and does not count.
        forwarded_header: HeaderName = "x-forwarded-for", ["AIP_FORWARDED_HEADER"];
        /// Whether calls are limited: by the network they come from, and on `/xrpc` by app.
        rate_limits: bool = "true", ["AIP_RATE_LIMITS"];
        /// Calls on `/xrpc` that one app may make for one account within five minutes, in each
        /// process.
        xrpc_calls_per_account: NonZeroUsize = "1000", ["AIP_XRPC_CALLS_PER_ACCOUNT"];
        /// Calls on `/xrpc` that one app may make at one PDS within five minutes, in each process.
        /// A PDS counts what comes from this server's address: the reference allows 3000.
        xrpc_calls_per_app: NonZeroUsize = "2000", ["AIP_XRPC_CALLS_PER_APP"];
    }

    /// Where everything is stored.
    database: Database {
        /// `postgres://…` or `sqlite://PATH`. The file `aip.db` in `server.data_dir` unless set.
        url: Option<DatabaseUrl>, ["AIP_DATABASE_URL", "DATABASE_URL", "PG_DSN"];
        /// The PostgreSQL database that `aip database move` moves this one to. The server goes on there as
        /// soon as it has been moved.
        next_url: Option<DatabaseUrl>, ["AIP_DATABASE_NEXT_URL"];
    }

    /// Valkey or Redis, for what replicas share besides the database. Not needed.
    redis: Redis {
        /// `redis://…`, `rediss://…`, `unix://…`, `redis+sentinel://HOST,HOST/SERVICE` or
        /// `redis+cluster://HOST,HOST`.
        url: Option<RedisUrl>, ["AIP_REDIS_URL", "REDIS_URL", "REDIS_DSN"];
        /// PEM file with the certificate authorities to trust there instead of the system's.
        ca_file: Option<PathBuf>, ["AIP_REDIS_CA_FILE"];
    }

    /// Keys that are kept outside the data folder.
    keys: Keys {
        /// The private signing keys, as a JWK Set or the path of a file with one. Generated in
        /// `server.data_dir` unless set.
        json_web_keys: Option<JsonWebKeys>, ["AIP_JSON_WEB_KEYS", "JSON_WEB_KEYS"];
        /// Ids of the keys that sign towards PDSs, the preferred one first.
        active_signing_keys: Vec<String> = "", ["AIP_ACTIVE_SIGNING_KEYS", "ACTIVE_SIGNING_KEYS"];
        /// The keys that protect the database, as JSON. Generated in `server.data_dir` unless
        /// set.
        master_keys: Option<SecretString>, ["AIP_MASTER_KEYS"];
        /// How long a key signs towards PDSs what is new, until the server puts another one in its
        /// place: `90d`. Sessions go on with the key that they began with. The server then keeps its
        /// signing keys in the database, sealed. Not rotated unless set.
        rotate_upstream_every: Option<Duration>, ["AIP_ROTATE_UPSTREAM_KEYS_EVERY"];
        /// How long a key signs towards apps, likewise. Not rotated unless set.
        rotate_oidc_every: Option<Duration>, ["AIP_ROTATE_OIDC_KEYS_EVERY"];
        /// How long the key of this server's own DID document signs, likewise. Not rotated unless set.
        rotate_service_auth_every: Option<Duration>, ["AIP_ROTATE_SERVICE_AUTH_KEYS_EVERY"];
    }

    /// Towards other servers: PDSs, PLC directories, DNS.
    upstream: Upstream {
        /// PLC directories, mirrors first; the last one is the authority.
        plc_urls: Vec<Origin> = "https://plc.directory",
            ["AIP_PLC_URLS", "PLC_HOSTNAME" as bare_host];
        /// Servers to ask for a handle that neither DNS nor its own host knows.
        handle_resolvers: Vec<Origin> = "", ["AIP_HANDLE_RESOLVERS"];
        /// Name servers instead of the system's, `ADDRESS` or `ADDRESS:PORT`.
        nameservers: Vec<NameServer> = "", ["AIP_DNS_NAMESERVERS", "DNS_NAMESERVERS"];
        /// PEM files with certificate authorities to trust besides the system's.
        certificate_bundles: Vec<PathBuf> = "",
            ["AIP_CERTIFICATE_BUNDLES", "CERTIFICATE_BUNDLES"];
        /// Origins of the PDSs whose word counts when they say that a person confirmed an e-mail
        /// address, such as `https://morel.us-east.host.bsky.network`. From any other PDS
        /// `email_verified` is false: anybody can run one that says what it likes.
        email_verifiers: Vec<Origin> = "", ["AIP_EMAIL_VERIFIERS"];
        /// The `User-Agent` of requests to other servers. `aip/VERSION` unless set.
        user_agent: Option<String>, ["AIP_USER_AGENT", "USER_AGENT"];
        /// How long a connection to another server may take to come up.
        connect_timeout: Duration = "5s", ["AIP_CONNECT_TIMEOUT"];
        /// Ports of other servers that may be connected to besides 443.
        extra_ports: Vec<u16> = "", ["AIP_EXTRA_PORTS"];
        /// Development only: loopback servers and plain http may be connected to; under a public
        /// external base, only those of `development_hosts`.
        development: bool = "false", ["AIP_DEVELOPMENT"];
        /// Development only: `NAME=ADDRESS` or `NAME=ADDRESS:PORT`, hosts that are dialled there
        /// whatever DNS says.
        development_hosts: Vec<DevelopmentHost> = "", ["AIP_DEVELOPMENT_HOSTS"];
    }

    /// A stream of events of the network, which says early what would be noticed later. Not needed.
    events: Events {
        /// The stream of a Jetstream server: `wss://HOST/subscribe` (protocol v1) or
        /// `wss://HOST/xrpc/network.bsky.jetstream.subscribeEvents` (v2). Identities that have changed are
        /// then read anew at once, and sessions of accounts that are not in use are left alone. Not
        /// followed unless set.
        jetstream_url: Option<EventStreamUrl>, ["AIP_JETSTREAM_URL"];
        /// Whether that server is to compress what it sends, with a dictionary that is read there
        /// (protocol v2 alone).
        compress: bool = "false", ["AIP_JETSTREAM_COMPRESS"];
    }

    /// What a PDS shows about this server when somebody signs in.
    client_document: ClientDocument {
        /// The name of the service.
        name: String = "AIP", ["AIP_CLIENT_NAME", "ATPROTO_CLIENT_NAME"];
        /// URL of its logo.
        logo: Option<String>, ["AIP_CLIENT_LOGO", "ATPROTO_CLIENT_LOGO"];
        /// URL of its terms of service.
        tos: Option<String>, ["AIP_CLIENT_TOS", "ATPROTO_CLIENT_TOS"];
        /// URL of its privacy policy.
        policy: Option<String>, ["AIP_CLIENT_POLICY", "ATPROTO_CLIENT_POLICY"];
        /// The AT Protocol scopes that the document names besides those of the registered clients.
        /// PDSs keep a copy of the document for ten minutes.
        scope: String = "atproto account:email transition:email transition:generic transition:chat.bsky",
            ["AIP_CLIENT_SCOPE", "OAUTH_SUPPORTED_SCOPES"];
    }

    /// Tokens of clients that are registered without saying otherwise.
    tokens: Tokens {
        /// Life of an access token.
        access_ttl: Duration = "1h",
            ["AIP_ACCESS_TOKEN_TTL", "CLIENT_DEFAULT_ACCESS_TOKEN_EXPIRATION"];
        /// Life of a refresh token that is not used.
        refresh_ttl: Duration = "90d",
            ["AIP_REFRESH_TOKEN_TTL", "CLIENT_DEFAULT_REFRESH_TOKEN_EXPIRATION"];
        /// How long a repeated refresh gets the same answer: 0 to 60 seconds.
        refresh_grace: Duration = "30s", ["AIP_REFRESH_GRACE"];
    }

    /// What all clients must do, and which may register themselves.
    clients: Clients {
        /// Whether every client must push its authorization requests (RFC 9126). Otherwise those
        /// must that are registered with `--require-par`.
        require_pushed_requests: bool = "false", ["AIP_REQUIRE_PUSHED_REQUESTS"];
        /// Whether clients may register themselves at `/oauth/clients/register` (RFC 7591): not at
        /// all (`off`), with a token of `aip clients registration-token` (`token`), or anybody
        /// (`open`).
        registration: ClientRegistration = "off", ["AIP_CLIENT_REGISTRATION"];
        /// How many clients may have registered themselves at a time.
        max_registered: NonZeroUsize = "1000", ["AIP_MAX_REGISTERED_CLIENTS"];
        /// Whether apps are taken that nobody registered, and whose `client_id` is the https address
        /// of a document with their metadata (draft-ietf-oauth-client-id-metadata-document).
        metadata_documents: bool = "false", ["AIP_CLIENT_METADATA_DOCUMENTS"];
        /// How many such apps are kept that somebody has allowed something.
        max_document_clients: NonZeroUsize = "1000", ["AIP_MAX_DOCUMENT_CLIENTS"];
        /// Whether client assertions are signed at `/oauth/client-assertion` for devices of apps that talk
        /// to PDSs themselves, and are registered with `--client-assertions` (AT Protocol proposal 0010,
        /// a draft).
        assertion_backend_0010: bool = "false", ["AIP_ASSERTION_BACKEND_0010"];
        /// A client that registered itself is deleted after this time unless somebody has allowed it
        /// anything.
        unused_registration_ttl: Duration = "30d", ["AIP_UNUSED_REGISTRATION_TTL"];
        /// Whether clients that register themselves must use PKCE though they can prove who they
        /// are. Those that cannot must in any case.
        registered_require_pkce: bool = "false", ["AIP_REGISTERED_REQUIRE_PKCE"];
        /// The accounts that may change clients with a service token of their PDS, at
        /// `/xrpc/tools.graze.aip.clients.Update`.
        admin_dids: Vec<Did> = "", ["AIP_ADMIN_DIDS", "ADMIN_DIDS"];
    }

    /// The names of AIP v1, for apps that still use them.
    compat: Compat {
        /// Whether the paths of AIP v1 (`/auth/atproto`, `/internal/api/…`) are there, and its headers
        /// `X-Subject` and `X-Service` mean something at `/xrpc`.
        v1: bool = "false", ["AIP_COMPAT_V1"];
        /// The id of the registered client as which people sign in at `/auth/atproto`. Its redirect URIs
        /// are the destinations. Needed with `compat.v1`.
        v1_client: Option<String>, ["AIP_COMPAT_V1_CLIENT"];
        /// The origins that destinations must be at besides, as `https://HOST` or `HOST`. Any redirect URI
        /// of the client unless set.
        v1_origins: Vec<String> = "", ["AIP_COMPAT_V1_ORIGINS", "ALLOWED_DOMAINS"];
        /// Where a sign-in ends whose link to `/auth/atproto` names no `destination`.
        v1_destination: Option<String>, ["AIP_COMPAT_V1_DESTINATION", "DESTINATION"];
        /// Where a sign-in ends whose form, sent to `/auth/atproto`, names no `destination`.
        v1_default_destination: Option<String>,
            ["AIP_COMPAT_V1_DEFAULT_DESTINATION", "DEFAULT_DESTINATION"];
    }

    /// The look of the pages.
    brand: Brand {
        /// The name in the title of every page.
        name: String = "AIP", ["AIP_BRAND_NAME", "BRAND_NAME"];
    }

    /// Logs, on standard error.
    log: Log {
        /// `pretty` for people, `json` for machines.
        format: LogFormat = "pretty", ["AIP_LOG_FORMAT"];
        /// What is logged, as `LEVEL` or `TARGET=LEVEL,…`; levels are `off`, `error`, `warn`,
        /// `info`, `debug` and `trace`.
        filter: LogFilter = "info,sqlx::postgres::notice=warn", ["AIP_LOG", "RUST_LOG", "LOG_LEVEL"];
    }

    /// Where metrics, traces and errors are sent, besides the log and `/metrics`. Nowhere unless
    /// set.
    telemetry: Telemetry {
        /// Host of a StatsD agent such as Telegraf, for metrics.
        statsd_host: Option<String>, ["AIP_STATSD_HOST", "TELEGRAF_HOST"];
        /// Its UDP port.
        statsd_port: u16 = "8125", ["AIP_STATSD_PORT", "TELEGRAF_PORT"];
        /// What stands before the name of each metric there, with a dot between.
        statsd_prefix: Option<String>, ["AIP_STATSD_PREFIX", "STATSD_PREFIX"];
        /// URL that traces are posted to, by OTLP as protobuf: `http://collector:4318/v1/traces`.
        otlp_traces_url: Option<String>,
            ["AIP_OTLP_TRACES_URL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
             "OTEL_EXPORTER_OTLP_ENDPOINT" as traces_of];
        /// Headers for it, `NAME=VALUE,…` with percent-encoded values.
        otlp_headers: Option<SecretString>, ["AIP_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        /// One in so many traces is sent.
        trace_one_in: NonZeroUsize = "1", ["AIP_TRACE_ONE_IN"];
        /// DSN of a Sentry project, for errors of this server.
        sentry_dsn: Option<SecretString>, ["AIP_SENTRY_DSN", "SENTRY_DSN"];
        /// The environment that errors are filed under there.
        environment: String = "production", ["AIP_ENVIRONMENT", "SENTRY_ENVIRONMENT"];
    }
}

/// A host where a URL belongs: `https` was meant.
fn bare_host(text: &str) -> String {
    if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    }
}

/// An endpoint for all signals: traces have their own path there (OTLP specification, "OTLP/HTTP").
fn traces_of(base: &str) -> String {
    format!("{}/v1/traces", base.trim_end_matches('/'))
}

/// A port alone was a listener on every address.
fn every_address(port: &str) -> String {
    format!("0.0.0.0:{port}")
}
