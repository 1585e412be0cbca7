//! What single values do not show: settings that do not go together, or make no sense.

use std::time::Duration;

use aip_atproto::{BaseUrl, Origin, ScopeSet};
use ipnet::IpNet;

use crate::Config;

/// The longest refresh grace: a longer one would keep stolen tokens alive.
const MAX_GRACE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// How long PDSs and apps may go on with the public keys that they have read: ten minutes at PDSs of
/// the reference implementation, five by the answers of this server.
pub const PUBLIC_KEYS_CACHE_TIME: Duration = Duration::from_mins(10);
/// The longest life of a token that apps verify with a public key.
pub const MAX_TOKEN_LIFETIME: Duration = DAY;
/// The longest time between two keys.
const MAX_ROTATION_PERIOD: Duration = Duration::from_hours(24 * 3650);
/// The shortest prefixes of a trusted network: `10.0.0.0/8`, and the private `fc00::/7`.
const MIN_PREFIX_LEN_V4: u8 = 8;
const MIN_PREFIX_LEN_V6: u8 = 7;

/// A mistake: the setting it is reported at, and what is wrong.
pub(crate) type Finding = (&'static str, String);

type Check = fn(&Config) -> Option<Finding>;

/// All checks, in the order of the table of settings.
pub(crate) const CHECKS: &[Check] = &[
    external_base_is_safe,
    external_base_path_is_free,
    external_base_is_known,
    listeners_differ,
    tls_has_both_files,
    plc_has_a_directory,
    development_listens_on_loopback,
    development_hosts_need_development,
    rotated_keys_are_kept_here,
    rotation_leaves_time,
    client_scope_is_valid,
    lifetimes_have_bounds,
    grace_is_short,
    limits_have_bounds,
    trusted_proxies_are_narrow,
    v1_has_a_client,
    v1_origins_are_origins,
    v1_browsers_may_bring_requests,
];

/// The address under which the server is reached: the given one, or loopback with the port it
/// listens on. Who listens for others must say what they call it: every token and every answer of
/// a PDS names the address. In a development set-up others are on the same machine.
pub(crate) fn external_base(config: &Config) -> Option<BaseUrl> {
    let server = &config.server;
    if let Some(given) = &server.external_base {
        return Some(given.clone());
    }
    let listen = server.listen;
    let host = match listen.ip() {
        ip if ip.is_unspecified() && config.upstream.development => "127.0.0.1".to_owned(),
        ip if ip.is_loopback() => match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        },
        _ => return None,
    };
    let scheme = if server.tls_cert_file.is_some() {
        "https"
    } else {
        "http"
    };
    BaseUrl::parse(&format!("{scheme}://{host}:{}", listen.port())).ok()
}

/// Whether others than this machine's users come here.
pub(crate) fn is_public(base: &BaseUrl) -> bool {
    base.is_https() && !base.is_loopback()
}

fn external_base_is_safe(config: &Config) -> Option<Finding> {
    let base = config.server.external_base.as_ref()?;
    (!base.is_https() && !base.is_loopback()).then(|| {
        let message = format!("`{base}`: only a loopback server may do without https");
        ("server.external_base", message)
    })
}

/// What the paths of AIP itself begin with: with a base path that does, nobody could tell whether a
/// proxy took the path away.
pub const OWN_PATHS: [&str; 14] = [
    ".well-known",
    "account",
    "api",
    "auth",
    "consent",
    "device",
    "internal",
    "login",
    "metrics",
    "oauth",
    "oauth-client-metadata.json",
    "openapi.yaml",
    "static",
    "xrpc",
];

fn external_base_path_is_free(config: &Config) -> Option<Finding> {
    let base = config.server.external_base.as_ref()?;
    let first = base.path().split('/').nth(1).unwrap_or_default();
    OWN_PATHS.contains(&first).then(|| {
        let message = format!(
            "`{base}`: `/{first}` is what paths of AIP itself begin with; choose another path, as in \
             `{origin}/aip`",
            origin = base.origin()
        );
        ("server.external_base", message)
    })
}

fn external_base_is_known(config: &Config) -> Option<Finding> {
    external_base(config).is_none().then(|| {
        let listen = config.server.listen;
        let lab = if listen.ip().is_unspecified() {
            "; on a machine of your own, AIP_DEVELOPMENT=true or AIP_LISTEN=127.0.0.1:PORT will do"
        } else {
            ""
        };
        let message = format!(
            "needed, as others are let in (server.listen is `{listen}`): set \
             AIP_EXTERNAL_BASE=https://HOST, the address under which browsers reach this \
             server{lab}"
        );
        ("server.external_base", message)
    })
}

