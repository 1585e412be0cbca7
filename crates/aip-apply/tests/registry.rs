//! What registries answer to the question for a digest: challenges, tokens, errors, and what is none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aip_apply::registry::{Lookup, lookup};
use aip_base::Environment;
use tempfile::TempDir;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// "aip:correct-horse" in Base64.
const BASIC: &str = "YWlwOmNvcnJlY3QtaG9yc2U=";

struct Request {
    /// `HEAD /v2/team/aip/manifests/v1`
    line: String,
    authorization: Option<String>,
}

impl Request {
    fn is(&self, begin: &str) -> bool {
        self.line.starts_with(begin)
    }

    fn has(&self, authorization: &str) -> bool {
        self.authorization.as_deref() == Some(authorization)
    }
}

/// A registry that answers by a function, and keeps what it was asked.
struct Registry {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start(answer: impl Fn(&str, &Request) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (Arc::clone(&asked), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let Some(request) = read(&stream) else {
                    continue;
                };
                log.lock().unwrap().push(request.line.clone());
                let mut answered = answer(&own, &request);
                if request.is("HEAD") {
                    let end = answered.find("\r\n\r\n").unwrap() + 4;
                    answered.truncate(end);
                }
                // Whoever has read enough may be gone.
                let _ = (&stream).write_all(answered.as_bytes());
            }
        });
        Self { address, asked }
    }

    fn image(&self) -> String {
        format!("{}/team/aip:v1", self.address)
    }

    async fn lookup(&self) -> Lookup {
        lookup(&self.image(), &Environment::default()).await
    }

    fn was_asked(&self, begin: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|line| line.starts_with(begin))
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.take(64 * 1024)).lines();
    let line = lines.next()?.ok()?;
    let mut authorization = None;
    for header in lines {
        let header = header.ok()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ")?;
        if name.eq_ignore_ascii_case("authorization") {
            authorization = Some(value.to_owned());
        }
    }
    Some(Request {
        line,
        authorization,
    })
}

/// An answer of one status with these headers.
fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.extend([*name, ": ", *value, "\r\n"]);
    }
    text + "\r\n" + body
}

fn found() -> String {
    answer("200 OK", &[("docker-content-digest", DIGEST)], "")
}

fn challenge(value: &str) -> String {
    answer(
        "401 Unauthorized",
        &[("www-authenticate", value)],
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}"#,
    )
}

/// An environment in which somebody is logged in at the registry.
fn logged_in(registry: &Registry) -> (Environment, TempDir) {
    let folder = TempDir::new().unwrap();
    let config = format!(
        r#"{{"auths": {{"{}": {{"auth": "{BASIC}"}}}}}}"#,
        registry.address
    );
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let path = folder.path().display().to_string();
    (Environment::new([("DOCKER_CONFIG", path)]), folder)
}

