//! Whether the stream of events can be followed, where one is named.

use super::finding::Finding;
use super::installation::Installation;
use crate::settings;

pub(super) async fn stream(installation: &Installation) -> Finding {
    let following = match settings::following(&installation.loaded) {
        Ok(Some(following)) => following,
        Ok(None) => return Finding::skipped("not configured: changes are noticed without it"),
        Err(error) => return Finding::fail(format!("{error:#}"), "correct the setting named"),
    };
    let server = &following.server;
    match following.check_connection().await {
        Ok(()) => Finding::ok(format!("{server} sends events")),
        // Without it everything works, later.
        Err(error) => Finding::warn(
            format!("{server}: {error}"),
            "check AIP_JETSTREAM_URL, that the server runs, and that this machine may reach it; until then \
             changes are noticed without it",
        ),
    }
}
