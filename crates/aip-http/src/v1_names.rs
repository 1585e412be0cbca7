//! How the names of AIP v1 are answered, where the operator wants them (`compat.v1`).

use aip_atproto::Origin;
use aip_storage::client::ClientId;
use url::Url;

use crate::upstream_document::UpstreamDocument;

/// The configuration of the paths and headers of AIP v1.
#[derive(Debug)]
pub struct V1Names {
    /// The registered client as which people sign in at `/auth/atproto`. Its redirect URIs are the
    /// destinations, and its tokens may take delegations back.
    pub client: ClientId,
    /// The origins that a destination must be at besides; none: any redirect URI of the client.
    pub origins: Vec<Origin>,
    /// Where a sign-in ends whose link names no destination.
    pub destination: Option<String>,
    /// Where a sign-in ends whose form names no destination.
    pub default_destination: Option<String>,
    /// Whether `/auth/atproto/debug` is there.
    pub development: bool,
    /// The client metadata document at v1's address; `None` for a loopback client, which has none.
    pub client_metadata: Option<UpstreamDocument>,
}

impl V1Names {
    /// For that client, with no more than it needs.
    pub fn new(client: ClientId) -> Self {
        Self {
            client,
            origins: Vec::new(),
            destination: None,
            default_destination: None,
            development: false,
            client_metadata: None,
        }
    }
}

/// Whether a sign-in of an app of AIP v1 may end at this URL, by its origin: at every one if there are none.
pub fn is_at_origins(origins: &[Origin], url: &str) -> bool {
    let origin = Url::parse(url)
        .ok()
        .and_then(|url| Origin::parse(&url.origin().ascii_serialization()).ok());
    origins.is_empty() || origin.is_some_and(|origin| origins.contains(&origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_at_an_exact_origin() {
        let origins =
            ["https://app.example", "http://127.0.0.1:3000"].map(|it| it.parse().unwrap());
        for (url, allowed) in [
            ("https://app.example/", true),
            ("https://app.example:443/x?y=z", true),
            ("http://127.0.0.1:3000/cb", true),
            ("https://app.example.evil.example/", false),
            ("https://evil.example/?https://app.example", false),
            ("https://app.example@evil.example/", false),
            ("https://sub.app.example/", false),
            ("https://app.example:8443/", false),
            ("http://app.example/", false),
            ("http://127.0.0.1/cb", false),
            ("com.example.app:/cb", false),
            ("//app.example/", false),
            ("", false),
        ] {
            assert_eq!(is_at_origins(&origins, url), allowed, "{url}");
            assert!(is_at_origins(&[], url), "{url}");
        }
    }
}
