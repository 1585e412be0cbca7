//! One request of AIP's own to a server: not while the server is to be left alone, measured, and
//! learnt from.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Fetched, HttpError, Limits};
use bytes::Bytes;
use http::Request;

use crate::client::PdsClient;
use crate::measure::Timed;
use crate::origins::{Admission, Paused};

/// How long a server may take whose answer can be asked for again. One that takes longer counts as
/// a server that does not answer, also where its answer is waited for.
pub(crate) const REPEATABLE: Duration = Duration::from_secs(15);
/// How long the answer to a code is waited for: the code is spent, and a person waits, too.
pub(crate) const SIGN_IN: Duration = Duration::from_mins(1);
/// How long the answer to a refresh is waited for: the refresh token is spent, and a server that is
/// asked again ends the session. Longer than a server takes that answers at all.
pub(crate) const REFRESH: Duration = Duration::from_secs(150);

/// Why there is no answer.
pub(crate) enum AskError {
    /// Nothing was sent: the server is down or asked for a pause.
    Paused(Paused),
    /// Nothing was sent.
    NotSent(HttpError),
    /// The request may have been processed.
    MayHaveArrived(HttpError),
}

impl PdsClient {
    /// Sends `request` to `origin` and waits for its answer until `deadline`.
    pub(crate) async fn ask(
        &self,
        origin: &Origin,
        request: Request<Bytes>,
        deadline: Duration,
    ) -> Result<Fetched, AskError> {
        let mut admission = Some(self.origins.admit(origin).map_err(AskError::Paused)?);
        let timed = Timed::begin(&*self.clock, origin);
        let limits = Limits {
            deadline,
            ..Limits::DOCUMENT
        };
        let mut answer = self.http.fetch(request, limits);
        let in_time = tokio::time::timeout(REPEATABLE, &mut answer).await;
        let outcome = if let Ok(outcome) = in_time {
            outcome
        } else {
            // Others need not wait so long to learn that this server is in trouble.
            admission.take().map(Admission::failed);
            answer.await
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                timed.failed();
                admission.map(Admission::failed);
                return Err(if error.may_have_arrived() {
                    AskError::MayHaveArrived(error)
                } else {
                    AskError::NotSent(error)
                });
            }
        };
        timed.answered(answer.status);
        self.origins
            .learn_limits(origin, answer.status, &answer.headers, true);
        match admission {
            Some(admission) if answer.status.is_server_error() => admission.failed(),
            Some(admission) => admission.answered(),
            None => {}
        }
        Ok(answer)
    }
}