fn listeners_differ(config: &Config) -> Option<Finding> {
    let server = &config.server;
    (server.listen == server.internal_listen && server.listen.port() != 0).then(|| {
        let message = "the same as server.listen: probes and metrics are not for the public";
        ("server.internal_listen", message.to_owned())
    })
}

fn tls_has_both_files(config: &Config) -> Option<Finding> {
    match (&config.server.tls_cert_file, &config.server.tls_key_file) {
        (Some(_), None) => Some(("server.tls_cert_file", needs("server.tls_key_file"))),
        (None, Some(_)) => Some(("server.tls_key_file", needs("server.tls_cert_file"))),
        _ => None,
    }
}

fn plc_has_a_directory(config: &Config) -> Option<Finding> {
    let none = config.upstream.plc_urls.is_empty();
    none.then(|| ("upstream.plc_urls", "at least one is needed".to_owned()))
}

fn development_listens_on_loopback(config: &Config) -> Option<Finding> {
    let upstream = &config.upstream;
    let base = external_base(config)?;
    (upstream.development && is_public(&base) && upstream.development_hosts.is_empty()).then(|| {
        let message = format!(
            "refused with the public external base `{base}`: anybody could reach this machine's \
             own network through it; list the hosts that are meant in upstream.development_hosts"
        );
        ("upstream.development", message)
    })
}

fn development_hosts_need_development(config: &Config) -> Option<Finding> {
    let upstream = &config.upstream;
    (!upstream.development && !upstream.development_hosts.is_empty())
        .then(|| ("upstream.development_hosts", needs("upstream.development")))
}

/// The server rotates the keys in its database; those that are given to it are another's to change.
fn rotated_keys_are_kept_here(config: &Config) -> Option<Finding> {
    let keys = &config.keys;
    let (setting, _) = rotations(config).into_iter().find(|(_, it)| it.is_some())?;
    if keys.json_web_keys.is_some() {
        let message = "refused beside keys.json_web_keys: keys that are given to the server are \
                       rotated where they are kept (`aip-deploy keys rotate`, or `aip keys`); to have \
                       the server rotate them, leave this out, run `aip keys import`, and then leave \
                       out keys.json_web_keys instead";
        return Some((setting, message.to_owned()));
    }
    let named = keys.rotate_upstream_every.is_some() && !keys.active_signing_keys.is_empty();
    named.then(|| {
        let message = "refused beside keys.active_signing_keys, which says which key signs: leave that \
                       out";
        ("keys.rotate_upstream_every", message.to_owned())
    })
}

/// A key is published before it signs until everybody knows it, and afterwards until nothing that it
/// signed is valid: a new one is not due earlier.
fn rotation_leaves_time(config: &Config) -> Option<Finding> {
    let least = PUBLIC_KEYS_CACHE_TIME + MAX_TOKEN_LIFETIME;
    let outside = |period: &Duration| *period < least || *period > MAX_ROTATION_PERIOD;
    let (setting, _) = rotations(config)
        .into_iter()
        .find(|(_, period)| period.as_ref().is_some_and(outside))?;
    let message = format!(
        "from {} to {}: others go on with the public keys that they have read for {}, and a token that \
         a key signed is valid for up to {}",
        duration_text(least),
        duration_text(MAX_ROTATION_PERIOD),
        duration_text(PUBLIC_KEYS_CACHE_TIME),
        duration_text(MAX_TOKEN_LIFETIME),
    );
    Some((setting, message))
}

