//! What came of a request to another server, in the word by which one looks for the cause, and what
//! to change.

use aip_base::{Clock as _, Fetched, Http, HttpError, Limits, SystemClock};
use bytes::Bytes;
use http::{Request, StatusCode};

use super::finding::Finding;

/// Where everything is told that must be open.
const PAGE: &str =
    "\"What PLC and handle resolution need\" (docs/network.md) lists what must be open";

/// How a request ended that got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    NoSuchHost,
    NotPublic,
    NameServers,
    Timeout,
    ConnectionRefused,
    Tls,
    NoConnection,
    Broken,
    Status(StatusCode),
}

impl Outcome {
    pub(super) fn of(error: &HttpError) -> Self {
        match error {
            HttpError::Refused(_) => Self::NotPublic,
            HttpError::NoHost => Self::NoSuchHost,
            HttpError::Deadline(_) => Self::Timeout,
            HttpError::Connect(why) => Self::of_connecting(why),
            HttpError::Busy(_)
            | HttpError::Broken(_)
            | HttpError::TooLarge(_)
            | HttpError::Compressed(_) => Self::Broken,
        }
    }

    /// The client tells the causes of a failed connection as a text, the innermost last: those of
    /// the operating system, of rustls and of the resolver.
    fn of_connecting(why: &str) -> Self {
        let why = why.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if has(&["the look-up failed"]) {
            Self::NameServers
        } else if has(&["timed out", "not connected within"]) {
            Self::Timeout
        } else if has(&["certificate", "tls", "handshake"]) {
            Self::Tls
        } else if has(&["connection refused"]) {
            Self::ConnectionRefused
        } else {
            Self::NoConnection
        }
    }

    fn word(&self) -> String {
        match self {
            Self::NoSuchHost => "no such host".to_owned(),
            Self::NotPublic => "not a public address".to_owned(),
            Self::NameServers => "no answer from the name servers".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::ConnectionRefused => "connection refused".to_owned(),
            Self::Tls => "TLS".to_owned(),
            Self::NoConnection => "no connection".to_owned(),
            Self::Broken => "no usable answer".to_owned(),
            Self::Status(status) => format!("HTTP {}", status.as_u16()),
        }
    }

    fn advice(&self) -> String {
        let what = match self {
            Self::NoSuchHost => {
                "check the name; if others can look it up, name servers that know it go into \
                 AIP_DNS_NAMESERVERS"
            }
            Self::NotPublic => {
                "AIP goes to public addresses only: if this one should be public, the name servers \
                 here answer otherwise than those outside (AIP_DNS_NAMESERVERS names others)"
            }
            Self::NameServers => {
                "let this machine reach its name servers (UDP and TCP port 53), or name others \
                 with AIP_DNS_NAMESERVERS"
            }
            Self::Timeout => {
                "something drops the packets: a firewall, a security group or a NetworkPolicy must \
                 let TCP port 443 out"
            }
            Self::ConnectionRefused => {
                "nobody listens there, or a firewall refuses: check the address and the port"
            }
            Self::Tls => {
                "if a proxy opens TLS on the way, its authority goes into \
                 AIP_CERTIFICATE_BUNDLES; else the certificate of the server is wrong"
            }
            Self::NoConnection => "check the route and the firewall to this server",
            Self::Broken => "something between here and the server changes or cuts its answers",
            Self::Status(status) if status.is_server_error() => {
                "the server, or a proxy before it, fails: try again later, or ask its operator"
            }
            Self::Status(_) => "something else answers there: check the address, and for a proxy",
        };
        format!("{what}; {PAGE}")
    }
}

/// A request that got no usable answer.
#[derive(Debug)]
pub(super) struct FailedRequest {
    url: String,
    pub(super) outcome: Outcome,
    /// What the client says; empty if the outcome says all.
    why: String,
}

impl FailedRequest {
    /// An answer with a status that is of no use.
    pub(super) fn with_status(url: &str, status: StatusCode) -> Self {
        Self {
            url: url.to_owned(),
            outcome: Outcome::Status(status),
            why: String::new(),
        }
    }

    pub(super) fn found(&self) -> String {
        let Self { url, outcome, why } = self;
        let word = outcome.word();
        if why.is_empty() {
            format!("{url}: {word}")
        } else {
            format!("{url}: {word} ({why})")
        }
    }

    pub(super) fn advice(&self) -> String {
        self.outcome.advice()
    }

    /// A check that failed for it.
    pub(super) fn fail(&self) -> Finding {
        Finding::fail(self.found(), self.advice())
    }

    /// Something to look at, which may be no fault of this installation.
    pub(super) fn warn(&self) -> Finding {
        Finding::warn(self.found(), self.advice())
    }
}

/// Fetches `url`; the answer, whatever its status, and the time that it took in milliseconds.
pub(super) async fn get(
    http: &dyn Http,
    url: &str,
    limits: Limits,
) -> Result<(Fetched, u128), FailedRequest> {
    let failed = |error: &HttpError| FailedRequest {
        url: url.to_owned(),
        outcome: Outcome::of(error),
        why: error.to_string(),
    };
    let request = Request::get(url)
        .body(Bytes::new())
        .map_err(|error| failed(&HttpError::Refused(error.to_string())))?;
    let before = SystemClock.now();
    match http.fetch(request, limits).await {
        Ok(answer) => Ok((answer, SystemClock.now().since(before).as_millis())),
        Err(error) => Err(failed(&error)),
    }
}
