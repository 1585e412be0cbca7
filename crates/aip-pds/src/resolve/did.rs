//! DID → document: `did:plc` at the configured directories, `did:web` at its host
//! (<https://web.plc.directory/spec/v0.1/did-plc>, <https://w3c-ccg.github.io/did-method-web/>).

use std::sync::Arc;

use aip_atproto::{Did, DidDocument};
use aip_base::{Fetched, HttpError, excerpt};

use super::{ResolveError, Resolver};
use crate::document::{DOCUMENT_LIMITS, get};
use crate::trace::{Step, Trace};

impl Resolver {
    /// Asks one directory after the other: a mirror may lag behind, so "unknown" is only
    /// believed when everybody says so. A tombstone is final.
    pub(super) async fn fetch_document(
        &self,
        did: &Did,
        trace: &mut Trace,
    ) -> Result<Arc<DidDocument>, ResolveError> {
        let unavailable = |reason: String| ResolveError::Unavailable {
            subject: did.to_string(),
            reason,
        };
        let mut worst = None;
        for url in self.document_urls(did) {
            let step = Step::begin(&*self.clock, "DID document", url.as_str());
            let method = if did.web_host().is_some() {
                "web"
            } else {
                "plc"
            };
            metrics::counter!("aip_did_documents_read_total", "method" => method).increment(1);
            let answer = get(&*self.http, &url, DOCUMENT_LIMITS).await;
            match read(did, answer) {
                Ok(document) => {
                    let pds = document.pds_endpoint().map_or("none", |pds| pds.as_str());
                    trace.steps.push(step.found(format!("PDS {pds}")));
                    return Ok(Arc::new(document));
                }
                Err(error) => {
                    trace.steps.push(step.failed(error.to_string()));
                    if matches!(error, ResolveError::DidTombstoned(_)) {
                        return Err(error);
                    }
                    let keep = worst.as_ref().is_some_and(ResolveError::is_transient);
                    worst = if keep { worst } else { Some(error) };
                }
            }
        }
        Err(worst.unwrap_or_else(|| unavailable("no PLC directory is configured".to_owned())))
    }

    fn document_urls(&self, did: &Did) -> Vec<String> {
        match did.web_host() {
            // Only `localhost` has a port, and only in development is it allowed out.
            Some(host) if host.starts_with("localhost") => {
                vec![format!("http://{host}/.well-known/did.json")]
            }
            Some(host) => vec![format!("https://{host}/.well-known/did.json")],
            None => self
                .config
                .plc
                .iter()
                .map(|plc| plc.join(&format!("/{did}")))
                .collect(),
        }
    }
}

fn read(did: &Did, answer: Result<Fetched, HttpError>) -> Result<DidDocument, ResolveError> {
    let unavailable = |reason: String| ResolveError::Unavailable {
        subject: did.to_string(),
        reason,
    };
    let answer = answer.map_err(|error| unavailable(excerpt(&error.to_string())))?;
    match answer.status.as_u16() {
        200 => {
            DidDocument::parse_for(did, &answer.body).map_err(|error| ResolveError::BadDocument {
                did: did.clone(),
                reason: excerpt(&error.to_string()),
            })
        }
        404 => Err(ResolveError::DidNotFound(did.clone())),
        410 => Err(ResolveError::DidTombstoned(did.clone())),
        status => Err(unavailable(format!("status {status}"))),
    }
}
