//! Whether DNS, the PLC directories and PDSs answer, and whether a handle can be resolved from here.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, Handle, Origin};
use aip_base::{DnsError, DnsTxt, Http, Limits, SystemClock};
use aip_outbound::Resolve;
use aip_pds::{Freshness, Resolver, Trace};
use http::StatusCode;

use super::finding::Finding;
use super::installation::Installation;
use super::reach::{FailedRequest, Outcome, get};
use crate::runtime::Network;
use crate::settings;

/// What an answer of one line may take, as when AIP resolves a handle.
const HANDLE_FILE_LIMITS: Limits = Limits {
    max_bytes: 4096,
    deadline: Duration::from_secs(3),
};
const NO_HANDLE: &str =
    "no handle to look up, as nobody has signed in: `aip doctor --handle HANDLE` names one";
const NAME_SERVERS: &str = "let this machine reach its name servers (UDP and TCP port 53), or set \
    AIP_DNS_NAMESERVERS; \"What PLC and handle resolution need\" (docs/network.md)";

/// The addresses of the PLC directory.
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
    addresses(&*network.dns, &host).await
}

async fn addresses(dns: &dyn Resolve, host: &str) -> Finding {
    match dns.addresses(host).await {
        Ok(addresses) if !addresses.is_empty() => {
            Finding::ok(format!("{host} has {} address(es)", addresses.len()))
        }
        Ok(_) | Err(DnsError::NoRecord) => Finding::fail(
            format!("{host} has no address"),
            "check upstream.plc_urls, and the name servers (upstream.nameservers)",
        ),
        Err(error @ DnsError::Failed(_)) => Finding::fail(format!("{host}: {error}"), NAME_SERVERS),
    }
}

/// Mirrors come first; the last one is the authority, without which nobody new signs in.
pub(super) async fn plc(installation: &Installation) -> Finding {
    match installation.network.needed("way out") {
        Ok(network) => {
            plc_answers(
                &*network.http,
                &installation.loaded.config.upstream.plc_urls,
            )
            .await
        }
        Err(finding) => finding,
    }
}

async fn plc_answers(http: &dyn Http, directories: &[Origin]) -> Finding {
    let mut silent: Vec<FailedRequest> = Vec::new();
    let mut answering = Vec::new();
    for plc in directories {
        let asked = format!("{plc}/_health");
        match get(http, &asked, Limits::DOCUMENT).await {
            Ok((answer, took)) if answer.status.is_success() => {
                answering.push(format!("{plc} answers in {took} ms"));
            }
            Ok((answer, _)) => silent.push(FailedRequest::with_status(&asked, answer.status)),
            Err(failed) => silent.push(failed),
        }
    }
    let Some(first) = silent.first() else {
        return Finding::ok(answering.join("; "));
    };
    let advice = first.advice();
    let silent = silent.iter().map(FailedRequest::found);
    let found: Vec<String> = answering.iter().cloned().chain(silent).collect();
    if answering.is_empty() {
        Finding::fail(found.join("; "), advice)
    } else {
        Finding::warn(found.join("; "), advice)
    }
}

/// One way of resolving a handle: the TXT record of `_atproto.HANDLE`
/// (<https://atproto.com/specs/handle#dns-txt-method>).
pub(super) async fn handle_in_dns(installation: &Installation) -> Finding {
    match (
        installation.network.needed("way out"),
        installation.handle().await,
    ) {
        (Ok(network), Some(handle)) => txt_record(&*network.dns, handle).await,
        (Err(finding), _) => finding,
        (Ok(_), None) => Finding::skipped(NO_HANDLE),
    }
}

async fn txt_record(dns: &dyn DnsTxt, handle: &Handle) -> Finding {
    let name = format!("_atproto.{handle}");
    let records = match dns.txt(&name).await {
        Ok(records) => records,
        Err(DnsError::NoRecord) => {
            return Finding::ok(format!(
                "{name} has no TXT record, which is right if the host of the handle tells the DID"
            ));
        }
        Err(error @ DnsError::Failed(_)) => {
            return Finding::fail(format!("TXT {name}: {error}"), NAME_SERVERS);
        }
    };
    let values = records
        .iter()
        .filter_map(|it| it.trim().strip_prefix("did="));
    let mut dids: Vec<&str> = values.map(str::trim).collect();
    dids.sort_unstable();
    dids.dedup();
    match dids.as_slice() {
        [] => Finding::warn(
            format!("{name} has TXT records, and none begins with `did=`"),
            "the owner of the handle corrects them",
        ),
        [did] if Did::parse(did).is_ok() => Finding::ok(format!("{name} is {did}")),
        [other] => Finding::warn(
            format!("{name} says `{other}`, which is no usable DID"),
            "the owner of the handle corrects it",
        ),
        _ => Finding::warn(
            format!("{name} names more than one DID, so AIP believes none"),
            "the owner of the handle removes all but one",
        ),
    }
}

