//! Stopping: SIGTERM takes the process out of the rotation, drains it and ends it well; told twice,
//! it ends at once.

use aip_base::{Clock as _, SystemClock};
use aip_sandbox::{Endpoint, Sandbox, SandboxOptions, When};
use tempfile::TempDir;

use crate::command::aip;
use crate::contents::{session_at, storage};
use crate::server::Server;

#[test]
fn a_server_that_is_told_to_end_is_not_ready_at_once_and_ends_well() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), &[("AIP_SHUTDOWN_DELAY", "2s")]);
    assert_eq!(server.probe("/internal/ready"), Some(200));

    server.signal("TERM");
    server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
    // Load balancers that have not looked yet are still served.
    assert_eq!(server.probe("/internal/alive"), Some(200));
    assert_eq!(server.get("/").0, 200);

    assert_eq!(server.ended(), 0, "{}", server.log());
    assert!(server.log().contains("\"stopped\""), "{}", server.log());
}

#[test]
fn a_server_that_is_told_twice_ends_at_once_and_says_by_which_signal() {
    for (first, second, code) in [("TERM", "TERM", 143), ("TERM", "INT", 130)] {
        let folder = TempDir::new().unwrap();
        let mut server = Server::start(folder.path(), &[("AIP_SHUTDOWN_DELAY", "10m")]);
        server.signal(first);
        server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
        server.signal(second);
        assert_eq!(server.ended(), code, "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_under_way_is_finished_and_its_tokens_stored() {
    let folder = TempDir::new().unwrap();
    aip(folder.path(), &[], &["clients", "list"]).ok();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let id = session_at(folder.path(), &sandbox, SystemClock.now()).await;
    let gate = sandbox.pds.next(Endpoint::Token).holds(When::After);
    let variables = [
        ("AIP_DEVELOPMENT", "true"),
        ("AIP_PLC_URLS", sandbox.plc.origin()),
        ("AIP_EXTERNAL_BASE", "http://127.0.0.1:8080"),
    ];
    let mut server = Server::start(folder.path(), &variables);
    gate.reached_by(1).await;
    server.signal("TERM");
    server.until("not ready", |it| it.probe("/internal/ready") == Some(503));
    gate.open();
    assert_eq!(server.ended(), 0, "{}", server.log());

    let stored = storage(folder.path()).await;
    let session = stored.upstream_session(id).await.unwrap().unwrap();
    assert_eq!(session.generation, 2, "{}", server.log());
    // The PDS takes each refresh token once: that these are the new ones shows at the next refresh.
    let words = ["sessions", "refresh", &id.to_string()];
    aip(folder.path(), &variables, &words).ok();
}
