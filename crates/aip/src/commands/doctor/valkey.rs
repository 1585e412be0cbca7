//! Whether Valkey answers, where it is used.

use super::finding::Finding;
use super::installation::Installation;
use crate::settings;

pub(super) async fn answers(installation: &Installation) -> Finding {
    let config = match settings::valkey(&installation.loaded.config.redis) {
        Ok(Some(config)) => config,
        Ok(None) => return Finding::skipped("not configured: the database does its work"),
        Err(error) => return Finding::fail(format!("{error:#}"), "correct the setting named"),
    };
    match config.check().await {
        Ok(()) => Finding::ok("answers"),
        // Without it everything works, slower.
        Err(error) => Finding::fail(
            error.to_string(),
            "check AIP_REDIS_URL, that Valkey runs, and that this machine may reach it; until then \
             the database does its work",
        ),
    }
}