#[track_caller]
fn assert_unknown(answer: &Lookup, says: &str) {
    match answer {
        Lookup::Unknown(reason) => assert!(reason.contains(says), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_registry_for_everybody_is_asked_for_the_head_alone() {
    let registry = Registry::start(|_, request| {
        if request.is("HEAD /v2/team/aip/manifests/v1 ") {
            found()
        } else {
            answer("200 OK", &[], "{}")
        }
    });
    assert_eq!(registry.lookup().await, Lookup::Digest(DIGEST.to_owned()));
    assert!(!registry.was_asked("GET /v2/team/aip/manifests"));
}

#[tokio::test]
async fn a_registry_that_does_not_name_the_digest_is_asked_for_the_manifest() {
    let registry = Registry::start(|_, _| answer("200 OK", &[], "{}"));
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(registry.lookup().await, Lookup::Digest(digest.to_owned()));
    assert!(registry.was_asked("GET /v2/team/aip/manifests/v1 "));
}

/// A registry that wants a token, by this challenge, in which `{}` stands for its own address.
fn with_tokens(template: &'static str, needs_login: bool) -> Registry {
    Registry::start(move |own, request| {
        if request.is("GET /token") {
            let named = request
                .line
                .contains("scope=repository%3Ateam%2Faip%3Apull");
            let is_known = !needs_login || request.has(&format!("Basic {BASIC}"));
            return if named && is_known {
                answer("200 OK", &[], r#"{"access_token": "t1", "expires_in": 60}"#)
            } else {
                answer("401 Unauthorized", &[], r#"{"errors":[]}"#)
            };
        }
        if request.has("Bearer t1") {
            found()
        } else {
            challenge(&template.replace("{}", own))
        }
    })
}

#[tokio::test]
async fn a_challenge_leads_to_a_token_however_it_is_written() {
    for template in [
        r#"Bearer realm="http://{}/token",service="registry""#,
        r#"bearer realm="http://{}/token""#,
        r#"Bearer service="a, b", realm="http://{}/token" , scope="repository:team/aip:pull", error="invalid_token""#,
    ] {
        let registry = with_tokens(template, false);
        let answer = registry.lookup().await;
        assert_eq!(answer, Lookup::Digest(DIGEST.to_owned()), "{template}");
    }
}

#[tokio::test]
async fn a_challenge_that_is_none_is_a_refusal() {
    for template in [
        "",
        "Bearer",
        "Bearer realm",
        r#"Bearer realm="http://{}/token"#,
        r#"Bearer service="registry""#,
        r#"Bearer realm="not a url""#,
        "Negotiate dG9rZW4=",
        r#"Basic realm="registry""#,
        ",,,===\"\\",
    ] {
        let registry = with_tokens(template, false);
        assert_unknown(
            &registry.lookup().await,
            "refuses to say it: `docker login 127.0.0.1:",
        );
    }
}

#[tokio::test]
async fn the_login_opens_a_registry_that_wants_one() {
    let registry = with_tokens(r#"Bearer realm="http://{}/token",service="r""#, true);
    assert_unknown(&registry.lookup().await, "refuses to say it");
    let (environment, _folder) = logged_in(&registry);
    assert_eq!(
        lookup(&registry.image(), &environment).await,
        Lookup::Digest(DIGEST.to_owned())
    );

    let basic = Registry::start(|_, request| {
        if request.has(&format!("Basic {BASIC}")) {
            found()
        } else {
            challenge(r#"Basic realm="registry""#)
        }
    });
    assert_unknown(&basic.lookup().await, "refuses to say it");
    let (environment, _folder) = logged_in(&basic);
    assert_eq!(
        lookup(&basic.image(), &environment).await,
        Lookup::Digest(DIGEST.to_owned())
    );
}

#[tokio::test]
async fn only_the_words_of_a_registry_make_an_image_missing() {
    for code in ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"] {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no\u001b such"}}]}}"#);
        let registry = Registry::start(move |_, _| answer("404 Not Found", &[], &body));
        assert_eq!(
            registry.lookup().await,
            Lookup::Missing("no  such".to_owned())
        );
    }
    for (status, body, says) in [
        (
            "404 Not Found",
            "<html>nginx</html>",
            "answered with the status 404",
        ),
        ("404 Not Found", "{}", "answered with the status 404"),
        (
            "403 Forbidden",
            r#"{"errors":[{"code":"DENIED"}]}"#,
            "refuses to say it",
        ),
        (
            "429 Too Many Requests",
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#,
            "answered: pull rate limit",
        ),
        (
            "404 Not Found",
            r#"{"errors":[{"code":"OTHER","message":"m"}]}"#,
            "answered: m",
        ),
        (
            "503 Service Unavailable",
            "",
            "answered with the status 503",
        ),
        ("204 No Content", "", "Expected HTTP Status 200"),
    ] {
        let registry = Registry::start(move |_, _| answer(status, &[], body));
        assert_unknown(&registry.lookup().await, says);
    }
    let strange = [("docker-content-digest", "sha256:../../x")];
    let registry = Registry::start(move |_, _| answer("200 OK", &strange, "{}"));
    assert!(matches!(registry.lookup().await, Lookup::Unknown(_)));
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_a_reason() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let none = Environment::default();
    let answer = lookup(&format!("{nobody}/team/aip:v1"), &none).await;
    assert_unknown(&answer, &format!("{nobody} cannot be reached: "));
    let answer = lookup("registry.invalid/team/aip:v1", &none).await;
    assert_unknown(&answer, "registry.invalid");
    assert_unknown(&lookup("", &none).await, "is not REPOSITORY:TAG");
    assert_unknown(&lookup("A b/c:d", &none).await, "is not REPOSITORY:TAG");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_is_waited_for_five_seconds() {
    // It accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let before = tokio::time::Instant::now();
    let answer = lookup(&format!("{address}/team/aip:v1"), &Environment::default()).await;
    assert_unknown(&answer, &format!("{address} did not answer within 5 s"));
    assert_eq!(before.elapsed().as_secs(), 5);
}
