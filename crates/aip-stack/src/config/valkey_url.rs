//! The URL of Valkey servers of the operator's: what `aip` accepts as `REDIS_DSN`, as far as a stack must know it.
//! `redis+sentinel://` and `redis+cluster://` name several hosts, with commas between them.

use url::Url;

use super::checks;
use super::resolve::{SENTINEL_PORT, VALKEY_PORT};

const SCHEMES: &[&str] = &[
    "redis://",
    "rediss://",
    "valkey://",
    "valkeys://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
];

/// What is wrong with it, if anything.
pub(super) fn check(text: &str) -> Result<(), String> {
    let Some((scheme, hosts)) = several_hosts(text) else {
        return checks::url(text, SCHEMES);
    };
    if !SCHEMES
        .iter()
        .any(|known| known.strip_suffix("://") == Some(scheme))
    {
        return checks::url(text, SCHEMES);
    }
    for (number, host) in (1..).zip(hosts.split(',')) {
        let url = checks::url(&format!("redis://{host}"), SCHEMES);
        url.map_err(|why| format!("{why} (host {number})"))?;
    }
    Ok(())
}

/// The ports of the servers. Sentinels name others, which are taken to have the usual one.
pub(super) fn ports(text: &str) -> Vec<u16> {
    let port = |url: &str, default: u16| {
        let url = Url::parse(url).ok();
        url.map(|url| url.port().unwrap_or(default))
    };
    let Some((scheme, hosts)) = several_hosts(text) else {
        return port(text, VALKEY_PORT).into_iter().collect();
    };
    let is_sentinel = scheme.ends_with("+sentinel");
    let default = if is_sentinel {
        SENTINEL_PORT
    } else {
        VALKEY_PORT
    };
    let hosts = hosts.split(',');
    let named = hosts.filter_map(|host| port(&format!("redis://{host}"), default));
    named.chain(is_sentinel.then_some(VALKEY_PORT)).collect()
}

/// Scheme and hosts of a URL that may name several.
fn several_hosts(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.contains('+') {
        return None;
    }
    let authority = rest.split(['/', '?']).next()?;
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    Some((scheme, hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_and_several_are_accepted() {
        for text in [
            "redis://:p@valkey:6379/0",
            "rediss://user:p@valkey/0",
            "redis+sentinel://:p@one:26379,two,[::1]:5/aip/0?sentinel_password=p",
            "rediss+sentinel://one/aip",
            "redis+cluster://one,two:7000",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, words) in [
            ("http://valkey", "must be a URL that begins with redis://"),
            (
                "redis+other://one,two",
                "must be a URL that begins with redis://",
            ),
            ("redis+sentinel:///aip", "is a URL without a host (host 1)"),
            (
                "redis+sentinel://one,two:x/aip",
                "invalid port number (host 2)",
            ),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn the_ports_of_all_are_known() {
        for (text, expected) in [
            ("redis://valkey", &[6379][..]),
            ("rediss://:p@valkey:6380/0", &[6380]),
            ("redis+sentinel://:p@one:5000,two/aip", &[5000, 26379, 6379]),
            ("redis+cluster://one:7000,two", &[7000, 6379]),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
    }
}
