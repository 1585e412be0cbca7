//! `aip healthcheck`, as a container runs it.

use std::path::Path;

use tempfile::TempDir;

use crate::command::aip;
use crate::server::Server;

#[test]
fn a_ready_server_is_healthy_and_one_that_leaves_or_is_gone_is_not() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), &[("AIP_SHUTDOWN_DELAY", "10m")]);
    let internal = server.internal.to_string();
    let check = || {
        let variables = [("AIP_INTERNAL_LISTEN", &*internal)];
        aip(folder.path(), &variables, &["healthcheck"])
    };
    check().ok();

    server.signal("TERM");
    server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
    check().failed_with("not ready: 503");

    server.signal("TERM");
    server.ended();
    check().failed_with("no connection");
}

#[test]
fn a_server_that_is_starting_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let words = ["healthcheck", "--wait", "1"];
    let nobody = [("AIP_INTERNAL_LISTEN", "127.0.0.1:9")];
    aip(folder.path(), &nobody, &words).failed_with("no connection");

    // A port that nobody listens on yet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let internal = free.local_addr().unwrap().to_string();
    drop(free);
    let path = folder.path().to_owned();
    let address = internal.clone();
    let waiting = std::thread::spawn(move || {
        let variables = [("AIP_INTERNAL_LISTEN", &*address)];
        aip(&path, &variables, &["healthcheck", "--wait", "60"]).ok();
    });
    let _server = Server::start(folder.path(), &[("AIP_INTERNAL_LISTEN", &internal)]);
    waiting.join().unwrap();
}

#[test]
fn another_address_and_tls_can_be_asked() {
    let folder = TempDir::new().unwrap();
    let certificates =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../aip-listen/tests/certificates");
    let file = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("first.cert.pem"), file("first.key.pem"));
    let tls = [
        ("AIP_TLS_CERT_FILE", &*certificate),
        ("AIP_TLS_KEY_FILE", &*key),
    ];
    let server = Server::start(folder.path(), &tls);
    let url = format!("https://localhost:{}/internal/ready", server.public.port());
    let words = ["healthcheck", "--url", &url];
    let trusted = [("AIP_CERTIFICATE_BUNDLES", &*certificate)];
    aip(folder.path(), &trusted, &words).ok();
    aip(folder.path(), &[], &words).failed_with("no connection");
}
