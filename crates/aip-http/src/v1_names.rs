//! How the names of AIP v1 are answered, where the operator wants them (`compat.v1`).

use aip_atproto::Origin;
use aip_storage::client::ClientId;

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
