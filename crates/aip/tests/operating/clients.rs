//! `aip clients` uses the database and nothing else of what servers share.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, aip, command};
use crate::server::Server;

/// How many connections the database has seen, once all of them have ended.
async fn connections(url: &str) -> i64 {
    let other = aip_testkit::postgres::create_database().await;
    let mut operator = PgConnection::connect(&other).await.unwrap();
    let before_options = url.split('?').next().unwrap();
    let name = before_options.rsplit('/').next().unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let open = || sqlx::query_scalar::<_, i64>(open).bind(name);
    while open().fetch_one(&mut operator).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seen = "SELECT sessions FROM pg_stat_database WHERE datname = $1";
    let seen = sqlx::query_scalar(seen).bind(name);
    seen.fetch_one(&mut operator).await.unwrap()
}

#[tokio::test]
async fn clients_are_listed_without_listening_for_notices() {
    let folder = TempDir::new().unwrap();
    let url = aip_testkit::postgres::create_database().await;
    let variables = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &variables, &["migrate"]).ok();
    // The first makes the keys and their check.
    aip(folder.path(), &variables, &["clients", "list"]).ok();
    let mut seen = Vec::new();
    for command in ["sessions", "clients"] {
        let before = connections(&url).await;
        aip(folder.path(), &variables, &[command, "list"]).ok();
        seen.push(connections(&url).await - before);
    }
    assert_eq!(seen[0], seen[1], "`aip sessions list` reads one table");
}

#[test]
fn clients_are_listed_without_valkey() {
    let folder = TempDir::new().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let url = format!("redis://{}", nobody.local_addr().unwrap());
    let output = aip(
        folder.path(),
        &[("AIP_REDIS_URL", &url)],
        &["clients", "list"],
    );
    output.ok();
    assert!(
        !output.stderr.to_lowercase().contains("valkey"),
        "{}",
        output.stderr
    );
    let connected = nobody.accept().map(drop);
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Each command names one thing, and what the others name at the same time stays.
#[tokio::test]
async fn updates_at_the_same_time_write_over_no_other_one() {
    let postgres = aip_testkit::postgres::create_database().await;
    let on_postgres = [("AIP_DATABASE_URL", &*postgres)];
    for variables in [&[][..], &on_postgres] {
        let folder = TempDir::new().unwrap();
        aip(folder.path(), variables, &["migrate"]).ok();
        let run = |words: &[&str]| {
            let words = [&["--output", "json", "clients"], words].concat();
            let output = aip(folder.path(), variables, &words);
            serde_json::from_str::<serde_json::Value>(output.ok()).unwrap()
        };
        let uri = "https://app.example/callback";
        run(&[
            "create",
            "--id",
            "app",
            "--name",
            "App",
            "--redirect-uri",
            uri,
        ]);
        let changes = [
            ("--name", "Other", "client_name", "Other"),
            (
                "--require-par",
                "true",
                "require_pushed_authorization_requests",
                "true",
            ),
            ("--first-party", "true", "first_party", "true"),
            ("--claims-in-id-token", "true", "claims_in_id_token", "true"),
            ("--access-token-format", "jwt", "access_token_format", "jwt"),
        ];
        std::thread::scope(|scope| {
            for (flag, value, _, _) in changes {
                scope.spawn(move || run(&["update", "app", flag, value]));
            }
        });
        let shown = run(&["show", "app"]);
        for (flag, _, name, expected) in changes {
            let found = shown[name].to_string();
            assert_eq!(found.trim_matches('"'), expected, "{flag}");
        }
    }
}

#[test]
fn tokens_for_registrations_are_made_listed_and_taken_back() {
    let folder = TempDir::new().unwrap();
    let token = |words: &[&str]| {
        let words = [
            &["--output", "json", "clients", "registration-token"],
            words,
        ]
        .concat();
        aip(folder.path(), &[], &words)
    };
    assert!(token(&["list"]).rows().is_empty());
    let output = token(&["create", "--uses", "3", "--expires", "2"]);
    let made: serde_json::Value = serde_json::from_str(output.ok()).unwrap();
    let secret = made["initial_access_token"].as_str().unwrap();
    assert!(secret.starts_with("aip_rg_"));
    assert!(
        output.stderr.contains("AIP_CLIENT_REGISTRATION=token"),
        "nobody can use it yet: {}",
        output.stderr
    );
    let on = [("AIP_CLIENT_REGISTRATION", "token")];
    let words = ["clients", "registration-token", "create"];
    let output = aip(folder.path(), &on, &words);
    assert!(!output.stderr.contains("AIP_CLIENT_REGISTRATION"));

    let listed = token(&["list"]);
    let rows = listed.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["id"], rows[0]["uses_left"].as_u64()),
        (&made["id"], Some(3))
    );
    assert!(!listed.stdout.contains(secret), "it is shown once");

    let id = made["id"].as_str().unwrap();
    token(&["delete", id]).ok();
    assert_eq!(token(&["list"]).rows().len(), 1);
    token(&["delete", id]).failed_with("there is no token with the id");
    for bad in [
        &["create", "--uses", "0"][..],
        &["create", "--uses", "10001"],
        &["create", "--expires", "0"],
        &["create", "--expires", "366"],
        &["delete", secret],
        &["delete"],
    ] {
        let output = token(bad);
        assert_eq!(output.code, 2, "{bad:?}: {}", output.stderr);
    }
    for bad in ["on", "true"] {
        let variables = [("AIP_CLIENT_REGISTRATION", bad)];
        let output = aip(folder.path(), &variables, &["config", "check"]);
        assert_ne!(output.code, 0, "{bad}");
        let words = "expected `off`, `token` or `open`";
        assert!(output.stderr.contains(words), "{}", output.stderr);
    }
}

