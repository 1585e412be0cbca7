//! Keyed hashes as they stand in forms and URLs: CSRF tokens, and the names of requests. The name of a
//! request is the keyed hash of its token and no secret: only the browser that began a request can see
//! or finish it.

use aip_keys::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes as they stand in forms and URLs.
pub(crate) fn encode(hash: &TokenHash) -> String {
    URL_SAFE_NO_PAD.encode(hash.as_bytes())
}

/// The token hash that forms and URLs name a request by.
pub(crate) fn request_name(name: &str) -> Option<TokenHash> {
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    <[u8; 32]>::try_from(bytes).ok().map(TokenHash::from_bytes)
}
