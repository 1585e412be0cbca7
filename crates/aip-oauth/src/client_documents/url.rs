//! Client identifiers that are addresses of documents
//! (draft-ietf-oauth-client-id-metadata-document-02 §3).

use aip_storage::client::ClientId;
use url::{Host, Url};

/// A client identifier that is the address of its metadata document, written the one way in which
/// such an address can be written: it is compared byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct DocumentUrl(Url);

/// Not the address of a document. The words continue "the `client_id`".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidDocumentUrl(&'static str);

/// Whether an identifier is meant as an address. No other one is of a client with a document.
pub(crate) fn is_address(id: &ClientId) -> bool {
    let id = id.as_str();
    ["https://", "http://"].iter().any(|scheme| {
        id.get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
    })
}

impl DocumentUrl {
    /// Reads an identifier. Ports are not taken: another program of the same host could answer there
    /// in the name of its site.
    pub(crate) fn parse(id: &ClientId) -> Result<Self, InvalidDocumentUrl> {
        let refused = |why| Err(InvalidDocumentUrl(why));
        let Ok(url) = Url::parse(id.as_str()) else {
            return refused("is no URL");
        };
        if url.scheme() != "https" {
            return refused("is no https URL");
        }
        if !matches!(url.host(), Some(Host::Domain(name)) if name.contains('.')) {
            return refused("names no host of the Internet");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("has a user or a password");
        }
        if url.port().is_some() {
            return refused("has a port");
        }
        if url.fragment().is_some() {
            return refused("has a fragment");
        }
        // Dot segments, an empty path, the default port, upper case in the host, an empty user.
        if url.as_str() != id.as_str() {
            return refused(
                "is not written as URLs are: with a path, without dot segments, in lower case",
            );
        }
        Ok(Self(url))
    }

    /// The host, whose owner vouches for the document.
    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// What all addresses of documents at that host begin with, and no others.
    pub(crate) fn site(&self) -> String {
        format!("https://{}/", self.host())
    }

    /// The address.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether `uri` is an address of the same site.
    pub(crate) fn is_same_origin(&self, uri: &str) -> bool {
        Url::parse(uri).is_ok_and(|it| it.origin() == self.0.origin())
    }

    /// Whether `uri` has a private-use scheme that belongs to the owner of the host: its name in
    /// reverse order, or longer (RFC 8252 §7.1).
    pub(crate) fn owns_scheme_of(&self, uri: &str) -> bool {
        let reversed: Vec<&str> = self.host().rsplit('.').collect();
        let reversed = reversed.join(".");
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            scheme
                .strip_prefix(&*reversed)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(id: &str) -> Result<DocumentUrl, InvalidDocumentUrl> {
        DocumentUrl::parse(&id.parse().unwrap())
    }

    #[test]
    fn the_address_of_a_document_can_be_written_in_one_way() {
        for good in [
            "https://app.example/client.json",
            "https://app.example/",
            "https://a.b.app.example/oauth/client.json?tenant=1",
            "https://app.example/%7Eme/client.json",
        ] {
            let url = parse(good).unwrap();
            assert_eq!(url.as_str(), good);
            assert!(good.starts_with(&url.site()), "{good}");
        }
        for bad in [
            "http://app.example/client.json",
            "https://app.example",
            "https://app.example?x=1",
            "https://app.example/client.json#x",
            "https://app.example/client.json#",
            "https://me@app.example/client.json",
            "https://:x@app.example/client.json",
            "https://@app.example/client.json",
            "https://app.example:443/client.json",
            "https://app.example:8443/client.json",
            "https://app.example:/client.json",
            "https://app.example/./client.json",
            "https://app.example/a/../client.json",
            "https://app.example/%2e%2e/client.json",
            "https://app.example/a/..",
            "https://APP.example/client.json",
            "HTTPS://app.example/client.json",
            "https:/app.example/client.json",
            "https:app.example/client.json",
            "https://127.0.0.1/client.json",
            "https://2130706433/client.json",
            "https://0x7f.1/client.json",
            "https://[::1]/client.json",
            "https://localhost/client.json",
            "ftp://app.example/client.json",
            "javascript:alert(1)",
            "app",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scheme_belongs_to_the_owner_of_the_host_that_it_names() {
        let url = parse("https://app.example.org/client.json").unwrap();
        for own in [
            "org.example.app:/callback",
            "org.example.app.beta:/callback",
        ] {
            assert!(url.owns_scheme_of(own), "{own}");
        }
        for other in [
            "org.example:/callback",
            "org.example.apple:/callback",
            "org.example.other:/callback",
            "app.example.org:/callback",
            "callback",
        ] {
            assert!(!url.owns_scheme_of(other), "{other}");
        }
        assert!(url.is_same_origin("https://app.example.org/callback"));
        for other in [
            "https://example.org/callback",
            "https://app.example.org:8443/callback",
            "http://app.example.org/callback",
            "callback",
        ] {
            assert!(!url.is_same_origin(other), "{other}");
        }
    }
}
