//! What all addresses that a client is registered with have in common, whatever they lead to.

use url::{Host, Url};

/// The most bytes of an address.
pub(crate) const MAX_URL_BYTES: usize = 2000;

/// The text as an absolute URI (RFC 3986 §4.3) of at most `max` bytes, visible ASCII characters alone,
/// without user and password; a fragment is for the caller to judge.
pub(crate) fn absolute_uri(text: &str, max: usize) -> Option<Url> {
    let is_visible = text.len() <= max && text.bytes().all(|b| b.is_ascii_graphic());
    let uri = Url::parse(text).ok().filter(|_| is_visible)?;
    (uri.username().is_empty() && uri.password().is_none()).then_some(uri)
}

/// Likewise an `https` URL of at most [`MAX_URL_BYTES`], with the name that it gives its host, in lower
/// case. Whether the host is a public one is known when it is asked (`aip-outbound`).
pub(crate) fn https_url(text: &str) -> Option<(Url, String)> {
    let url = absolute_uri(text, MAX_URL_BYTES).filter(|it| it.scheme() == "https")?;
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => return None,
    };
    Some((url, host))
}

/// Likewise, without a fragment: what is fetched.
pub(crate) fn https_url_of_document(text: &str) -> Option<(Url, String)> {
    https_url(text).filter(|(url, _)| url.fragment().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_uri_is_visible_bounded_and_names_nobody() {
        for good in [
            "https://a.example/",
            "urn:example:photos",
            "http://127.0.0.1/#x",
        ] {
            assert!(absolute_uri(good, 255).is_some(), "{good}");
            assert!(absolute_uri(good, good.len() - 1).is_none(), "{good}");
        }
        for bad in [
            "",
            "photos",
            "//a.example",
            "https://",
            "https://a.example/a b",
            "https://a.example/\u{e4}",
            "https://me@a.example",
            "https://:x@a.example",
        ] {
            assert!(absolute_uri(bad, 255).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_https_url_names_its_host() {
        let (_, host) = https_url("https://A.example:8443/keys#x").unwrap();
        assert_eq!(host, "a.example");
        for bad in [
            "http://a.example/keys",
            "https://127.0.0.1/keys",
            "https://2130706433/keys",
            "https://[::1]/keys",
            "urn:example:keys",
        ] {
            assert!(https_url(bad).is_none(), "{bad}");
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES));
        assert!(https_url(&long).is_none());
    }

    #[test]
    fn a_document_is_at_an_address_without_fragment() {
        assert!(https_url_of_document("https://a.example/keys?x=1").is_some());
        for bad in ["https://a.example/keys#x", "https://a.example/keys#"] {
            assert!(https_url_of_document(bad).is_none(), "{bad}");
        }
    }
}
