//! `aip tokens`: an operator orders a token for a person, sees which there are, and revokes them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use aip_base::{Clock as _, SystemClock};
use aip_sandbox::{Sandbox, SandboxOptions};
use aip_storage::housekeeping::RetentionClass;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, aip, command};
use crate::contents::{make_ordered_token, refuse_ordered_token, storage};

/// `aip tokens create`, which waits for its person.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    link: String,
}

impl Waiting {
    /// Starts it for alice and reads the link that it prints.
    fn start(folder: &TempDir, sandbox: &Sandbox) -> Self {
        let did = sandbox.accounts.alice.did.as_str();
        let variables = [
            ("AIP_DEVELOPMENT", "true"),
            ("AIP_PLC_URLS", sandbox.plc.origin()),
        ];
        let arguments = ["tokens", "create", "--account", did, "--name", "CI"];
        let more = ["--preset", "posts", "--days", "90", "--output", "json"];
        let mut create = command(folder.path(), &variables, &[&arguments[..], &more].concat());
        let mut child = create
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut waiting = Self {
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            link: String::new(),
        };
        let output = waiting.read_until("?order=");
        assert!(
            output.contains(did) && output.contains("within 15 min"),
            "{output}"
        );
        let last = output.lines().last().unwrap();
        let (page, link) = last.split_once("?order=").unwrap();
        assert_eq!(page, "http://127.0.0.1:8080/account/token");
        link.clone_into(&mut waiting.link);
        waiting
    }

