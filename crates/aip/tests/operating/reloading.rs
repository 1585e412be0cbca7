//! SIGHUP: keys, certificate and log filter are read again; what is bad leaves the old in place.

use std::path::Path;

use tempfile::TempDir;

use crate::command::aip;
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
