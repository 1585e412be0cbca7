//! Whether the database answers, fits this program, and can be written.

use aip_base::{Clock as _, SystemClock, SystemRng, random_token};
use aip_storage::StorageError;
use aip_storage_sql::SchemaError;

use super::finding::Finding;
use super::installation::{Installation, Part};

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
