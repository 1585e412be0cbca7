//! The program `aip-sandbox`, run as a developer runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a set-up step that fails ends the test"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use aip_base::{Http as _, Limits};
use aip_sandbox::PlainHttp;

const FREE_PORTS: [&str; 8] = [
    "--aip-port",
    "0",
    "--pds-port",
    "0",
    "--plc-port",
    "0",
    "--demo-port",
    "0",
];

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aip-sandbox"));
    command
        .args(words)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The program while it runs; ended when this is dropped.
struct Sandbox {
    child: Child,
    said: String,
}

impl Sandbox {
    /// Starts it and reads what it says until it is ready.
    fn start(words: &[&str]) -> Self {
        let mut child = command(words).args(FREE_PORTS).spawn().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.starts_with("Ctrl-C") {
                return Self { child, said };
            }
        }
        child.wait().unwrap();
        let mut talk = String::new();
        child.stderr.unwrap().read_to_string(&mut talk).unwrap();
        panic!("it ended: {said}{talk}");
    }

    /// What follows `name` in a line.
    fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.said.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says when it does not start.
fn refused(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// The status of an answer, and where it leads.
async fn get(url: &str) -> (u16, String) {
    let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
    let fetched = PlainHttp::default()
        .fetch(request, Limits::DOCUMENT)
        .await
        .unwrap();
    let location = fetched.headers.get("location");
    let location = location.map_or("", |it| it.to_str().unwrap());
    (fetched.status.as_u16(), location.to_owned())
}

#[tokio::test]
async fn an_app_of_the_developer_is_registered_and_can_sign_somebody_in() {
    let redirect = "http://127.0.0.1:3000/callback";
    let sandbox = Sandbox::start(&["--redirect-uri", redirect]);
    let aip = sandbox.value("AIP_URL=").unwrap();
    let id = sandbox.value("CLIENT_ID=").unwrap();
    assert!(
        sandbox
            .value("CLIENT_SECRET=")
            .is_some_and(|it| it.len() > 20)
    );
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let query = format!(
        "response_type=code&client_id={id}&redirect_uri={redirect}&scope=openid%20atproto\
         &state=x&code_challenge={challenge}&code_challenge_method=S256"
    );
    let (status, location) = get(&format!("{aip}/oauth/authorize?{query}")).await;
    // To AIP's own page, and not back to the app with an error.
    assert_eq!(status, 303);
    assert!(location.contains("/login"), "{location}");
}

#[test]
fn a_public_app_gets_no_secret() {
    let sandbox = Sandbox::start(&["--public", "--redirect-uri", "http://127.0.0.1:3000/cb"]);
    assert!(sandbox.value("CLIENT_ID=").is_some());
    assert_eq!(sandbox.value("CLIENT_SECRET="), None);
}

#[test]
fn beside_another_aip_there_is_a_demo_app_only_with_a_client_id() {
    let beside = ["--aip", "http://127.0.0.1:1"];
    let without = Sandbox::start(&beside);
    assert_eq!(without.value("Open the demo app:"), None);
    assert!(without.value("PLC directory").is_some());
    let with = Sandbox::start(&[&beside[..], &["--client-id", "demo"]].concat());
    assert!(with.value("Open the demo app:").is_some());
}

#[test]
fn accounts_can_be_added() {
    let long = format!("{}.test", "a".repeat(63));
    let sandbox = Sandbox::start(&["--account", &long, "--unconfirmed-account", "carol.test"]);
    assert!(sandbox.said.contains(&long), "{}", sandbox.said);
    let carol = "sign in as          carol.test  password carol-pass";
    assert!(sandbox.said.contains(carol), "{}", sandbox.said);
}

#[test]
fn a_port_that_is_taken_is_named_with_who_wanted_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (option, name) in [
        ("--demo-port", "the demo app"),
        ("--pds-port", "the PDS"),
        ("--plc-port", "the PLC directory"),
        ("--aip-port", "--aip-port"),
    ] {
        let mut words = FREE_PORTS.to_vec();
        let at = words.iter().position(|word| *word == option).unwrap();
        words[at + 1] = &port;
        let talk = refused(&words);
        assert!(
            talk.contains(&format!("127.0.0.1:{port}")),
            "{option}: {talk}"
        );
        assert!(
            talk.contains(name) && talk.contains(option),
            "{option}: {talk}"
        );
    }
}

#[test]
fn the_log_has_no_colour_codes_in_a_file() {
    let mut command = command(&FREE_PORTS);
    command.env("RUST_LOG", "info");
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("Ctrl-C")));
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains("INFO"), "{talk}");
    assert!(!talk.contains('\u{1b}'), "{talk:?}");
}
