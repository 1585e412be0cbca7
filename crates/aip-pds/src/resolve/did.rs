//! DID → document: `did:plc` at the configured directories, `did:web` at its host
//! (<https://web.plc.directory/spec/v0.1/did-plc>, <https://w3c-ccg.github.io/did-method-web/>).

use std::sync::Arc;

use aip_atproto::{Did, DidDocument};
use aip_base::{Fetched, HttpError, Limits, excerpt};
use http::header::ETAG;
use http::{HeaderValue, StatusCode};

use super::directories::DirectoryId;
use super::{ResolveError, Resolver};
use crate::cache::ByteSize;
use crate::document::{DOCUMENT_LIMITS, get_unless};
use crate::trace::{RunningStep, Step, Trace};

/// The longest entity tag that is remembered, in bytes.
const MAX_TAG: usize = 128;

/// What a document is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To decide who somebody is: the PLC authority is asked, and nobody else.
    Proof,
    /// For anything else: mirrors are asked first.
    Information,
}

/// A document as it was read.
#[derive(Debug, Clone)]
pub(super) struct ReadDocument {
    pub(super) document: Arc<DidDocument>,
    /// Whether who may say it said it: the PLC authority, or the host of a `did:web`.
    pub(super) is_of_authority: bool,
    tag: Option<EntityTag>,
}

/// By which a directory says that its document is still the same (RFC 9110 §8.8.3).
#[derive(Debug, Clone)]
struct EntityTag {
    directory: DirectoryId,
    value: HeaderValue,
}

/// Whether a mirror's document is another one than the authority gave before.
fn contradicts_authority(read: &ReadDocument, kept: Option<&ReadDocument>) -> bool {
    kept.is_some_and(|kept| kept.is_of_authority && kept.document != read.document)
}

impl Resolver {
    /// Reads the document of `did`. `kept` is the one that was read before: a directory that says that it has
    /// not changed since need not send it again.
    pub(super) async fn fetch_document(
        &self,
        did: &Did,
        purpose: Purpose,
        kept: Option<ReadDocument>,
        trace: &mut Trace,
    ) -> Result<ReadDocument, ResolveError> {
        match did.web_host() {
            Some(host) => self.fetch_from_host(did, &host, trace).await,
            None => self.fetch_from_directories(did, purpose, kept, trace).await,
        }
    }

    async fn fetch_from_host(
        &self,
        did: &Did,
        host: &str,
        trace: &mut Trace,
    ) -> Result<ReadDocument, ResolveError> {
        // Only `localhost` has a port, and only in development is it allowed out.
        let is_local = host.split(':').next() == Some("localhost");
        let scheme = if is_local { "http" } else { "https" };
        let url = format!("{scheme}://{host}/.well-known/did.json");
        let step = self.begin_read(did, &url);
        let answer = get_unless(&*self.http, &url, DOCUMENT_LIMITS, None).await;
        let read = read(did, answer).map(|document| ReadDocument {
            document,
            is_of_authority: true,
            tag: None,
        });
        end_read(step, &read, trace);
        read
    }

    /// Asks one directory after the other. That there is no such DID, or that it was given up, only the
    /// authority can say: a mirror may lag behind, and a tombstone can be taken back for three days. Likewise
    /// only the authority can say that what it said before has changed.
    async fn fetch_from_directories(
        &self,
        did: &Did,
        purpose: Purpose,
        kept: Option<ReadDocument>,
        trace: &mut Trace,
    ) -> Result<ReadDocument, ResolveError> {
        let authority = self.directories.authority();
        let asked = match purpose {
            Purpose::Proof => authority.into_iter().collect(),
            Purpose::Information => self.directories.in_order(),
        };
        let mut outage = unavailable(did, "no PLC directory is configured".to_owned());
        for id in asked {
            let Some(url) = self.directories.url(id, did) else {
                continue;
            };
            let is_authority = authority == Some(id);
            let limits = self.directories.limits(id);
            let step = self.begin_read(did, &url);
            let read = self.ask(did, id, &url, limits, kept.as_ref()).await;
            end_read(step, &read, trace);
            match read {
                Ok(read) if !is_authority && contradicts_authority(&read, kept.as_ref()) => {}
                Ok(read) => return Ok(read),
                Err(error) if is_authority && !error.is_transient() => return Err(error),
                Err(error) if is_authority => outage = error,
                Err(_) => {}
            }
        }
        Err(outage)
    }

