//! SIGHUP: keys, certificate and log filter are read again; what is bad leaves the old in place.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::aip;
use crate::contents::session;
use crate::server::Server;

#[test]
fn a_new_key_is_published_and_then_used_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let before = server.published();
    let generate = ["keys", "generate", "--purpose", "upstream"];
    let kid = aip(folder.path(), &[], &generate).ok().to_owned();
    assert_eq!(server.published(), before, "before it is told");

    server.signal("HUP");
    server.until("the key is published", |it| it.published().contains(&kid));
    assert_eq!(server.published().len(), before.len() + 1);
    assert_eq!(server.probe("/internal/ready"), Some(200));

    aip(folder.path(), &[], &["keys", "activate", "--now", &kid]).ok();
    aip(folder.path(), &[], &["keys", "remove", &before[0]]).ok();
    server.signal("HUP");
    // The server still signs with the old key: it must learn of the new one before that goes.
    server.logged("key set reload failed, keeping the current key set");
    assert!(server.published().contains(&before[0]));
}

#[test]
fn a_key_set_that_is_bad_or_another_leaves_the_old_one_in_place() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut server = Server::start(folder.path(), &[]);
    let before = server.published();
    aip(other.path(), &[], &["keys", "list"]).ok();
    let keys = |folder: &TempDir| folder.path().join("aip-data/keys.json");
    std::fs::copy(keys(&other), keys(&folder)).unwrap();
    server.signal("HUP");
    let refused = server.logged("key set reload failed, keeping the current key set");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("is not in the new set"), "{error}");

    std::fs::write(keys(&folder), "{}").unwrap();
    server.signal("HUP");
    server.until("the second refusal", |it| {
        it.log().contains("not a JWK Set")
    });
    assert_eq!(server.published(), before);
}

/// The text without the key `kid`.
fn without(set: &str, kid: &str) -> String {
    let mut set: Value = serde_json::from_str(set).unwrap();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.retain(|key| key["kid"] != kid);
    set.to_string()
}

#[tokio::test]
async fn keys_from_outside_are_followed_and_one_that_vanishes_in_use_makes_the_server_unready() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    aip(other.path(), &[], &["keys", "list"]).ok();
    let file = folder.path().join("set.json");
    std::fs::copy(other.path().join("aip-data/keys.json"), &file).unwrap();
    for variable in ["AIP_JSON_WEB_KEYS", "AIP_JSON_WEB_KEYS_FILE"] {
        let variables = [(variable, "set.json")];
        let mut server = Server::start(folder.path(), &variables);
        let old = server.published().pop().unwrap();
        let generate = ["keys", "generate", "--purpose", "upstream"];
        let writable = [("AIP_JSON_WEB_KEYS", "set.json")];
        let kid = aip(folder.path(), &writable, &generate).ok().to_owned();
        // No signal is sent.
        server.until("the key is published", |it| it.published().contains(&kid));
        aip(
            folder.path(),
            &writable,
            &["keys", "activate", "--now", &kid],
        )
        .ok();
        server.until("the new key signs", |it| {
            it.log().matches("key set reloaded").count() >= 2
        });
        for _ in 0..2 {
            session(folder.path(), &old).await;
        }

        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, without(&whole, &old)).unwrap();
        server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
        let (_, why) = server.internal("/internal/ready");
        assert!(why.contains(&old) && why.contains("2 session(s)"), "{why}");
        let (status, public) = server.get("/internal/ready");
        assert!(status == 503 && !public.contains(&old), "{public}");
        server.logged("key set reload failed, keeping the current key set");
        assert!(server.published().contains(&old), "it is kept");

        // A server that starts without the key is not ready, either.
        drop(server);
        let mut server = Server::start(folder.path(), &variables);
        assert_eq!(server.probe("/internal/ready"), Some(503));
        server.logged("session refresh unavailable");
        std::fs::write(&file, &whole).unwrap();
        server.until("ready", |it| it.probe("/internal/ready") == Some(200));
        drop(server);
        aip(
            folder.path(),
            &writable,
            &["keys", "remove", &old, "--force", "2"],
        )
        .ok();
    }
}

/// A set in which `kid` is not active, or not there, as somebody may write it who rotates keys outside.
#[test]
fn a_key_that_signs_and_vanishes_makes_the_server_unready_until_it_is_back() {
    let other = TempDir::new().unwrap();
    aip(other.path(), &[], &["keys", "list"]).ok();
    let whole = std::fs::read_to_string(other.path().join("aip-data/keys.json")).unwrap();
    let signs: Value = serde_json::from_str(&whole).unwrap();
    let signs = signs["keys"].as_array().unwrap().iter();
    let mut upstream = signs.filter(|key| key["aip_purpose"] == "upstream");
    let kid = upstream.next().unwrap()["kid"].as_str().unwrap().to_owned();
    let retired = whole.replacen("\"active\"", "\"retired\"", 4);
    for (is_named, vanished) in [
        (true, without(&whole, &kid)),
        (false, without(&whole, &kid)),
        (true, retired),
    ] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("set.json");
        std::fs::write(&file, &whole).unwrap();
        let mut variables = vec![("AIP_JSON_WEB_KEYS_FILE", "set.json")];
        if is_named {
            variables.push(("ACTIVE_SIGNING_KEYS", &*kid));
        }
        let mut server = Server::start(folder.path(), &variables);
        // Half of a file is no reason to take no requests: it may be being written.
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        server.until("the refusal", |it| it.log().contains("not a JWK Set"));
        assert_eq!(server.probe("/internal/ready"), Some(200));
        std::fs::write(&file, &vanished).unwrap();
        server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
        let (_, why) = server.internal("/internal/ready");
        assert!(
            why.contains(&kid) || why.contains("active upstream key"),
            "{why}"
        );
        assert!(server.published().contains(&kid), "it is kept");
        std::fs::write(&file, &whole).unwrap();
        server.until("ready", |it| it.probe("/internal/ready") == Some(200));
    }
}

