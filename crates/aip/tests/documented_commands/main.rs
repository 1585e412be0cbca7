//! The commands of the guides work as they are written: every block of commands is run, unless
//! the page says why not ([`page`]).
//!
//! The blocks of one page are one script, in an empty folder and an empty environment, so that a
//! page must say everything that its commands need. The ports that the programs have by default
//! are replaced by free ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a set-up step that fails ends the test"
)]

mod page;

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use self::page::{Mark, blocks};

/// The ports that the programs listen on by default, in the order of their options below.
const PORTS: [&str; 5] = ["8080", "9090", "2582", "2583", "8090"];

/// Stops what keeps running, if anything does.
const STOP: &str = r#"
server=
stop() {
  if [ -n "$server" ]; then
    kill -s KILL -- "-$server" || true
    wait "$server" || true
    n=0
    while kill -s 0 -- "-$server" 2>/dev/null && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1; done
    server=
  fi
}
trap stop EXIT
"#;

/// The commands of a page as one script. What keeps running is a script of its own in `folder`.
fn script(page: &str, folder: &Path) -> String {
    let mut script = STOP.to_owned();
    for block in blocks(page) {
        match block.mark {
            Mark::NotRun(_) => {}
            Mark::Run => script.push_str(&block.commands),
            Mark::KeepsRunning(url) => {
                let own = folder.join(format!("line-{}.sh", block.line));
                std::fs::write(&own, &block.commands).unwrap();
                let own = own.display();
                write!(
                    script,
                    "stop\nsetsid sh -eux {own} & server=$!\nn=0\n\
                     until aip healthcheck --url {url} 2>/dev/null; do \
                     n=$((n+1)); [ $n -lt 600 ]; sleep 0.1; done\n"
                )
                .unwrap();
            }
        }
    }
    script
}

fn free_ports() -> [u16; PORTS.len()] {
    let taken = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

/// The folder with `aip` and `aip-sandbox`. The latter is of another package, and not built by a
/// test of this one alone.
fn programs() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_aip")).parent().unwrap();
    if !folder.join("aip-sandbox").exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "-p", "aip-sandbox", "--bins"])
            .status();
        assert!(built.unwrap().success());
    }
    folder.to_owned()
}

/// A program `aip-sandbox` that listens on these ports.
fn sandbox_on(ports: [u16; PORTS.len()], programs: &Path, folder: &Path) {
    let [aip, _, plc, pds, demo] = ports;
    let program = folder.join("aip-sandbox");
    let text = format!(
        "#!/bin/sh\nexec {}/aip-sandbox --aip-port {aip} --plc-port {plc} --pds-port {pds} \
         --demo-port {demo} \"$@\"\n",
        programs.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
}

fn run_commands_of(page: &str) {
    run_commands_with(page, &[]);
}

/// Runs them in a folder with these files.
fn run_commands_with(page: &str, files: &[(&str, &str)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(page);
    let (folder, tools) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (programs, ports) = (programs(), free_ports());
    sandbox_on(ports, &programs, tools.path());
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut text = std::fs::read_to_string(path).unwrap();
    for (port, free) in PORTS.iter().zip(ports) {
        text = text.replace(&format!(":{port}"), &format!(":{free}"));
    }
    let script = script(&text, tools.path());
    let talk = tools.path().join("talk");
    let out = File::create(&talk).unwrap();
    let [listen, internal_listen, ..] = ports.map(|port| format!("127.0.0.1:{port}"));
    let paths = [tools.path(), &programs].map(|it| it.display().to_string());
    let status = Command::new("/bin/sh")
        .args(["-eux", "-c", &script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", paths.join(":")))
        .env("AIP_LISTEN", listen)
        .env("AIP_INTERNAL_LISTEN", internal_listen)
        .current_dir(folder.path())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    let talk = std::fs::read(talk).unwrap();
    let talk = String::from_utf8_lossy(&talk);
    assert!(status.success(), "{page}: {talk}");
}

#[test]
fn the_commands_of_the_operators_guide_work() {
    run_commands_of("docs/operators.md");
}

#[test]
fn the_commands_of_the_developers_guide_work() {
    run_commands_of("docs/developers.md");
}

#[test]
fn the_commands_of_the_guide_for_teams_work() {
    run_commands_of("docs/delegation.md");
}

#[test]
fn the_commands_about_developer_tokens_work() {
    run_commands_of("docs/developer-tokens.md");
}

#[test]
fn the_commands_of_the_quick_start_work() {
    run_commands_of("README.md");
    run_commands_of("docs/quickstart.md");
}

#[test]
fn the_commands_of_the_observability_guide_work() {
    run_commands_of("docs/observability.md");
}

/// v1 is its environment, which says where it was.
#[test]
fn the_commands_of_the_move_from_v1_work() {
    let environment = "EXTERNAL_HOSTNAME=auth.example.com\n\
        PG_DSN=postgresql+asyncpg://aip:secret@db/aip\nALLOWED_DOMAINS=app.example.com\n\
        DESTINATION=https://app.example.com/signed-in\n\
        DEFAULT_DESTINATION=https://app.example.com/signed-in\nBRAND_NAME=Example\n";
    run_commands_with("docs/move-from-v1.md", &[("v1.env", environment)]);
}

/// v2 is its database, with a session, and its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_move_from_aip_v2_work() {
    let url = aip_testkit::postgres::create_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for statements in [
        include_str!("../../../aip-import-v2/testdata/v2_schema.sql"),
        include_str!("../../../aip-import-v2/testdata/v2_rows.sql"),
    ] {
        let statements = sqlx::raw_sql(statements);
        statements.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let files = [
        ("v2-database-url", url.as_str()),
        (
            "v2-atproto-keys",
            "did:key:z42ttb6eHovCKHsNMnDnhsZ8uep5tu2kyhPJdXCxojgn8QHX",
        ),
        (
            "v2-oauth-keys",
            "did:key:z42tmrrFaWQHHgPdaVkfUcF23ijZ5shtkrH7gnszPXNAkJ2E",
        ),
    ];
    tokio::task::block_in_place(|| run_commands_with("docs/move-from-aip-v2.md", &files));
}

#[test]
fn a_block_is_run_unless_its_page_says_why_not() {
    let page = "```sh\none\n```\n\n<!-- not run: it needs a host -->\n```sh\nno\n```\n\
                <!-- keeps running: http://127.0.0.1:1/x -->\n\n   ```console\n   two\n     three\n   ```\n\
                ```text\nno\n```\n";
    let found: Vec<(usize, Mark, String)> = blocks(page)
        .into_iter()
        .map(|block| (block.line, block.mark, block.commands))
        .collect();
    assert_eq!(
        found,
        [
            (1, Mark::Run, "one\n".to_owned()),
            (
                6,
                Mark::NotRun("it needs a host".to_owned()),
                "no\n".to_owned()
            ),
            (
                11,
                Mark::KeepsRunning("http://127.0.0.1:1/x".to_owned()),
                "two\n  three\n".to_owned()
            ),
        ]
    );
}

#[test]
fn a_command_that_fails_fails_its_page() {
    let folder = TempDir::new().unwrap();
    let failing = script("```sh\ntrue\nfalse\n```\n", folder.path());
    let status = Command::new("/bin/sh")
        .args(["-eu", "-c", &failing])
        .status();
    assert!(!status.unwrap().success());
}
