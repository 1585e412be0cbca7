//! Redirect URIs: what may be registered, and when a sent one is a registered one.
//!
//! RFC 9700 §4.1.3: comparison is exact, byte for byte. The one exception is the port of a
//! loopback redirect of a native app, which the system assigns at run time (RFC 8252 §7.3).

use aip_storage::client::{ApplicationType, RedirectTarget, RedirectUri, RedirectUriError};

/// Checks that a client of this kind may register the redirect URI. `loopback_for_web` is on when AIP
/// itself runs on loopback: then a web client under development may use loopback, too.
pub fn check(
    uri: &RedirectUri,
    kind: ApplicationType,
    loopback_for_web: bool,
) -> Result<(), RedirectUriError> {
    let native = kind == ApplicationType::Native;
    let allowed = match uri.target() {
        RedirectTarget::Https => true,
        RedirectTarget::Loopback => native || loopback_for_web,
        RedirectTarget::Program => native,
    };
    if allowed {
        Ok(())
    } else {
        Err(RedirectUriError::Scheme(uri.to_string()))
    }
}

/// The redirect URI that `sent` is, if one of these is registered that it stands for.
pub fn find(registered: &[RedirectUri], kind: ApplicationType, sent: &str) -> Option<RedirectUri> {
    if let Some(known) = registered.iter().find(|known| known.as_str() == sent) {
        return Some(known.clone());
    }
    let loopback = split_loopback(sent).filter(|_| kind == ApplicationType::Native)?;
    let is_known = |known: &RedirectUri| split_loopback(known.as_str()) == Some(loopback);
    let sent = registered.iter().any(is_known).then(|| sent.parse())?;
    sent.ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(uris: &[&str]) -> Vec<RedirectUri> {
        uris.iter().map(|uri| uri.parse().unwrap()).collect()
    }

    fn matched(known: &[RedirectUri], kind: ApplicationType, sent: &str) -> bool {
        let found = find(known, kind, sent);
        assert!(found.iter().all(|it| it.as_str() == sent));
        found.is_some()
    }

    #[test]
    fn no_variant_of_a_registered_redirect_matches() {
        let known = registered(&["https://app.example/callback"]);
        for kind in [ApplicationType::Web, ApplicationType::Native] {
            assert!(matched(&known, kind, "https://app.example/callback"));
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
                assert!(!matched(&known, kind, variant), "{variant}");
            }
        }
    }

    #[test]
    fn only_native_loopback_redirects_may_have_another_port() {
        let known = registered(&["http://127.0.0.1/callback", "http://[::1]:1000/callback"]);
        for sent in [
            "http://127.0.0.1:49152/callback",
            "http://127.0.0.1/callback",
            "http://[::1]/callback",
        ] {
            assert!(matched(&known, ApplicationType::Native, sent), "{sent}");
        }
        assert!(!matched(
            &known,
            ApplicationType::Web,
            "http://127.0.0.1:49152/callback"
        ));
        for sent in [
            "http://127.0.0.1:49152/other",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:x/callback",
            "http://127.0.0.1:123456/callback",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:80@evil.example/callback",
            "http://localhost:1/callback",
            "https://127.0.0.1:49152/callback",
        ] {
            assert!(!matched(&known, ApplicationType::Native, sent), "{sent}");
        }
    }

    #[test]
    fn registration_refuses_what_could_lead_elsewhere() {
        use ApplicationType::{Native, Web};
        let check = |uri: &str, kind, loopback_for_web| {
            let parsed: RedirectUri = uri.parse()?;
            check(&parsed, kind, loopback_for_web)
        };
        for (uri, kind) in [
            ("https://app.example/callback?tenant=1", Web),
            ("https://app.example", Native),
            ("http://127.0.0.1/callback", Native),
            ("com.example.app:/callback", Native),
        ] {
            assert_eq!(check(uri, kind, false), Ok(()), "{uri}");
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