/// The other way: a file at the host of the handle
/// (<https://atproto.com/specs/handle#https-well-known-method>).
pub(super) async fn handle_at_its_host(installation: &Installation) -> Finding {
    match (
        installation.network.needed("way out"),
        installation.handle().await,
    ) {
        (Ok(network), Some(handle)) => well_known(&*network.http, handle).await,
        (Err(finding), _) => finding,
        (Ok(_), None) => Finding::skipped(NO_HANDLE),
    }
}

async fn well_known(http: &dyn Http, handle: &Handle) -> Finding {
    let url = format!("https://{handle}/.well-known/atproto-did");
    let answer = match get(http, &url, HANDLE_FILE_LIMITS).await {
        Ok((answer, _)) => answer,
        Err(failed) => {
            return match failed.outcome {
                Outcome::NoSuchHost => Finding::ok(format!(
                    "{handle} is no host, which is right if DNS tells the DID"
                )),
                // The host is a stranger's: that it leads nowhere says nothing of this installation.
                Outcome::NotPublic => failed.warn(),
                _ => failed.fail(),
            };
        }
    };
    let status = answer.status;
    if status.is_success() {
        let text = String::from_utf8_lossy(&answer.body);
        return match Did::parse(text.trim()) {
            Ok(did) => Finding::ok(format!("{url} is {did}")),
            Err(_) => Finding::ok(format!(
                "{url} answers without a DID, which is right if DNS tells it"
            )),
        };
    }
    if status.is_server_error() {
        return FailedRequest::with_status(&url, status).warn();
    }
    Finding::ok(format!(
        "{url} answers {}, which is right if DNS tells the DID",
        status.as_u16()
    ))
}

/// All of it as at a sign-in: handle to DID, DID to document, and the document back to the handle.
pub(super) async fn account(installation: &Installation) -> Finding {
    let network = match installation.network.needed("way out") {
        Ok(network) => network,
        Err(finding) => return finding,
    };
    let Some(handle) = installation.handle().await else {
        return Finding::skipped(NO_HANDLE);
    };
    let subject = AtIdentifier::Handle(handle.clone());
    let resolver = resolver(network, installation);
    let found = resolver
        .resolve(&subject, Freshness::Uncached, &mut Trace::default())
        .await;
    match found {
        Ok(it) if it.handle.as_ref() == Some(handle) => {
            Finding::ok(format!("{handle} is {} at {}", it.did, it.pds))
        }
        Ok(it) => Finding::warn(
            format!(
                "{handle} leads to {}, whose document names another handle",
                it.did
            ),
            "the owner of the account corrects its document; until then it is shown as \
             handle.invalid",
        ),
        Err(error) => Finding::fail(
            error.to_string(),
            format!("`aip resolve {handle} --explain` tells every step"),
        ),
    }
}

/// Outbound HTTPS to the PDS of that account, or of some session.
pub(super) async fn pds(installation: &Installation) -> Finding {
    let network = match installation.network.needed("way out") {
        Ok(network) => network,
        Err(finding) => return finding,
    };
    let of_handle = match installation.handle().await {
        Some(handle) => {
            let subject = AtIdentifier::Handle(handle.clone());
            resolver(network, installation)
                .resolve(&subject, Freshness::Uncached, &mut Trace::default())
                .await
                .ok()
                .map(|found| found.pds)
        }
        None => None,
    };
    let pds = match of_handle {
        Some(pds) => Some(pds),
        None => installation.any_session().await.map(|session| session.pds),
    };
    match pds {
        Some(pds) => pds_answers(&*network.http, &pds).await,
        None => Finding::skipped("no PDS to ask: `aip doctor --handle HANDLE` names an account"),
    }
}

/// What AIP reads first of a PDS at a sign-in (RFC 9728).
async fn pds_answers(http: &dyn Http, pds: &Origin) -> Finding {
    let url = format!("{pds}/.well-known/oauth-protected-resource");
    match get(http, &url, Limits::DOCUMENT).await {
        Ok((answer, took)) if answer.status == StatusCode::OK => {
            Finding::ok(format!("{pds} answers in {took} ms"))
        }
        Ok((answer, _)) => FailedRequest::with_status(&url, answer.status).fail(),
        Err(failed) => failed.fail(),
    }
}

pub(super) fn resolver(network: &Network, installation: &Installation) -> Resolver {
    Resolver::new(
        Arc::clone(&network.http) as _,
        Arc::clone(&network.dns) as _,
        Arc::new(SystemClock),
        settings::resolver(&installation.loaded.config.upstream),
    )
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
