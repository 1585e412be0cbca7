//! Redirect URIs: what may be registered, and when a sent one is a registered one.
//!
//! RFC 9700 §4.1.3: comparison is exact, byte for byte. The one exception is the port of a
//! loopback redirect of a native app, which the system assigns at run time (RFC 8252 §7.3).

use aip_storage::client::{ApplicationType, RedirectUri};
use url::{Host, Url};

/// Longer ones do not survive every browser and proxy.
const MAX_LENGTH: usize = 2000;

/// Why a redirect URI cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefusal {
    /// Not an absolute URI in canonical form.
    #[error("{0:?} is not an absolute URI of at most {MAX_LENGTH} visible characters")]
    NotAbsolute(String),
    /// RFC 6749 §3.1.2: "The endpoint URI MUST NOT include a fragment component".
    #[error("{0:?} has a fragment, which a redirect URI must not have")]
    Fragment(String),
    /// Credentials in a URL end in logs.
    #[error("{0:?} has a user name or password in it")]
    Credentials(String),
    /// Comparison is exact, so a pattern would match nothing.
    #[error("{0:?} has a `*` in it: redirect URIs are compared as they are, register each one")]
    Wildcard(String),
    /// A path that a server may read in another way than we do.
    #[error("{0:?} has dot segments or a backslash in it")]
    Ambiguous(String),
    /// A scheme that this kind of client may not use.
    #[error(
        "{0:?}: web clients use https; native clients also http on 127.0.0.1, [::1] or localhost, and schemes with a dot such as com.example.app:/callback"
    )]
    Scheme(String),
}

/// Checks a redirect URI at registration. `loopback_for_web` is on when AIP itself runs on
/// loopback: then a web client under development may use loopback, too.
pub fn check(
    uri: &str,
    kind: ApplicationType,
    loopback_for_web: bool,
) -> Result<RedirectUri, RedirectRefusal> {
    let shown = || {
        uri.chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect::<String>()
    };
    let visible = uri.len() <= MAX_LENGTH && uri.bytes().all(|b| b.is_ascii_graphic());
    let url = Url::parse(uri)
        .ok()
        .filter(|_| visible)
        .ok_or_else(|| RedirectRefusal::NotAbsolute(shown()))?;
    if uri.contains('#') {
        return Err(RedirectRefusal::Fragment(shown()));
    }
    if uri.contains('*') {
        return Err(RedirectRefusal::Wildcard(shown()));
    }
    if !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@') {
        return Err(RedirectRefusal::Credentials(shown()));
    }
    if uri.contains('\\')
        || path_of(uri)
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(RedirectRefusal::Ambiguous(shown()));
    }
    let native = kind == ApplicationType::Native;
    let allowed = match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(&url) && (native || loopback_for_web),
        // RFC 8252 §7.1: a private-use scheme is a reversed domain name, so it has a dot.
        scheme => native && scheme.contains('.'),
    };
    if allowed {
        Ok(RedirectUri::from_checked(uri.to_owned()))
    } else {
        Err(RedirectRefusal::Scheme(shown()))
    }
}

/// The registered URI that `sent` stands for, if any.
pub fn matches(registered: &[RedirectUri], kind: ApplicationType, sent: &str) -> bool {
    registered.iter().any(|known| {
        known.as_str() == sent
            || (kind == ApplicationType::Native
                && match (split_loopback(known.as_str()), split_loopback(sent)) {
                    (Some(known), Some(sent)) => known == sent,
                    _ => false,
                })
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A loopback URI as (host, everything after the port); `None` for any other URI. Works on the
/// bytes as sent, so that no normalisation can make two different URIs equal.
fn split_loopback(uri: &str) -> Option<(&'static str, &str)> {
    for host in ["http://127.0.0.1", "http://[::1]", "http://localhost"] {
        let Some(rest) = uri.strip_prefix(host) else {
            continue;
        };
        let after_port = match rest.strip_prefix(':') {
            Some(port) => {
                let digits = port.bytes().take_while(u8::is_ascii_digit).count();
                if !(1..=5).contains(&digits) {
                    return None;
                }
                port.get(digits..)?
            }
            None => rest,
        };
        return (after_port.is_empty() || after_port.starts_with(['/', '?']))
            .then_some((host, after_port));
    }
    None
}

fn authority(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or("")
}

fn path_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split('?').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(uris: &[&str]) -> Vec<RedirectUri> {
        uris.iter()
            .map(|uri| RedirectUri::from_checked((*uri).to_owned()))
            .collect()
    }

    #[test]
    fn d2_row22_no_variant_of_a_registered_redirect_matches() {
        let known = registered(&["https://app.example/callback"]);
        for kind in [ApplicationType::Web, ApplicationType::Native] {
            assert!(matches(&known, kind, "https://app.example/callback"));
            for variant in [
                "https://app.example/callback/",
                "https://app.example/callback/more",
                "https://app.example/callback?x=1",
                "https://app.example/callback#x",
                "https://user@app.example/callback",
                "https://app.example:443/callback",
                "https://app.example:8443/callback",
                "https://APP.example/callback",
                "HTTPS://app.example/callback",
                "https://app.example/x/../callback",
                "https://app.example/%63allback",
                "https://app.example%2Fcallback",
                "https://sub.app.example/callback",
                "https://app.example.evil.example/callback",
                "https://app.example/callbac",
                "http://app.example/callback",
                " https://app.example/callback",
            ] {
                assert!(!matches(&known, kind, variant), "{variant}");
            }
        }
    }

    #[test]
    fn d2_row23_only_native_loopback_redirects_may_have_another_port() {
        let known = registered(&["http://127.0.0.1/callback", "http://[::1]:1000/callback"]);
        for sent in [
            "http://127.0.0.1:49152/callback",
            "http://127.0.0.1/callback",
            "http://[::1]/callback",
        ] {
            assert!(matches(&known, ApplicationType::Native, sent), "{sent}");
        }
        assert!(!matches(
            &known,
            ApplicationType::Web,
            "http://127.0.0.1:49152/callback"
        ));
        for sent in [
            "http://127.0.0.1:49152/other",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:x/callback",
            "http://127.0.0.1:123456/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:80@evil.example/callback",
            "http://localhost:1/callback",
            "https://127.0.0.1:49152/callback",
        ] {
            assert!(!matches(&known, ApplicationType::Native, sent), "{sent}");
        }
    }

    #[test]
    fn registration_refuses_what_could_lead_elsewhere() {
        use ApplicationType::{Native, Web};
        for (uri, kind) in [
            ("https://app.example/callback?tenant=1", Web),
            ("https://app.example", Native),
            ("http://127.0.0.1/callback", Native),
            ("com.example.app:/callback", Native),
        ] {
            assert_eq!(
                check(uri, kind, false).map(|it| it.as_str().to_owned()),
                Ok(uri.to_owned())
            );
        }
        for (uri, kind) in [
            ("/callback", Web),
            ("https://app.example/#x", Web),
            ("https://me@app.example/", Web),
            ("https://@app.example/", Web),
            ("https://app.example/a/../b", Web),
            ("https://app.example\\@evil.example/", Web),
            ("http://app.example/", Web),
            ("http://127.0.0.1/callback", Web),
            ("com.example.app:/callback", Web),
            ("javascript:alert(1)", Native),
            ("data:text/html,x", Native),
            ("http://192.168.0.1/callback", Native),
            ("https://app.example/caf\u{e9}", Web),
        ] {
            assert!(check(uri, kind, false).is_err(), "{uri}");
        }
        assert!(check("http://localhost:3000/callback", Web, true).is_ok());
    }
}
