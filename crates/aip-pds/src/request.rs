//! One request to a server, of AIP's own or a call of an app: not while the server is to be left
//! alone, measured, and learnt from.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Body, HttpError, Limits, Partial};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};

use crate::client::PdsClient;
use crate::content_coding::decode;
use crate::document::DOCUMENT_LIMITS;
use crate::origins::{Admission, Origins, Paused};
use crate::request_timer::RequestTimer;

/// How long a server may take whose answer can be asked for again. One that takes longer counts as
/// a server that does not answer, also where its answer is waited for.
pub(crate) const IDEMPOTENT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the answer to a code is waited for: the code is spent, and a person waits, too.
pub(crate) const CODE_EXCHANGE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the answer to a refresh is waited for: the refresh token is spent, and a server that is
/// asked again ends the session. Longer than a server takes that answers at all.
pub(crate) const REFRESH_TIMEOUT: Duration = Duration::from_secs(150);

/// Why there is no answer.
pub(crate) enum RequestError {
    /// Nothing was sent: the server is down or asked for a pause.
    Paused(Paused),
    /// Nothing was sent.
    NotSent(HttpError),
    /// The request may have been processed.
    MayHaveArrived(HttpError),
}

/// Why a call of an app has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent.
    #[error(transparent)]
    Paused(#[from] Paused),
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// A request that is under way: breaker, metrics and limits learn how it goes.
struct Pending<'a> {
    origins: &'a Origins,
    origin: &'a Origin,
    /// `None` once the breaker knows enough.
    admission: Option<Admission<'a>>,
    timer: RequestTimer<'a>,
}

impl Pending<'_> {
    /// The answer is late, which others need not wait so long to learn.
    fn is_late(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.failed();
        }
    }

    /// No answer came. `is_fault`: that says something about the server.
    fn unanswered(mut self, is_fault: bool) {
        if is_fault {
            self.is_late();
        }
        self.timer.failed();
    }

    /// An answer came. `own`: of an endpoint that only AIP calls. `is_fault`: the server says that it
    /// cannot.
    fn answered(mut self, status: StatusCode, headers: &HeaderMap, own: bool, is_fault: bool) {
        if is_fault {
            self.is_late();
        }
        if let Some(admission) = self.admission {
            admission.answered();
        }
        self.timer.answered(status);
        self.origins.learn_limits(self.origin, status, headers, own);
    }
}

impl PdsClient {
    fn begin<'a>(&'a self, origin: &'a Origin) -> Result<Pending<'a>, Paused> {
        Ok(Pending {
            origins: &self.origins,
            origin,
            admission: Some(self.origins.admit(origin)?),
            timer: RequestTimer::begin(&self.request_metrics, &*self.clock, origin),
        })
    }

    /// Sends a call of an app to `pds` and returns the head of the answer, which may take until
    /// `deadline` after the whole request has left; its body still streams.
    ///
    /// An app may ask for what fails, takes too long, or too often. So no answer counts against the
    /// server, nor a call that may have arrived, and its limits hold back nobody who waits.
    pub async fn send_call(
        &self,
        pds: &Origin,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, SendError> {
        let pending = self.begin(pds)?;
        match self.http.send(request, deadline).await {
            Ok(response) => {
                pending.answered(response.status(), response.headers(), false, false);
                Ok(response)
            }
            Err(error) => {
                let is_busy = matches!(error, HttpError::Busy(_));
                pending.unanswered(!error.may_have_arrived() && !is_busy);
                Err(error.into())
            }
        }
    }

    /// Sends a request of AIP's own to `origin` and waits for its answer until `deadline`. An answer
    /// that is compressed is decoded, and one that breaks off is an answer too: what came of it may
    /// have been given only once.
    pub(crate) async fn send_request(
        &self,
        origin: &Origin,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> Result<Partial, RequestError> {
        let mut pending = self.begin(origin).map_err(RequestError::Paused)?;
        let limits = Limits {
            deadline,
            ..DOCUMENT_LIMITS
        };
        let mut answer = self.http.fetch_partial(request, limits);
        let in_time = tokio::time::timeout(IDEMPOTENT_TIMEOUT, &mut answer).await;
        let outcome = if let Ok(outcome) = in_time {
            outcome
        } else {
            pending.is_late();
            answer.await
        };
        let Partial { fetched, broke } = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                pending.unanswered(true);
                return Err(if error.may_have_arrived() {
                    RequestError::MayHaveArrived(error)
                } else {
                    RequestError::NotSent(error)
                });
            }
        };
        let is_fault = fetched.status.is_server_error() || broke.is_some();
        pending.answered(fetched.status, &fetched.headers, true, is_fault);
        let fetched = decode(fetched);
        let unread = fetched.content_coding().map(HttpError::Compressed);
        Ok(Partial {
            broke: unread.or(broke),
            fetched,
        })
    }
}
