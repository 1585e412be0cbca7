//! What PDSs fetch from AIP (<https://atproto.com/specs/oauth#clients>), fetched as they do it:
//! under the external base, over https, without following a redirect, and soon.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_base::{Clock as _, Fetched, Http as _, HttpError, Limits, SystemClock};
use aip_http::Endpoint;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::Value;

use super::finding::Finding;
use super::installation::Installation;

/// PDSs wait no longer than a few seconds, and a person waits with them.
const SLOW_RESPONSE_TIME: Duration = Duration::from_secs(1);

pub(super) async fn document(installation: &Installation) -> Finding {
    let (url, answer) = match fetch(installation, Endpoint::ClientMetadata).await {
        Ok(answered) => answered,
        Err(finding) => return finding,
    };
    match answer.json.get("client_id").and_then(Value::as_str) {
        Some(id) if id == url => answer.judged(&url),
        other => Finding::fail(
            format!("{url}: its client_id is {other:?}"),
            "PDSs refuse it: the external base of the server that answers there must be this one",
        ),
    }
}

pub(super) async fn key_set(installation: &Installation) -> Finding {
    let set = match installation.signing_keys.needed("key set") {
        Ok(set) => set,
        Err(finding) => return finding,
    };
    let (url, answer) = match fetch(installation, Endpoint::UpstreamJwks).await {
        Ok(answered) => answered,
        Err(finding) => return finding,
    };
    let keys = answer.json.get("keys").and_then(Value::as_array);
    let published: BTreeSet<&str> = keys
        .into_iter()
        .flatten()
        .filter_map(|key| key.get("kid")?.as_str())
        .collect();
    let ours = set.public_upstream_jwks();
    let missing: Vec<&str> = ours
        .keys()
        .iter()
        .filter_map(|key| key.kid())
        .filter(|kid| !published.contains(kid))
        .collect();
    if missing.is_empty() {
        return answer.judged(&url);
    }
    Finding::fail(
        format!("{url} lacks {}", missing.join(", ")),
        "PDSs cannot verify AIP: give every server this key set, and send them SIGHUP",
    )
}

/// An answer that is JSON.
struct Answer {
    json: Value,
    took: Duration,
}

impl Answer {
    fn judged(&self, url: &str) -> Finding {
        let found = format!("{url} in {} ms", self.took.as_millis());
        if self.took > SLOW_RESPONSE_TIME {
            return Finding::warn(
                found,
                "slow: find out what the way to the server goes through",
            );
        }
        Finding::ok(found)
    }
}

/// Fetches an endpoint under the external base.
async fn fetch(
    installation: &Installation,
    endpoint: Endpoint,
) -> Result<(String, Answer), Finding> {
    let base = &installation.loaded.external_base;
    if !base.is_https() {
        return Err(Finding::skipped(
            "a loopback development client: PDSs fetch nothing",
        ));
    }
    let network = installation.network.needed("way out")?;
    let url = endpoint.url(base);
    let request = Request::get(&url)
        .body(Bytes::new())
        .map_err(|error| Finding::fail(error.to_string(), "correct AIP_EXTERNAL_BASE"))?;
    let before = SystemClock.now();
    let answer = network.http.fetch(request, Limits::DOCUMENT).await;
    let took = SystemClock.now().since(before);
    let answer = answer.map_err(|error| unreachable_from_here(&url, &error))?;
    let json = read(&url, &answer)?;
    Ok((url, Answer { json, took }))
}

fn unreachable_from_here(url: &str, error: &HttpError) -> Finding {
    let found = format!("{url}: {error}");
    match error {
        // Another network may see another address; only a look from there can tell.
        HttpError::Refused(_) => Finding::warn(
            found,
            "from here the name leads to a private address: run `aip doctor` outside, too",
        ),
        _ => Finding::fail(
            found,
            "PDSs cannot fetch it either: check DNS, the proxy, its certificate, and that `aip \
             serve` runs",
        ),
    }
}

fn read(url: &str, answer: &Fetched) -> Result<Value, Finding> {
    let status = answer.status;
    if status.is_redirection() {
        return Err(Finding::fail(
            format!("{url} redirects ({status})"),
            "PDSs follow no redirect: let the proxy serve this path itself",
        ));
    }
    if status != StatusCode::OK {
        return Err(Finding::fail(
            format!("{url} answers {status}"),
            "let the proxy pass this path on to `aip serve`",
        ));
    }
    let media_type = answer.headers.get(CONTENT_TYPE);
    let media_type = media_type.and_then(|it| it.to_str().ok()).unwrap_or("");
    if media_type.split(';').next() != Some("application/json") {
        return Err(Finding::fail(
            format!("{url} is `{media_type}`"),
            "something else answers there: let the proxy pass this path on to `aip serve`",
        ));
    }
    serde_json::from_slice(&answer.body).map_err(|_| {
        Finding::fail(
            format!("{url} is no JSON"),
            "something else answers there: let the proxy pass this path on to `aip serve`",
        )
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::finding::Status;
    use super::*;

    fn answered(status: u16, media_type: &'static str, body: &'static str) -> Fetched {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
        Fetched {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn only_json_that_is_served_without_a_detour_is_taken() {
        const JSON: &str = "application/json";
        let url = "https://id.example.org/x";
        for (answer, words) in [
            (answered(301, JSON, "{}"), "redirects"),
            (answered(404, JSON, "{}"), "answers 404"),
            (answered(200, "text/html", "{}"), "is `text/html`"),
            (answered(200, JSON, "<html>"), "is no JSON"),
        ] {
            let Err(finding) = read(url, &answer) else {
                panic!("taken, although it {words}");
            };
            let line = serde_json::to_value(finding.line("client document")).unwrap();
            assert_eq!(line["status"], "fail");
            assert!(line["found"].as_str().unwrap().contains(words), "{line}");
            assert!(line["advice"].is_string(), "{line}");
        }
        let good = answered(200, "application/json; charset=utf-8", "{}");
        assert!(read(url, &good).is_ok());
    }

    #[test]
    fn a_slow_answer_is_reported_and_a_private_address_is_no_failure() {
        let judged = |millis| {
            let answer = Answer {
                json: Value::Null,
                took: Duration::from_millis(millis),
            };
            answer.judged("x").line("client document").status
        };
        assert_eq!((judged(900), judged(1_100)), (Status::Ok, Status::Warn));

        let refused = HttpError::Refused("`id.example.org` has no public address".to_owned());
        let status = |error| unreachable_from_here("x", &error).line("x").status;
        assert_eq!(status(refused), Status::Warn);
        assert_eq!(status(HttpError::Connect("no".to_owned())), Status::Fail);
    }
}