#[tokio::test]
async fn master_keys_are_read_again_and_none_that_something_needs_is_dropped() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut server = Server::start(folder.path(), &[]);
    let signing = server.published().pop().unwrap();
    session(folder.path(), &signing).await;
    let file = folder.path().join("aip-data/master-keys.json");
    let first = std::fs::read_to_string(&file).unwrap();
    let generate = ["keys", "generate", "--purpose", "master"];
    let kid = aip(folder.path(), &[], &generate).ok().to_owned();
    aip(folder.path(), &[], &["keys", "activate", &kid]).ok();
    let both = std::fs::read_to_string(&file).unwrap();
    server.signal("HUP");
    let reloaded = server.logged("master keys reloaded");
    assert_eq!(reloaded["primary"], *kid);
    assert_eq!(reloaded["keys"], 2);

    // Those of another installation, nonsense, and the new key without the one that sealed.
    aip(other.path(), &[], &["keys", "list"]).ok();
    let others = std::fs::read_to_string(other.path().join("aip-data/master-keys.json")).unwrap();
    let old = serde_json::from_str::<Value>(&first).unwrap();
    let old = old["primary"].as_str().unwrap();
    for (bad, why) in [
        (others, "do not open this database"),
        ("{}".to_owned(), "not a JSON object with `primary`"),
        (without(&both, old), "do not open this database"),
    ] {
        std::fs::write(&file, bad).unwrap();
        server.signal("HUP");
        server.until(why, |it| {
            let log = it.log();
            let mut lines = log.lines().filter(|line| line.contains(why));
            lines.any(|line| line.contains("master keys reload failed"))
        });
    }
    std::fs::write(&file, &both).unwrap();
    aip(folder.path(), &[], &["keys", "rekey"]).ok();
    // A session of a server that still seals with the old key.
    std::fs::write(&file, &first).unwrap();
    session(folder.path(), &signing).await;
    std::fs::write(&file, without(&both, old)).unwrap();
    server.signal("HUP");
    server.until("the old key is needed", |it| {
        it.log().contains(&format!(
            "the master key `{old}` is missing, which 3 value(s)"
        ))
    });
    std::fs::write(&file, &both).unwrap();
    aip(folder.path(), &[], &["keys", "rekey"]).ok();
    aip(folder.path(), &[], &["keys", "remove", old]).ok();
    server.signal("HUP");
    server.until("the old key is gone", |it| {
        it.log().matches("master keys reloaded").count() == 2
    });
    assert_eq!(server.probe("/internal/ready"), Some(200));
}

#[test]
fn a_server_that_rotates_keeps_its_keys_in_the_database() {
    let folder = TempDir::new().unwrap();
    let rotates = [("AIP_ROTATE_UPSTREAM_KEYS_EVERY", "90d")];
    let mut server = Server::start(folder.path(), &rotates);
    server.logged("the signing keys are kept in the database from now on");
    let before = server.published();
    let generate = ["keys", "generate", "--purpose", "upstream"];
    let output = aip(folder.path(), &[], &generate);
    assert!(
        output.stderr.contains("Added to the database"),
        "{}",
        output.stderr
    );
    let kid = output.ok().to_owned();
    server.signal("HUP");
    server.until("the key is published", |it| it.published().contains(&kid));
    drop(server);

    // From then on also without the setting.
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.published().len(), before.len() + 1);
    assert!(!server.log().contains("from now on"));
}

#[test]
fn the_log_filter_of_the_file_is_followed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aip.toml");
    std::fs::write(&file, "[log]\nfilter = \"info\"\n").unwrap();
    let mut server = Server::start(folder.path(), &[]);
    std::fs::write(&file, "[log]\nfilter = \"aip=loud\"\n").unwrap();
    server.signal("HUP");
    server.logged("configuration reload failed, keeping the current configuration");

    std::fs::write(&file, "[log]\nfilter = \"debug\"\n").unwrap();
    server.signal("HUP");
    server.logged("log filter reloaded");
    server.until("something of little weight is logged", |it| {
        it.get("/");
        it.log().contains("\"level\":\"DEBUG\"")
    });

    std::fs::write(&file, "[lgo]\n").unwrap();
    server.signal("HUP");
    server.logged("configuration reload failed, keeping the current configuration");
}

#[test]
fn a_certificate_is_read_again_and_a_bad_one_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aip-listen/tests/certificates");
    let put = |name: &str, file: &str| {
        std::fs::copy(from.join(name), folder.path().join(file)).unwrap();
    };
    put("first.cert.pem", "cert.pem");
    put("first.key.pem", "key.pem");
    let tls = [
        ("AIP_TLS_CERT_FILE", "cert.pem"),
        ("AIP_TLS_KEY_FILE", "key.pem"),
    ];
    let mut server = Server::start(folder.path(), &tls);
    put("second.cert.pem", "cert.pem");
    server.signal("HUP");
    server.logged("TLS certificate reload failed, keeping the current one");
    put("second.key.pem", "key.pem");
    server.signal("HUP");
    server.logged("TLS certificate reloaded");
}