/// Whoever comes first makes the folder, its keys, the database and its tables.
#[test]
fn commands_and_a_server_start_in_a_new_folder_at_once() {
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let started: Vec<_> = (0..4)
            .map(|_| {
                let mut list = command(folder.path(), &[], &["clients", "list"]);
                list.stdout(Stdio::piped()).stderr(Stdio::piped());
                list.spawn().unwrap()
            })
            .collect();
        let mut server = Server::start(folder.path(), &[]);
        for list in started {
            let output = list.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{stderr}");
        }
        server.until("it is ready", |server| {
            server.probe("/internal/ready") == Some(200)
        });
    }
}

/// The words that register an app.
fn create<'a>(id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let uri = "https://app.example/callback";
    let words = ["create", "--id", id, "--name", "App", "--redirect-uri", uri];
    [&words, more].concat()
}

#[test]
fn the_default_service_of_an_app_is_set_shown_changed_and_cleared() {
    let folder = TempDir::new().unwrap();
    let clients = |words: &[&str]| {
        let words = [&["--output", "json", "clients"], words].concat();
        aip(folder.path(), &[], &words)
    };
    let default = |words: &[&str]| {
        let shown: serde_json::Value = serde_json::from_str(clients(words).ok()).unwrap();
        shown["default_atproto_proxy"].as_str().map(str::to_owned)
    };
    let (one, two) = ("did:web:one.example#appview", "did:web:two.example#svc");
    assert_eq!(default(&create("without", &[])), None);
    let created = default(&create("app", &["--atproto-proxy", one]));
    assert_eq!(created.as_deref(), Some(one));
    assert_eq!(default(&["show", "app"]).as_deref(), Some(one));
    let renamed = default(&["update", "app", "--name", "Renamed"]);
    assert_eq!(renamed.as_deref(), Some(one), "what is not named stays");
    let changed = default(&["update", "app", "--atproto-proxy", two]);
    assert_eq!(changed.as_deref(), Some(two));
    for bad in [
        "did:web:one.example",
        "https://one.example#a",
        "#a",
        "did:web:one.example#a#b",
        "did:web:one.example#a b",
    ] {
        let output = clients(&["update", "app", "--atproto-proxy", bad]);
        assert_eq!(output.code, 2, "{bad}: {}", output.stderr);
        assert!(output.stderr.contains(bad), "{}", output.stderr);
    }
    assert_eq!(default(&["show", "app"]).as_deref(), Some(two));
    assert_eq!(default(&["update", "app", "--atproto-proxy", ""]), None);
    assert_eq!(default(&["show", "app"]), None);
}

