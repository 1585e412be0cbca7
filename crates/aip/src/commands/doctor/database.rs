//! Whether the database answers, fits this program, and can be written.

use aip_base::{Clock as _, SystemClock, SystemRng, random_token};
use aip_storage::StorageError;
use aip_storage_sql::{Database, SchemaError};

use super::finding::Finding;
use super::installation::{Installation, Part};
use crate::output::instant;

const WRITABLE: &str =
    "look for a full disk, a read-only file or server, or missing rights on the tables";

pub(super) fn reachable(installation: &Installation) -> Finding {
    match &installation.database {
        Part::Present(database) => Finding::ok(format!("{} answers", database.engine())),
        Part::NotYet => Finding::warn("there is none yet", "`aip serve` makes it"),
        Part::Broken(why) => Finding::fail(
            why,
            "check AIP_DATABASE_URL, that the server runs, and that this machine may reach it",
        ),
    }
}

pub(super) fn schema(installation: &Installation) -> Finding {
    let status = match installation.schema.needed("database") {
        Ok(status) => status,
        Err(finding) => return finding,
    };
    match status {
        Ok(status) => match status.pending().len() {
            0 => Finding::ok(format!("all {} migrations are applied", status.steps.len())),
            pending => Finding::fail(
                format!("{pending} migration(s) are not applied"),
                "run `aip migrate`, or start with `aip serve --migrate`",
            ),
        },
        Err(error @ (SchemaError::Ahead { .. } | SchemaError::Changed { .. })) => Finding::fail(
            error.to_string(),
            "run the program that migrated this database, or name another database",
        ),
        Err(error) => Finding::fail(error.to_string(), WRITABLE),
    }
}

/// Whether the database is a copy that was restored, and which sessions have not met their PDS since.
pub(super) async fn restored(installation: &Installation) -> Finding {
    if let Err(finding) = installation.storage.needed("database") {
        return finding;
    }
    let Part::Present(Database::Sqlite(database)) = &installation.database else {
        return Finding::skipped("PostgreSQL does not say whether it was restored");
    };
    let copied_at = match database.copied_at().await {
        Ok(Some(copied_at)) => copied_at,
        Ok(None) => return Finding::ok("the database is no restored copy"),
        Err(error) => return Finding::fail(error.to_string(), "see the check of the database"),
    };
    match database.count_sessions(copied_at, SystemClock.now()).await {
        Ok(counts) => {
            let found = format!(
                "restored from a copy of {}; {} session(s) not refreshed since, {} refused by \
                 their PDS",
                instant(copied_at),
                counts.not_refreshed_since,
                counts.refused
            );
            if counts.not_refreshed_since == 0 {
                return Finding::ok(found);
            }
            Finding::warn(
                found,
                "each goes on, or ends at its next refresh if it was refreshed after the copy: \
                 `aip sessions list --state needs_reauth` shows whose people must sign in again",
            )
        }
        Err(error) => Finding::fail(error.to_string(), "see the check of the database"),
    }
}

/// Writes a row that is forgotten at the next clean-up.
pub(super) async fn write(installation: &Installation) -> Finding {
    match try_to_write(installation).await {
        Ok(Ok(())) => Finding::ok("a row was written"),
        Ok(Err(error)) => Finding::fail(error.to_string(), WRITABLE),
        Err(finding) => finding,
    }
}

async fn try_to_write(installation: &Installation) -> Result<Result<(), StorageError>, Finding> {
    let storage = installation.storage.needed("database")?;
    let master = installation.master_keys.needed("master keys")?;
    let probe = master.token_hasher().hash(&random_token::<16>(&SystemRng));
    Ok(storage
        .claim_once(&probe, SystemClock.now())
        .await
        .map(drop))
}
