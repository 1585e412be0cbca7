//! Reading a document (draft-ietf-oauth-client-id-metadata-document-02 §5): one request, no redirect,
//! within bounds.

use std::time::Duration;

use aip_base::{Fetched, Http, Limits};
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};

use super::url::DocumentUrl;

/// What reading a document may cost: §8.7 suggests 5 kilobytes.
const READ_LIMITS: Limits = Limits {
    max_bytes: 5 * 1024,
    deadline: Duration::from_secs(5),
};

/// Why there is no document.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What its developer is shown.
    pub(super) why: String,
    /// Whether the document may be there as it was, so that the one from before holds meanwhile. It is
    /// withdrawn only by a site that answers: that it is gone, or with another document.
    pub(super) is_transient: bool,
}

impl Failure {
    /// What does not pass by itself.
    pub(super) fn permanent(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_transient: false,
        }
    }
}

/// Reads what is at `url`.
pub(super) async fn fetch(http: &dyn Http, url: &DocumentUrl) -> Result<Fetched, Failure> {
    let request = Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| Failure::permanent(error.to_string()))?;
    // Nobody has said anything about the document: a name that leads nowhere, or to an address that is not
    // public, is as often a fault of DNS.
    let fetched = http.fetch(request, READ_LIMITS).await;
    let fetched = fetched.map_err(|error| Failure {
        why: error.to_string(),
        is_transient: true,
    })?;
    let status = fetched.status;
    if status != StatusCode::OK {
        return Err(Failure {
            why: format!("the answer has status {}", status.as_u16()),
            is_transient: !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE),
        });
    }
    if !fetched.is_json() {
        return Err(Failure::permanent(
            "the answer's Content-Type is not application/json",
        ));
    }
    Ok(fetched)
}

#[cfg(test)]
mod tests {
    use aip_base::{Body, HttpError, Share, empty};
    use async_trait::async_trait;
    use http::Response;
    use http::header::CONTENT_TYPE;

    use super::*;

    type Answer = fn() -> Result<Response<Body>, HttpError>;

    /// A site that always answers alike.
    struct Site(Answer);

    #[async_trait]
    impl Http for Site {
        async fn send(
            &self,
            _request: Request<Body>,
            _deadline: Duration,
        ) -> Result<Response<Body>, HttpError> {
            (self.0)()
        }
    }

    fn answer(status: u16, content_type: &'static str) -> Response<Body> {
        let answer = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type);
        answer.body(empty()).unwrap()
    }

    async fn failure(site: Answer) -> Failure {
        let id = "https://app.example/client.json".parse().unwrap();
        let url = DocumentUrl::parse(&id).unwrap();
        fetch(&Site(site), &url).await.unwrap_err()
    }

    #[tokio::test]
    async fn only_a_site_that_answers_withdraws_its_document() {
        let unread: [Answer; 16] = [
            || Err(HttpError::NoHost),
            || Err(HttpError::Refused("it has no public address".to_owned())),
            || Err(HttpError::Connect("refused".to_owned())),
            || Err(HttpError::Busy(Share::Host)),
            || Err(HttpError::Broken("reset".to_owned())),
            || Err(HttpError::Deadline(READ_LIMITS.deadline)),
            || Err(HttpError::TooLarge(READ_LIMITS.max_bytes)),
            || Err(HttpError::Compressed("gzip".to_owned())),
            || Ok(answer(500, "text/html")),
            || Ok(answer(503, "application/json")),
            || Ok(answer(429, "application/json")),
            || Ok(answer(301, "text/html")),
            || Ok(answer(302, "text/html")),
            || Ok(answer(401, "application/json")),
            || Ok(answer(403, "text/html")),
            || Ok(answer(204, "application/json")),
        ];
        for site in unread {
            let failure = failure(site).await;
            assert!(failure.is_transient, "{failure:?}");
        }
        let withdrawn: [Answer; 4] = [
            || Ok(answer(404, "application/json")),
            || Ok(answer(404, "text/html")),
            || Ok(answer(410, "text/html")),
            || Ok(answer(200, "text/html")),
        ];
        for site in withdrawn {
            let failure = failure(site).await;
            assert!(!failure.is_transient, "{failure:?}");
        }
    }
}
