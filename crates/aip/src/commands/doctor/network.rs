//! Whether DNS and the PLC directories answer.

use aip_base::{Clock as _, Http as _, Limits, SystemClock};
use aip_outbound::Resolve as _;
use bytes::Bytes;
use http::Request;

use super::finding::Finding;
use super::installation::Installation;

pub(super) async fn dns(installation: &Installation) -> Finding {
    let network = match installation.network.needed("way out") {
        Ok(network) => network,
        Err(finding) => return finding,
    };
    let plc = installation.loaded.config.upstream.plc_urls.last();
    let named = plc.filter(|plc| !plc.is_loopback());
    let Some(host) = named.map(|plc| plc.host().to_owned()) else {
        return Finding::skipped("the PLC directory is on this machine, which needs no DNS");
    };
    match network.dns.addresses(&host).await {
        Ok(addresses) if !addresses.is_empty() => {
            Finding::ok(format!("{host} has {} address(es)", addresses.len()))
        }
        Ok(_) => Finding::fail(
            format!("{host} has no address"),
            "check upstream.plc_urls, and the name servers (upstream.nameservers)",
        ),
        Err(error) => Finding::fail(
            format!("{host}: {error}"),
            "let this machine reach its name servers, or set AIP_DNS_NAMESERVERS",
        ),
    }
}

/// Mirrors come first; the last one is the authority, without which nobody new signs in.
pub(super) async fn plc(installation: &Installation) -> Finding {
    let network = match installation.network.needed("way out") {
        Ok(network) => network,
        Err(finding) => return finding,
    };
    let mut silent = Vec::new();
    let mut last = String::new();
    for plc in &installation.loaded.config.upstream.plc_urls {
        let asked = format!("{plc}/_health");
        let Ok(request) = Request::get(&asked).body(Bytes::new()) else {
            continue;
        };
        let before = SystemClock.now();
        match network.http.fetch(request, Limits::DOCUMENT).await {
            Ok(answer) if answer.status.is_success() => {
                let took = SystemClock.now().since(before).as_millis();
                last = format!("{plc} answers in {took} ms");
            }
            Ok(answer) => silent.push(format!("{asked}: {}", answer.status)),
            Err(error) => silent.push(format!("{asked}: {error}")),
        }
    }
    let advice = "check upstream.plc_urls (AIP_PLC_URLS), and that this machine may go there";
    match (silent.is_empty(), last.is_empty()) {
        (true, _) => Finding::ok(last),
        (false, true) => Finding::fail(silent.join("; "), advice),
        (false, false) => Finding::warn(format!("{last}; {}", silent.join("; ")), advice),
    }
}