    /// Asks one directory.
    async fn ask(
        &self,
        did: &Did,
        id: DirectoryId,
        url: &str,
        limits: Limits,
        kept: Option<&ReadDocument>,
    ) -> Result<ReadDocument, ResolveError> {
        let is_of_authority = self.directories.authority() == Some(id);
        let known = kept.and_then(|kept| {
            let tag = kept.tag.as_ref().filter(|tag| tag.directory == id);
            tag.map(|tag| (tag, &kept.document))
        });
        let reading = self.directories.begin(id);
        let tag = known.map(|(tag, _)| &tag.value);
        let answer = get_unless(&*self.http, url, limits, tag).await;
        if answer.as_ref().is_ok_and(|it| is_answer(it.status)) {
            reading.answered();
        } else {
            reading.failed();
        }
        if let (Some((tag, document)), Ok(answer)) = (known, &answer)
            && answer.status == StatusCode::NOT_MODIFIED
        {
            return Ok(ReadDocument {
                document: Arc::clone(document),
                is_of_authority,
                tag: Some(tag.clone()),
            });
        }
        let value = answer.as_ref().ok().and_then(entity_tag);
        let tag = value.map(|value| EntityTag {
            directory: id,
            value,
        });
        read(did, answer).map(|document| ReadDocument {
            document,
            is_of_authority,
            tag,
        })
    }

    fn begin_read(&self, did: &Did, url: &str) -> RunningStep<'_> {
        let method = did.method().as_str();
        metrics::counter!("aip_did_documents_read_total", "method" => method).increment(1);
        Step::begin(&*self.clock, "DID document", url)
    }
}

impl ByteSize for ReadDocument {
    fn bytes(&self) -> usize {
        self.document.bytes() + self.tag.as_ref().map_or(0, |tag| tag.value.len())
    }
}

fn end_read(step: RunningStep<'_>, read: &Result<ReadDocument, ResolveError>, trace: &mut Trace) {
    trace.steps.push(match read {
        Ok(read) => {
            let pds = read.document.pds_endpoint();
            let pds = pds.map_or("none", |pds| pds.as_str());
            step.found(format!("PDS {pds}"))
        }
        Err(error) => step.failed(error.to_string()),
    });
}

/// Whether a directory that answers with that status is well.
fn is_answer(status: StatusCode) -> bool {
    status.is_success()
        || matches!(
            status,
            StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND | StatusCode::GONE
        )
}

/// The tag of an answer, in memory of its own.
fn entity_tag(answer: &Fetched) -> Option<HeaderValue> {
    let tag = answer.headers.get(ETAG)?.as_bytes();
    let is_usable = answer.status == StatusCode::OK && tag.len() <= MAX_TAG;
    HeaderValue::from_bytes(tag).ok().filter(|_| is_usable)
}

fn read(did: &Did, answer: Result<Fetched, HttpError>) -> Result<Arc<DidDocument>, ResolveError> {
    let answer = answer.map_err(|error| unavailable(did, excerpt(&error.to_string())))?;
    match answer.status.as_u16() {
        200 => DidDocument::parse_for(did, &answer.body)
            .map(Arc::new)
            .map_err(|error| ResolveError::BadDocument {
                did: did.clone(),
                reason: excerpt(&error.to_string()),
            }),
        404 => Err(ResolveError::DidNotFound(did.clone())),
        410 => Err(ResolveError::DidTombstoned(did.clone())),
        status => Err(unavailable(did, format!("status {status}"))),
    }
}

fn unavailable(did: &Did, reason: String) -> ResolveError {
    ResolveError::Unavailable {
        subject: did.to_string(),
        reason,
    }
}