#[test]
fn an_upstream_document_is_given_shown_and_taken_back() {
    let folder = TempDir::new().unwrap();
    let at = |base: &str, words: &[&str]| {
        let words = [&["--output", "json", "clients"], words].concat();
        aip(folder.path(), &[("AIP_EXTERNAL_BASE", base)], &words)
    };
    let clients = |words: &[&str]| at("https://id.example.org", words);
    let shown = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(clients(words).ok()).unwrap()
    };
    let app = shown(&create("app", &[]));
    assert_eq!(app["own_upstream_document"], false);
    assert_eq!(app["client_assertions"], false);
    assert_eq!(app["backchannel_logout_format"], "logout_token");
    let logo = "https://app.example/logo.png";
    let given = [
        ["--own-upstream-document", "true"],
        ["--client-assertions", "true"],
        ["--logo-uri", logo],
        ["--tos-uri", "https://app.example/terms"],
        ["--backchannel-logout-format", "caep_1_0"],
    ];
    shown(&[&["update", "app"], given.concat().as_slice()].concat());
    let app = shown(&["update", "app", "--tos-uri", "", "--name", "Renamed"]);
    assert_eq!(app, shown(&["show", "app"]));
    assert_eq!(app["own_upstream_document"], true);
    assert_eq!(app["client_assertions"], true);
    assert_eq!(app["logo_uri"], logo, "what is not named stays");
    assert_eq!(app.get("tos_uri"), None);
    assert_eq!(app["backchannel_logout_format"], "caep_1_0");

    for (words, reason) in [
        (["--logo-uri", "javascript:alert(1)"], "javascript:alert(1)"),
        (
            ["--policy-uri", "http://app.example/"],
            "http://app.example/",
        ),
        (["--own-upstream-document", "false"], "--client-assertions"),
    ] {
        let refused = clients(&[&["update", "app"], &words[..]].concat());
        assert_eq!(refused.code, 2, "{reason}: {}", refused.stderr);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    let neither = [
        "--own-upstream-document",
        "false",
        "--client-assertions",
        "false",
    ];
    let app = shown(&[&["update", "app"], &neither[..]].concat());
    assert_eq!(app["own_upstream_document"], false);

    // Where there are no documents none is given.
    let own = ["update", "app", "--own-upstream-document", "true"];
    let refused = at("http://127.0.0.1:8080", &own);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("loopback base"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_app_with_pairwise_subjects_is_registered_once_and_for_all() {
    let folder = TempDir::new().unwrap();
    let create = |words: &[&str]| {
        let usual = ["--output", "json", "clients", "create", "--name", "Poll"];
        aip(folder.path(), &[], &[&usual, words].concat())
    };
    let redirect = ["--redirect-uri", "https://poll.example/callback"];
    let pairwise = ["--subject-type", "pairwise"];
    let output = create(&[&redirect[..], &pairwise].concat());
    let made: serde_json::Value = serde_json::from_str(output.ok()).unwrap();
    assert_eq!(made["subject_type"], "pairwise");
    assert_eq!(made["sector_identifier"], "poll.example");
    assert_eq!(made["scope"], "openid");
    let id = made["client_id"].as_str().unwrap();
    let shown = aip(folder.path(), &[], &["clients", "show", id]);
    for member in [
        "subject_type",
        "pairwise",
        "sector_identifier",
        "poll.example",
    ] {
        assert!(shown.ok().contains(member), "{}", shown.stdout);
    }

    let refused = |output: &CommandOutput, why: &str| {
        assert_eq!(output.code, 2, "{}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    };
    let elsewhere = ["--redirect-uri", "https://elsewhere.example/callback"];
    let list = ["--sector-identifier-uri", "https://127.0.0.1/list.json"];
    let public = ["--subject-type", "public"];
    for (words, why) in [
        (
            [&redirect[..], &pairwise, &["--scope", "openid atproto"]].concat(),
            "tells it the account",
        ),
        (
            [&redirect[..], &elsewhere, &pairwise].concat(),
            "of one host",
        ),
        (pairwise.to_vec(), "has a redirect URI"),
        ([&redirect[..], &list].concat(), "an https URL"),
        (
            [&redirect[..], &list, &public].concat(),
            "is for --subject-type pairwise",
        ),
    ] {
        refused(&create(&words), why);
    }
    let update = |words: &[&str]| {
        aip(
            folder.path(),
            &[],
            &[&["clients", "update", id], words].concat(),
        )
    };
    refused(&update(&elsewhere), "stay at its sector");
    refused(
        &update(&["--scope", "openid profile"]),
        "tells it the account",
    );
    update(&["--scope", "openid email"]).ok();
    refused(&update(&pairwise), "unexpected argument");
    let listed = aip(folder.path(), &[], &["--output", "json", "clients", "list"]);
    assert_eq!(listed.rows().len(), 1);
}

/// Outputs that take nothing: of a reader that has left, and of a disk that is full.
fn broken_outputs() -> [(&'static str, Stdio); 2] {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    [("no reader", writer.into()), ("a full disk", full.into())]
}

#[test]
fn a_secret_that_cannot_be_printed_is_said_to_be_known_by_nobody() {
    let folder = TempDir::new().unwrap();
    let run = |stdout: Stdio, arguments: &[&str]| {
        let mut started = command(folder.path(), &[], arguments);
        let ended = started.stdout(stdout).output().unwrap();
        CommandOutput {
            code: ended.status.code().unwrap(),
            stdout: String::new(),
            stderr: String::from_utf8(ended.stderr).unwrap(),
        }
    };
    let redirect = "https://app.example/back";
    for (number, (what, stdout)) in (0..).zip(broken_outputs()) {
        let id = format!("app-{number}");
        let create = ["clients", "create", "--id", &id, "--redirect-uri", redirect];
        let more = ["--name", "App", "--output", "json"];
        let created = run(stdout, &[&create[..], &more].concat());
        created.failed_with("could not be printed");
        let mend = format!("aip clients rotate-secret {id}");
        assert!(created.stderr.contains(&mend), "{what}: {}", created.stderr);
        // As it says.
        let rotate = ["clients", "rotate-secret", &id];
        aip(folder.path(), &[], &rotate).ok();
    }
    for (what, stdout) in broken_outputs() {
        let rotated = run(stdout, &["clients", "rotate-secret", "app-0"]);
        rotated.failed_with("clients rotate-secret app-0");
        assert!(!rotated.stderr.contains("shown this once"), "{what}");
    }
    for (what, stdout) in broken_outputs() {
        let create = ["clients", "registration-token", "create"];
        let created = run(stdout, &create);
        created.failed_with("It was deleted; run the command again");
        let list = ["clients", "registration-token", "list", "--output", "json"];
        let left = aip(folder.path(), &[], &list).rows();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    // What can be asked for again may go unread.
    for (what, stdout) in broken_outputs() {
        let listed = run(stdout, &["clients", "list"]);
        assert_eq!(listed.code, i32::from(what == "a full disk"), "{what}");
    }
}
