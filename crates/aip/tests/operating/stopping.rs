//! Stopping: SIGTERM takes the process out of the rotation, drains it and ends it well; told twice,
//! it ends at once.

use tempfile::TempDir;

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
    assert!(server.log().contains("\"ended\""), "{}", server.log());
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
