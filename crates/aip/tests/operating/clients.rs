//! `aip clients` uses the database and nothing else of what servers share.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::command::{Said, aip, command};
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
    let said = aip(
        folder.path(),
        &[("AIP_REDIS_URL", &url)],
        &["clients", "list"],
    );
    said.ok();
    assert!(
        !said.talk.to_lowercase().contains("valkey"),
        "{}",
        said.talk
    );
    let connected = nobody.accept().map(drop);
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::WouldBlock);
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
    let said = token(&["create", "--uses", "3", "--expires", "2"]);
    let made: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
    let secret = made["initial_access_token"].as_str().unwrap();
    assert!(secret.starts_with("aip_rg_"));
    assert!(
        said.talk.contains("AIP_CLIENT_REGISTRATION=token"),
        "nobody can use it yet: {}",
        said.talk
    );
    let on = [("AIP_CLIENT_REGISTRATION", "token")];
    let words = ["clients", "registration-token", "create"];
    let said = aip(folder.path(), &on, &words);
    assert!(!said.talk.contains("AIP_CLIENT_REGISTRATION"));

    let listed = token(&["list"]);
    let rows = listed.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["id"], rows[0]["uses_left"].as_u64()),
        (&made["id"], Some(3))
    );
    assert!(!listed.result.contains(secret), "it is shown once");

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
        let said = token(bad);
        assert_eq!(said.code, 2, "{bad:?}: {}", said.talk);
    }
    for bad in ["on", "true"] {
        let variables = [("AIP_CLIENT_REGISTRATION", bad)];
        let said = aip(folder.path(), &variables, &["config", "check"]);
        assert_ne!(said.code, 0, "{bad}");
        let words = "expected `off`, `token` or `open`";
        assert!(said.talk.contains(words), "{}", said.talk);
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
            let talk = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{talk}");
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
        let said = clients(&["update", "app", "--atproto-proxy", bad]);
        assert_eq!(said.code, 2, "{bad}: {}", said.talk);
        assert!(said.talk.contains(bad), "{}", said.talk);
    }
    assert_eq!(default(&["show", "app"]).as_deref(), Some(two));
    assert_eq!(default(&["update", "app", "--atproto-proxy", ""]), None);
    assert_eq!(default(&["show", "app"]), None);
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
    let said = create(&[&redirect[..], &pairwise].concat());
    let made: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
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
        assert!(shown.ok().contains(member), "{}", shown.result);
    }

    let refused = |said: &Said, why: &str| {
        assert_eq!(said.code, 2, "{}{}", said.result, said.talk);
        assert!(said.talk.contains(why), "{}", said.talk);
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
