//! One request of AIP's own to a server: not while the server is to be left alone, measured, and
//! learnt from.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Fetched, HttpError, Limits};
use bytes::Bytes;
use http::Request;

use crate::client::PdsClient;
use crate::measure::Timed;
use crate::origins::Paused;

/// How long a server may take.
const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(15),
    ..Limits::DOCUMENT
};

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
    /// Sends `request` to `origin`.
    pub(crate) async fn ask(
        &self,
        origin: &Origin,
        request: Request<Bytes>,
    ) -> Result<Fetched, AskError> {
        let admission = self.origins.admit(origin).map_err(AskError::Paused)?;
        let timed = Timed::begin(&*self.clock, origin);
        let answer = match self.http.fetch(request, LIMITS).await {
            Ok(answer) => answer,
            Err(error) => {
                timed.failed();
                admission.failed();
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
        if answer.status.is_server_error() {
            admission.failed();
        } else {
            admission.answered();
        }
        Ok(answer)
    }
}
