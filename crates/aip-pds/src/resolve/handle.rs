//! Handle → DID: DNS TXT and the handle's host side by side, DNS wins; then the servers that
//! were configured as a fallback (<https://atproto.com/specs/handle#handle-resolution>).

use aip_atproto::{Did, Handle, Origin};
use aip_base::{DnsError, HttpError, Limits, excerpt};
use http::StatusCode;
use serde::Deserialize;
use url::form_urlencoded;

use super::{ResolveError, Resolver};
use crate::document::{DOCUMENT_LIMITS, ONE_LINE_LIMITS, get};
use crate::trace::{Step, Trace};

/// A DID that a handle leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HandleAnswer {
    pub(super) did: Did,
    pub(super) method: HandleMethod,
}

/// Where the DID of a handle was read (<https://atproto.com/specs/handle#handle-resolution>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleMethod {
    /// The DNS record `_atproto.<handle>`.
    Dns,
    /// `/.well-known/atproto-did` at the host of the handle.
    WellKnown,
    /// `com.atproto.identity.resolveHandle` of a configured server.
    Server,
}

impl HandleMethod {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::WellKnown => "well-known",
            Self::Server => "server",
        }
    }
}

/// What one source says.
enum Answer {
    Did(Did),
    /// Two DIDs at once, which DNS can say.
    TwoDids,
    /// A definite "not here".
    Nothing,
    /// No usable answer.
    Failed(String),
}

impl Resolver {
    pub(super) async fn fetch_handle(
        &self,
        handle: &Handle,
        trace: &mut Trace,
    ) -> Result<HandleAnswer, ResolveError> {
        if !handle.is_resolvable(self.config.development) {
            return Err(ResolveError::HandleNotResolvable(handle.clone()));
        }
        let (dns, well_known) = tokio::join!(self.ask_dns(handle), self.ask_host(handle));
        let mut answers = Vec::new();
        for (method, (answer, step)) in [
            (HandleMethod::Dns, dns),
            (HandleMethod::WellKnown, well_known),
        ] {
            trace.steps.push(step);
            answers.push((method, answer));
        }
        if let Some(answer) = decide(handle, &answers)? {
            return Ok(answer);
        }
        for server in &self.config.handle_fallback {
            let (answer, step) = self.ask_server(server, handle).await;
            trace.steps.push(step);
            answers.push((HandleMethod::Server, answer));
            if let Some(answer) = decide(handle, &answers)? {
                return Ok(answer);
            }
        }
        let failure = answers.into_iter().find_map(|(_, answer)| match answer {
            Answer::Failed(reason) => Some(reason),
            _ => None,
        });
        Err(match failure {
            Some(reason) => ResolveError::Unavailable {
                subject: handle.to_string(),
                reason,
            },
            None => ResolveError::HandleNotFound(handle.clone()),
        })
    }

    async fn ask_dns(&self, handle: &Handle) -> (Answer, Step) {
        let name = format!("_atproto.{handle}");
        let step = Step::begin(&*self.clock, "DNS TXT", name.as_str());
        match self.dns.txt(&name).await {
            Ok(records) => {
                let values = |record: &'_ String| {
                    let value = record.trim().strip_prefix("did=")?;
                    Some(value.trim().to_owned())
                };
                let values: Vec<String> = records.iter().filter_map(values).collect();
                let mut dids = values.iter().filter_map(|value| Did::parse(value).ok());
                match (dids.next(), values.first()) {
                    (None, None) => (Answer::Nothing, step.failed("no record starts with `did=`")),
                    (None, Some(value)) => parsed(value, step),
                    (Some(did), _) if dids.all(|other| other == did) => {
                        let step = step.found(did.as_str());
                        (Answer::Did(did), step)
                    }
                    (Some(_), _) => (
                        Answer::TwoDids,
                        step.failed("the records name more than one DID"),
                    ),
                }
            }
            Err(DnsError::NoRecord) => (Answer::Nothing, step.failed("no such record")),
            Err(error @ DnsError::Failed(_)) => failed(&error, step),
        }
    }

    async fn ask_host(&self, handle: &Handle) -> (Answer, Step) {
        let url = format!("https://{handle}/.well-known/atproto-did");
        let step = Step::begin(&*self.clock, "HTTPS", url.as_str());
        match get(&*self.http, &url, ONE_LINE_LIMITS).await {
            Ok(answer) if answer.status.is_success() => {
                // The reference reads the first line.
                let text = String::from_utf8_lossy(&answer.body);
                let text = text.trim_start_matches('\u{feff}').trim_start();
                parsed(text.lines().next().unwrap_or_default().trim(), step)
            }
            Ok(answer) => not_found_or_failed(answer.status, step),
            // A name that only leads inside has no well-known document for us, and neither has one that
            // does not exist.
            Err(error @ (HttpError::Refused(_) | HttpError::NoHost)) => {
                (Answer::Nothing, step.failed(error.to_string()))
            }
            Err(error) => failed(&error, step),
        }
    }

    async fn ask_server(&self, server: &Origin, handle: &Handle) -> (Answer, Step) {
        #[derive(Deserialize)]
        struct Resolved {
            did: String,
        }

        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("handle", handle.as_str())
            .finish();
        let url = server.join(&format!("/xrpc/com.atproto.identity.resolveHandle?{query}"));
        let step = Step::begin(&*self.clock, "XRPC", url.as_str());
        match get(
            &*self.http,
            &url,
            Limits {
                deadline: ONE_LINE_LIMITS.deadline,
                ..DOCUMENT_LIMITS
            },
        )
        .await
        {
            Ok(answer) if answer.status == StatusCode::OK => {
                match serde_json::from_slice(&answer.body) {
                    Ok(Resolved { did }) => parsed(did.trim(), step),
                    Err(error) => failed(&error, step),
                }
            }
            Ok(answer) => not_found_or_failed(answer.status, step),
            Err(error) => failed(&error, step),
        }
    }
}

/// The first DID in the order of `answers`; two DIDs in DNS are an error, not a choice.
fn decide(
    handle: &Handle,
    answers: &[(HandleMethod, Answer)],
) -> Result<Option<HandleAnswer>, ResolveError> {
    for (method, answer) in answers {
        match answer {
            Answer::TwoDids => return Err(ResolveError::HandleAmbiguous(handle.clone())),
            Answer::Did(did) => {
                return Ok(Some(HandleAnswer {
                    did: did.clone(),
                    method: *method,
                }));
            }
            Answer::Nothing | Answer::Failed(_) => {}
        }
    }
    Ok(None)
}

fn parsed(text: &str, step: crate::trace::RunningStep<'_>) -> (Answer, Step) {
    match Did::parse(text) {
        Ok(did) => {
            let step = step.found(did.as_str());
            (Answer::Did(did), step)
        }
        Err(error) => (
            Answer::Nothing,
            step.failed(excerpt(&format!("`{text}` is not a usable DID: {error}"))),
        ),
    }
}

fn not_found_or_failed(status: StatusCode, step: crate::trace::RunningStep<'_>) -> (Answer, Step) {
    let outcome = format!("status {}", status.as_u16());
    // 403 and 429 are how bot protection answers: that says nothing about the handle.
    let definite = matches!(status.as_u16(), 300..=400 | 404 | 410);
    let answer = if definite {
        Answer::Nothing
    } else {
        Answer::Failed(outcome.clone())
    };
    (answer, step.failed(outcome))
}

fn failed(error: &dyn std::error::Error, step: crate::trace::RunningStep<'_>) -> (Answer, Step) {
    let reason = excerpt(&error.to_string());
    (Answer::Failed(reason.clone()), step.failed(reason))
}
