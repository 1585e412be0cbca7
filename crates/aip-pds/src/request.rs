//! One request of AIP's own to a server: not while the server is to be left alone, measured, and
//! learnt from.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{HttpError, Limits, Partial};
use bytes::Bytes;
use http::Request;

use crate::client::PdsClient;
use crate::content_coding::decode;
use crate::document::DOCUMENT;
use crate::origins::Paused;
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

impl PdsClient {
    /// Sends `request` to `origin` and waits for its answer until `deadline`. An answer that is
    /// compressed is decoded, and one that breaks off is an answer too: what came of it may have been
    /// given only once.
    pub(crate) async fn send_request(
        &self,
        origin: &Origin,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> Result<Partial, RequestError> {
        let mut admission = Some(self.origins.admit(origin).map_err(RequestError::Paused)?);
        let timer = RequestTimer::begin(&*self.clock, origin);
        let limits = Limits {
            deadline,
            ..DOCUMENT
        };
        let mut answer = self.http.fetch_partial(request, limits);
        let in_time = tokio::time::timeout(IDEMPOTENT_TIMEOUT, &mut answer).await;
        let outcome = if let Ok(outcome) = in_time {
            outcome
        } else {
            // Others need not wait so long to learn that this server is in trouble.
            if let Some(admission) = admission.take() {
                admission.failed();
            }
            answer.await
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                timer.failed();
                if let Some(admission) = admission {
                    admission.failed();
                }
                return Err(if error.may_have_arrived() {
                    RequestError::MayHaveArrived(error)
                } else {
                    RequestError::NotSent(error)
                });
            }
        };
        let Partial { fetched, broke } = answer;
        timer.answered(fetched.status);
        self.origins
            .learn_limits(origin, fetched.status, &fetched.headers, true);
        let failed = fetched.status.is_server_error() || broke.is_some();
        match admission {
            Some(admission) if failed => admission.failed(),
            Some(admission) => admission.answered(),
            None => {}
        }
        let fetched = decode(fetched);
        let unread = fetched.content_coding().map(HttpError::Compressed);
        Ok(Partial {
            broke: unread.or(broke),
            fetched,
        })
    }
}