fn rotations(config: &Config) -> [(&'static str, Option<Duration>); 3] {
    let keys = &config.keys;
    [
        ("keys.rotate_upstream_every", keys.rotate_upstream_every),
        ("keys.rotate_oidc_every", keys.rotate_oidc_every),
        (
            "keys.rotate_service_auth_every",
            keys.rotate_service_auth_every,
        ),
    ]
}

fn client_scope_is_valid(config: &Config) -> Option<Finding> {
    let refusal = ScopeSet::parse(&config.client_document.scope).err()?;
    Some(("client_document.scope", refusal.to_string()))
}

fn lifetimes_have_bounds(config: &Config) -> Option<Finding> {
    let tokens = &config.tokens;
    let second = Duration::from_secs(1);
    out_of_bounds(&[
        (
            "tokens.access_ttl",
            tokens.access_ttl,
            second,
            MAX_TOKEN_LIFETIME,
        ),
        ("tokens.refresh_ttl", tokens.refresh_ttl, second, 365 * DAY),
    ])
}

/// A limit of nothing lets nothing through, and one without an end is none.
fn limits_have_bounds(config: &Config) -> Option<Finding> {
    let (server, upstream) = (&config.server, &config.upstream);
    let (tick, hour) = (Duration::from_millis(1), Duration::from_hours(1));
    let unused = config.clients.unused_registration_ttl;
    out_of_bounds(&[
        ("clients.unused_registration_ttl", unused, hour, 365 * DAY),
        ("server.header_timeout", server.header_timeout, tick, hour),
        (
            "server.shutdown_delay",
            server.shutdown_delay,
            Duration::ZERO,
            hour,
        ),
        ("server.drain_timeout", server.drain_timeout, tick, hour),
        (
            "upstream.connect_timeout",
            upstream.connect_timeout,
            tick,
            hour,
        ),
    ])
}

/// The first setting that is less than its least or more than its most value.
fn out_of_bounds(settings: &[(&'static str, Duration, Duration, Duration)]) -> Option<Finding> {
    let outside = settings
        .iter()
        .find(|(_, value, least, most)| value < least || value > most);
    outside.map(|(setting, _, least, most)| {
        let message = format!("from {} to {}", duration_text(*least), duration_text(*most));
        (*setting, message)
    })
}

/// A duration as people write it.
fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        ("d", DAY.as_millis()),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let whole = units
        .into_iter()
        .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    match whole {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Whoever is trusted as a proxy says who its callers are: a network that holds the callers
/// themselves lets each of them choose an address.
fn trusted_proxies_are_narrow(config: &Config) -> Option<Finding> {
    let too_wide = config.server.trusted_proxies.iter().find(|network| {
        let least = match network {
            IpNet::V4(_) => MIN_PREFIX_LEN_V4,
            IpNet::V6(_) => MIN_PREFIX_LEN_V6,
        };
        network.prefix_len() < least
    });
    too_wide.map(|network| {
        let message = format!(
            "`{network}` trusts nearly everybody to say who they are: name the networks of your \
             proxies (at most /{MIN_PREFIX_LEN_V4}, or /{MIN_PREFIX_LEN_V6} for IPv6)"
        );
        ("server.trusted_proxies", message)
    })
}

fn v1_has_a_client(config: &Config) -> Option<Finding> {
    let compat = &config.compat;
    (compat.v1 && compat.v1_client.is_none()).then(|| {
        let message = "needs compat.v1_client too: the id of a client of yours, as in `aip clients create \
                       --id v1-apps --require-pkce false --redirect-uri DESTINATION`";
        ("compat.v1", message.to_owned())
    })
}

fn v1_origins_are_origins(config: &Config) -> Option<Finding> {
    v1_origins(config).err()
}

/// The origins that destinations of v1's sign-in must be at; none where that is switched off.
pub(crate) fn v1_origins(config: &Config) -> Result<Vec<Origin>, Finding> {
    let compat = &config.compat;
    let named = compat.v1_origins.iter().filter(|_| compat.v1);
    let parsed = named.map(|text| {
        let url = if text.contains("://") {
            text.clone()
        } else {
            format!("https://{text}")
        };
        let refused = |reason: &str| {
            let message = format!("`{text}`: {reason}; write each as `https://HOST` or `HOST`");
            ("compat.v1_origins", message)
        };
        if text.contains('*') {
            return Err(refused("there are no patterns"));
        }
        Origin::parse(&url).map_err(|error| refused(&error.to_string()))
    });
    parsed.collect()
}

/// `/auth/atproto` leads browsers to the authorization endpoint with parameters, not with a pushed request.
fn v1_browsers_may_bring_requests(config: &Config) -> Option<Finding> {
    (config.compat.v1 && config.clients.require_pushed_requests).then(|| {
        let message = "refused beside clients.require_pushed_requests: browsers bring the requests of v1's \
                       apps themselves";
        ("compat.v1", message.to_owned())
    })
}

fn grace_is_short(config: &Config) -> Option<Finding> {
    let message = || format!("at most {} s", MAX_GRACE.as_secs());
    (config.tokens.refresh_grace > MAX_GRACE).then(|| ("tokens.refresh_grace", message()))
}

fn needs(other: &str) -> String {
    format!("needs {other} too")
}
