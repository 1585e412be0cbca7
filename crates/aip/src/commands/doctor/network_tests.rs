//! The checks of the network, against servers and name servers that fail in every way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use aip_base::{Body, HttpError, full};
use async_trait::async_trait;
use http::{Request, Response};
use serde_json::Value;

use super::*;

/// A status and a body, or why there is no answer.
type Answer = Result<(u16, &'static str), HttpError>;

/// What each URL answers.
#[derive(Default)]
struct Answers(Mutex<BTreeMap<String, Answer>>);

impl Answers {
    fn to(self, url: &str, answer: Answer) -> Self {
        self.0.lock().unwrap().insert(url.to_owned(), answer);
        self
    }
}

#[async_trait]
impl Http for Answers {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        let url = request.uri().to_string();
        let answer = self.0.lock().unwrap().remove(&url);
        let (status, body) = answer.unwrap_or_else(|| panic!("nobody expected {url}"))?;
        Ok(Response::builder().status(status).body(full(body)).unwrap())
    }
}

/// What every name answers.
struct Names(Result<Vec<&'static str>, DnsError>);

#[async_trait]
impl DnsTxt for Names {
    async fn txt(&self, _: &str) -> Result<Vec<String>, DnsError> {
        let records = self.0.clone()?;
        Ok(records.into_iter().map(ToOwned::to_owned).collect())
    }
}

#[async_trait]
impl Resolve for Names {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        let records = self.0.clone()?;
        Ok(records.into_iter().map(|it| it.parse().unwrap()).collect())
    }
}

fn line(finding: Finding) -> Value {
    serde_json::to_value(finding.line("check")).unwrap()
}

#[track_caller]
fn assert_line(finding: Finding, status: &str, words: &str) {
    let line = line(finding);
    assert_eq!(line["status"], status, "{line}");
    assert!(line["found"].as_str().unwrap().contains(words), "{line}");
    let advised = line["advice"].is_string();
    assert_eq!(advised, matches!(status, "warn" | "fail"), "{line}");
}

/// Every way in which a request fails, as the client tells it, and the word for it.
fn failures() -> Vec<(HttpError, &'static str)> {
    let connect = |why: &str| HttpError::Connect(why.to_owned());
    vec![
        (HttpError::NoHost, "no such host"),
        (
            connect("client error (Connect): the look-up failed: request timed out"),
            "no answer from the name servers",
        ),
        (connect("client error (Connect): timed out"), "timeout"),
        (connect("not connected within 10s"), "timeout"),
        (HttpError::Deadline(Duration::from_secs(10)), "timeout"),
        (
            connect("client error (Connect): Connection refused (os error 111)"),
            "connection refused",
        ),
        (
            connect("client error (Connect): invalid peer certificate: UnknownIssuer"),
            "TLS",
        ),
        (connect("received fatal alert: HandshakeFailure"), "TLS"),
        (
            connect("client error (Connect): No route to host (os error 113)"),
            "no connection",
        ),
        (
            HttpError::Refused("`h` has no public address".to_owned()),
            "not a public address",
        ),
        (
            HttpError::Broken("connection closed".to_owned()),
            "no usable answer",
        ),
    ]
}

#[tokio::test]
async fn a_plc_directory_that_does_not_answer_is_reported_with_the_reason() {
    let plc: Origin = "https://plc.directory".parse().unwrap();
    let asked = "https://plc.directory/_health";
    for (error, word) in failures() {
        let http = Answers::default().to(asked, Err(error));
        let found = format!("{asked}: {word}");
        assert_line(
            plc_answers(&http, std::slice::from_ref(&plc)).await,
            "fail",
            &found,
        );
    }
    for (status, word) in [
        (500, "HTTP 500"),
        (503, "HTTP 503"),
        (403, "HTTP 403"),
        (302, "HTTP 302"),
    ] {
        let http = Answers::default().to(asked, Ok((status, "")));
        assert_line(
            plc_answers(&http, std::slice::from_ref(&plc)).await,
            "fail",
            word,
        );
    }
    let http = Answers::default().to(asked, Ok((200, "{}")));
    assert_line(
        plc_answers(&http, std::slice::from_ref(&plc)).await,
        "ok",
        "answers in",
    );
}

