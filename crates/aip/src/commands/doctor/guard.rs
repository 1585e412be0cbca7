//! Whether the way out refuses what it must: a handle or a document of a stranger must not lead
//! into the operator's own network.

use aip_base::{Http as _, HttpError, Limits};
use bytes::Bytes;
use http::Request;

use super::finding::Finding;
use super::installation::{Installation, Part};

/// Never to be asked, whatever the settings: a metadata service, a private address, plain http.
const FORBIDDEN: [&str; 3] = [
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/",
    "http://plc.directory/",
];
/// To be asked in development only.
const LOOPBACK: &str = "https://127.0.0.1/";

pub(super) async fn refuses(installation: &Installation) -> Finding {
    let network = match &installation.network {
        Part::Present(network) => network,
        Part::NotYet => return Finding::skipped("no way out"),
        Part::Broken(why) => {
            return Finding::fail(
                why,
                "install CA certificates (Debian: `ca-certificates`), or correct the setting named",
            );
        }
    };
    let loopback = (!installation.loaded.opens_loopback()).then_some(LOOPBACK);
    for url in FORBIDDEN.into_iter().chain(loopback) {
        let Ok(request) = Request::get(url).body(Bytes::new()) else {
            continue;
        };
        let answer = network.http.fetch(request, Limits::DOCUMENT).await;
        if !matches!(answer, Err(HttpError::Refused(_))) {
            return Finding::fail(
                format!("{url} was not refused"),
                "this is a defect, or upstream.development_hosts lists it: report it, or correct \
                 the list",
            );
        }
    }
    if loopback.is_none() {
        return Finding::warn(
            "private addresses are refused, loopback is not: the development switch is on",
            "switch upstream.development off where others sign in",
        );
    }
    Finding::ok("private addresses, loopback and plain http are refused")
}
