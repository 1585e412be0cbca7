//! The built program with every exporter on: what collectors, the log and `/metrics` are told of
//! requests full of secrets holds none of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is test code: what fails here fails the test"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aip_base::SystemRng;
use aip_keys::TokenKind;
use aip_testkit::collectors::{HttpCollector, UdpCollector};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

/// In everything that a caller may put a secret into.
const SECRET: &str = "s3cr3t-of-the-story";
/// In variables that libraries read, and AIP does not.
const OTHER: &str = "not-a-setting";
/// For collectors, and nobody else.
const COLLECTOR_KEY: &str = "key-of-the-collector";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const DEADLINE: Duration = Duration::from_mins(1);

/// The running program.
struct Program {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
    log: String,
}

impl Program {
    fn start(folder: &Path, variables: &[(&str, String)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_aip"))
            .arg("serve")
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Self {
            process,
            lines,
            log: String::new(),
        }
    }

    /// Reads the log up to the line that says so.
    async fn said(&mut self, message: &str) -> Value {
        while let Some(line) = self.line().await {
            let Ok(object) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if object["message"] == message {
                return object;
            }
        }
        panic!("it never said {message}: {}", self.log);
    }

    async fn line(&mut self) -> Option<String> {
        let line = self.lines.next_line();
        let line = tokio::time::timeout(DEADLINE, line)
            .await
            .unwrap()
            .unwrap()?;
        self.log.push_str(&line);
        self.log.push('\n');
        Some(line)
    }

    /// Ends it as a supervisor does; it sends what it has.
    async fn end(mut self) -> String {
        let id = self.process.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.unwrap().success());
        while self.line().await.is_some() {}
        assert!(self.process.wait().await.unwrap().success(), "{}", self.log);
        self.log
    }
}

/// Sends a request and reads the answer to its end.
async fn send(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{head}\r\nhost: aip.example\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Head and body of requests with a secret wherever one can be.
fn requests(token: &str) -> [(String, String); 3] {
    [
        (
            format!("GET /{SECRET}?token={SECRET} HTTP/1.1"),
            String::new(),
        ),
        (
            format!(
                "POST /oauth/token?code={SECRET} HTTP/1.1\r\nauthorization: Basic {SECRET}\r\n\
                 dpop: {SECRET}\r\ncookie: __Host-aip={SECRET}"
            ),
            format!("grant_type=refresh_token&refresh_token={SECRET}&client_secret={SECRET}"),
        ),
        (
            format!(
                "GET /xrpc/app.bsky.feed.getTimeline?cursor={SECRET} HTTP/1.1\r\n\
                 authorization: Bearer {token}\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\
                 tracestate: vendor={SECRET}\r\nbaggage: key={SECRET}"
            ),
            String::new(),
        ),
    ]
}

#[tokio::test]
async fn what_leaves_the_program_for_operators_holds_no_secret() {
    let folder = TempDir::new().unwrap();
    let traces = HttpCollector::start(&[]).await;
    let errors = HttpCollector::start(&[]).await;
    let statsd = UdpCollector::start().await;
    let dsn = format!("{}/42", errors.origin).replace("://", &format!("://{COLLECTOR_KEY}@"));
    let mut program = Program::start(
        folder.path(),
        &[
            ("AIP_EXTERNAL_BASE", "https://aip.example".to_owned()),
            ("AIP_LISTEN", "127.0.0.1:0".to_owned()),
            ("AIP_INTERNAL_LISTEN", "127.0.0.1:0".to_owned()),
            ("AIP_LOG_FORMAT", "json".to_owned()),
            ("AIP_LOG", "debug".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", traces.origin.clone()),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("x-key={COLLECTOR_KEY}"),
            ),
            ("SENTRY_DSN", dsn),
            ("TELEGRAF_HOST", "127.0.0.1".to_owned()),
            ("TELEGRAF_PORT", statsd.port.to_string()),
            ("STATSD_PREFIX", "story".to_owned()),
            // No settings of this program: what libraries read there has no effect.
            ("OTEL_TRACES_SAMPLER", "always_off".to_owned()),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0".to_owned()),
            ("OTEL_SERVICE_NAME", OTHER.to_owned()),
            ("OTEL_RESOURCE_ATTRIBUTES", format!("service.name={OTHER}")),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
            (
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                format!("x-other={OTHER}"),
            ),
            ("SENTRY_RELEASE", OTHER.to_owned()),
        ],
    );
    let serving = program.said("serving").await;
    let public = serving["public_at"].as_str().unwrap().to_owned();
    let internal = serving["internal_at"].as_str().unwrap().to_owned();

    let token = TokenKind::AccessToken.mint(&SystemRng);
    let token = token.expose_secret();
    let requests = requests(token);
    for (head, body) in &requests {
        let answer = send(&public, head, body).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    }
    // From here on, every look-up of a token is an error of ours.
    let url = format!(
        "sqlite://{}",
        folder.path().join("aip-data/aip.db").display()
    );
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for statement in ["PRAGMA foreign_keys = OFF", "DROP TABLE access_tokens"] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
    let (head, body) = &requests[2];
    let answer = send(&public, head, body).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let page = send(&internal, "GET /metrics HTTP/1.1", "").await;
    let log = program.end().await;

    // Each was told.
    for received in [traces.received(), errors.received()].concat() {
        assert!(!received.head.contains(OTHER), "{}", received.head);
    }
    let bodies = |collector: &HttpCollector| -> String {
        let received = collector.received().into_iter();
        received
            .map(|it| String::from_utf8_lossy(&it.body).into_owned())
            .collect()
    };
    // The datagrams were sent before the process ended; the collector reads them when it comes to it.
    let line = "story.aip_http_requests,endpoint=/xrpc/{nsid},method=GET,status=5xx:1|c";
    statsd.line(line).await;
    let (traces, errors, metrics) = (bodies(&traces), bodies(&errors), statsd.text());
    assert!(traces.contains("GET /xrpc/{nsid}"), "{traces}");
    assert!(
        errors.contains(r#""transaction":"/xrpc/{nsid}""#),
        "{errors}"
    );
    assert!(page.contains("aip_http_requests_total"), "{page}");
    assert!(page.contains("aip_panics_total 0"), "{page}");
    assert!(log.contains(&format!(r#""trace_id":"{TRACE}""#)), "{log}");

    // And nothing that is not for him.
    let token_body = token.rsplit('_').next().unwrap();
    for told in [traces, errors, metrics, page, log] {
        for secret in [SECRET, token_body, COLLECTOR_KEY, OTHER] {
            assert!(!told.contains(secret), "{secret} is in {told}");
        }
    }
}