#[tokio::test]
async fn one_of_two_plc_directories_is_a_warning_that_names_the_other() {
    let both: [Origin; 2] =
        ["https://mirror.example", "https://plc.directory"].map(|it| it.parse().unwrap());
    let http = Answers::default()
        .to("https://mirror.example/_health", Err(HttpError::NoHost))
        .to("https://plc.directory/_health", Ok((200, "{}")));
    let line = line(plc_answers(&http, &both).await);
    assert_eq!(line["status"], "warn");
    let found = line["found"].as_str().unwrap();
    assert!(
        found.contains("https://plc.directory answers in"),
        "{found}"
    );
    assert!(
        found.contains("https://mirror.example/_health: no such host"),
        "{found}"
    );
}

#[tokio::test]
async fn the_txt_record_of_a_handle_is_found_missing_or_unreachable() {
    const DID: &str = "did=did:plc:z72i7hdynmk6r22z27h6tvur";
    const OTHER: &str = "did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let handle = Handle::parse("alice.example").unwrap();
    let failed = |why: &str| Err(DnsError::Failed(why.to_owned()));
    for (answer, status, words) in [
        (
            Ok(vec!["v=spf1", DID]),
            "ok",
            "_atproto.alice.example is did:plc:z72",
        ),
        (Ok(vec![DID, DID]), "ok", "is did:plc:z72"),
        (Err(DnsError::NoRecord), "ok", "has no TXT record"),
        (Ok(vec!["v=spf1"]), "warn", "none begins with `did=`"),
        (Ok(vec!["did=nobody"]), "warn", "`nobody`"),
        (Ok(vec![DID, OTHER]), "warn", "more than one DID"),
        (failed("request timed out"), "fail", "timed out"),
        (failed("connection refused"), "fail", "connection refused"),
        (failed("SERVFAIL"), "fail", "SERVFAIL"),
    ] {
        assert_line(txt_record(&Names(answer), &handle).await, status, words);
    }
}

#[tokio::test]
async fn the_host_of_a_handle_tells_the_did_or_what_is_in_the_way() {
    let handle = Handle::parse("alice.example").unwrap();
    let url = "https://alice.example/.well-known/atproto-did";
    let did = "did:plc:z72i7hdynmk6r22z27h6tvur\n";
    for (answer, status, words) in [
        (Ok((200, did)), "ok", "is did:plc:z72i7hdynmk6r22z27h6tvur"),
        (Ok((200, "<html>")), "ok", "without a DID"),
        (Ok((404, "")), "ok", "answers 404"),
        (Ok((301, "")), "ok", "answers 301"),
        (Ok((500, "")), "warn", "HTTP 500"),
        (Ok((503, "")), "warn", "HTTP 503"),
        (Err(HttpError::NoHost), "ok", "is no host"),
    ] {
        let http = Answers::default().to(url, answer);
        assert_line(well_known(&http, &handle).await, status, words);
    }
    for (error, word) in failures() {
        let status = match error {
            HttpError::NoHost => continue,
            HttpError::Refused(_) => "warn",
            _ => "fail",
        };
        let http = Answers::default().to(url, Err(error));
        assert_line(well_known(&http, &handle).await, status, word);
    }
}

#[tokio::test]
async fn a_pds_that_does_not_answer_is_reported_with_the_reason() {
    let pds: Origin = "https://pds.example".parse().unwrap();
    let url = "https://pds.example/.well-known/oauth-protected-resource";
    for (error, word) in failures() {
        let http = Answers::default().to(url, Err(error));
        assert_line(pds_answers(&http, &pds).await, "fail", word);
    }
    for (status, word) in [(502, "HTTP 502"), (404, "HTTP 404")] {
        let http = Answers::default().to(url, Ok((status, "")));
        assert_line(pds_answers(&http, &pds).await, "fail", word);
    }
    let http = Answers::default().to(url, Ok((200, "{}")));
    assert_line(pds_answers(&http, &pds).await, "ok", "answers in");
}

#[tokio::test]
async fn a_name_without_addresses_and_name_servers_that_are_silent_are_distinguished() {
    let look_up = async |answer| addresses(&Names(answer), "plc.directory").await;
    assert_line(
        look_up(Ok(vec!["1.1.1.1"])).await,
        "ok",
        "has 1 address(es)",
    );
    assert_line(look_up(Ok(vec![])).await, "fail", "has no address");
    assert_line(
        look_up(Err(DnsError::NoRecord)).await,
        "fail",
        "has no address",
    );
    let silent = Err(DnsError::Failed("request timed out".to_owned()));
    assert_line(look_up(silent).await, "fail", "timed out");
}