    /// Reads on to the line that has these words.
    fn read_until(&mut self, words: &str) -> String {
        let mut output = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended: {output}");
            output.push_str(&line);
            if line.contains(words) {
                return output;
            }
        }
    }

    fn send(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    fn end(mut self) -> CommandOutput {
        let (mut stderr, mut stdout) = (String::new(), String::new());
        self.stderr.read_to_string(&mut stderr).unwrap();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).unwrap();
        }
        let code = self.child.wait().unwrap().code().unwrap();
        CommandOutput {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A test that fails in between leaves no process behind.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn tokens(folder: &TempDir, arguments: &[&str]) -> CommandOutput {
    aip(folder.path(), &[], &[&["tokens"], arguments].concat())
}

/// Changes the database behind the program's back.
async fn execute(folder: &TempDir, statements: &str) {
    let database = folder.path().join("aip-data/aip.db");
    let url = format!("sqlite://{}", database.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Copies the only token until its owner has as many as one may, orders another, and takes the copies away.
async fn order_one_too_many(folder: &TempDir, sandbox: &Sandbox) {
    let copies = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 19)";
    let id = "printf('0192f3a4-7b1c-7def-8abc-%012d', i)";
    let grant = "client_id, did, actor, scope, asked, upstream_session, auth_time, created_at";
    let token = "did, name, expires_at";
    let fill = format!(
        "INSERT INTO grants (id, {grant}) {copies} SELECT {id}, {grant} FROM grants, n;
         INSERT INTO developer_tokens (grant_id, {token})
         {copies} SELECT {id}, {token} FROM developer_tokens, n;"
    );
    execute(folder, &fill).await;
    let did = sandbox.accounts.alice.did.as_str();
    let variables = [
        ("AIP_DEVELOPMENT", "true"),
        ("AIP_PLC_URLS", sandbox.plc.origin()),
    ];
    let arguments = ["tokens", "create", "--account", did, "--name", "CI"];
    let create = [&arguments[..], &["--preset", "posts"]].concat();
    aip(folder.path(), &variables, &create).failed_with("has 20 tokens");
    let clear = "DELETE FROM developer_tokens WHERE grant_id LIKE '0192f3a4-7b1c-7def-8abc-%';
         DELETE FROM grants WHERE id LIKE '0192f3a4-7b1c-7def-8abc-%';";
    execute(folder, clear).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_ordered_listed_and_revoked() {
    let folder = TempDir::new().unwrap();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let alice = sandbox.accounts.alice.did.as_str();
    let none = tokens(&folder, &["list"]);
    assert_eq!(none.ok(), "");
    assert!(none.stderr.contains("There is no token"), "{}", none.stderr);

    let mut waiting = Waiting::start(&folder, &sandbox);
    // A database that does not answer for a while ends nothing.
    let (orders, away) = ("developer_token_orders", "orders_away");
    execute(&folder, &format!("ALTER TABLE {orders} RENAME TO {away}")).await;
    waiting.read_until("Still waiting for them.");
    execute(&folder, &format!("ALTER TABLE {away} RENAME TO {orders}")).await;
    make_ordered_token(folder.path(), &waiting.link).await;
    let output = waiting.end();
    let made: Value = serde_json::from_str(output.ok()).unwrap();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("aip_pt_"), "{}", token.len());
    assert!(!output.stderr.contains(token), "it is data, not talk");
    assert!(
        output.stderr.contains("shown this once"),
        "{}",
        output.stderr
    );
    assert_eq!(
        (&made["account"], &made["name"]),
        (&alice.into(), &"CI".into())
    );

    let list = |arguments: &[&str]| {
        let output = tokens(
            &folder,
            &[&["list", "--output", "json"], arguments].concat(),
        );
        assert!(!output.stdout.contains(token));
        output.rows()
    };
    let rows = list(&[]);
    assert_eq!(rows.len(), 1);
    for name in ["id", "account", "name", "scope", "expires_at"] {
        assert_eq!(rows[0][name], made[name]);
    }
    assert!(rows[0]["last_used_at"].is_null());
    let id = made["id"].as_str().unwrap();
    assert_eq!(list(&["--account", alice]).len(), 1);
    assert!(list(&["--account", sandbox.accounts.bob.did.as_str()]).is_empty());
    assert!(list(&["--after", id]).is_empty());
    let table = tokens(&folder, &["list", "--limit", "1"]);
    assert!(table.ok().contains("CI"), "{}", table.stdout);
    assert!(table.stderr.contains(&format!("--after {id}")));

    order_one_too_many(&folder, &sandbox).await;
    assert_eq!(list(&[]).len(), 1);
    tokens(&folder, &["revoke", id]).ok();
    assert!(list(&[]).is_empty());
    tokens(&folder, &["revoke", id]).failed_with("there is no live token");
    let session = tokens_session(&folder);
    assert_eq!(session["state"], "ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_printed_is_revoked() {
    let folder = TempDir::new().unwrap();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let mut waiting = Waiting::start(&folder, &sandbox);
    // Whoever would read it is gone.
    drop(waiting.child.stdout.take());
    make_ordered_token(folder.path(), &waiting.link).await;
    let output = waiting.end();
    output.failed_with("could not be printed");
    assert!(
        output
            .stderr
            .contains("It was revoked; run the command again"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("aip_pt_"), "no word of the token");
    let left = tokens(&folder, &["list", "--output", "json"]).rows();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(tokens_session(&folder)["state"], "ended");
}

/// The session of the only token that there was.
fn tokens_session(folder: &TempDir) -> Value {
    let arguments = ["sessions", "list", "--client", "aip:developer-tokens"];
    let rows = aip(
        folder.path(),
        &[],
        &[&arguments[..], &["--output", "json"]].concat(),
    )
    .rows();
    assert_eq!(rows.len(), 1);
    rows[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_refused_or_given_up_makes_nothing() {
    let folder = TempDir::new().unwrap();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let waiting = Waiting::start(&folder, &sandbox);
    refuse_ordered_token(folder.path(), &waiting.link).await;
    let output = waiting.end();
    output.failed_with("the person said no");
    assert_eq!(output.stdout, "");

    for (signal, words) in [
        ("INT", "interrupted"),
        ("TERM", "terminated"),
        ("HUP", "the terminal was closed"),
    ] {
        let waiting = Waiting::start(&folder, &sandbox);
        waiting.send(signal);
        waiting.end().failed_with(words);
    }
    let later = SystemClock.now() + Duration::from_hours(1);
    let storage = storage(folder.path()).await;
    let left = storage.purge_expired(later, 10).await.unwrap();
    let orders = left
        .counts
        .iter()
        .find(|(kind, _)| *kind == RetentionClass::DeveloperTokenOrders);
    assert_eq!(orders.unwrap().1, 0, "the link is withdrawn");
}

#[test]
fn a_token_that_cannot_be_is_refused_before_anybody_is_asked() {
    let folder = TempDir::new().unwrap();
    let public = [("AIP_EXTERNAL_BASE", "https://id.example.org")];
    let posts = "repo:app.bsky.feed.post";
    for (variables, arguments, refused) in [
        (
            &[][..],
            &["--name", "", "--preset", "posts"][..],
            "a name has 1 to 60",
        ),
        (&[], &["--name", "CI"], "--preset"),
        (&[], &["--name", "CI", "--preset", "all"], "all"),
        (
            &[],
            &["--name", "CI", "--preset", "posts", "--scope", posts],
            "cannot be used with",
        ),
        (
            &[],
            &["--name", "CI", "--preset", "posts", "--days", "366"],
            "1 to 365",
        ),
        (
            &[],
            &["--name", "CI", "--scope", "repo:* aip:credentials"],
            "`aip:credentials` is nothing for a developer token",
        ),
        (
            &[],
            &["--name", "CI", "--scope", "nonsense"],
            "`nonsense` is no scope that is known",
        ),
        (
            &public,
            &["--name", "CI", "--scope", "repo:com.example.post"],
            "no PDS would grant `repo:com.example.post`",
        ),
    ] {
        let account = ["tokens", "create", "--account", "did:web:a.example"];
        let output = aip(
            folder.path(),
            variables,
            &[&account[..], arguments].concat(),
        );
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(
            output.stderr.contains(refused),
            "{refused}: {}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
    }
    let output = tokens(&folder, &["revoke", "no-id"]);
    assert_eq!(output.code, 2);
    assert!(
        output.stderr.contains("aip tokens list"),
        "{}",
        output.stderr
    );
}
