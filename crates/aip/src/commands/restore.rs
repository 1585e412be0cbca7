//! `aip restore`: a copy of the SQLite database in the place of the database, after it was examined.
//! The database before it is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aip_base::{Clock as _, SystemClock, SystemRng, Timestamp};
use aip_config::LoadedConfig;
use aip_keys::MasterKeys;
use aip_storage::Storage;
use aip_storage_sql::{CopiedSessions, Database, SqliteStorage, check_database};
use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;

use crate::app::{DatabaseKeys, pinned_keys};
use crate::cli::Global;
use crate::data_dir::{DataDir, MASTER_KEYS, SIGNING_KEYS};
use crate::database_files::{
    copy_private, draft_of, remove, rename, shared_memory, with_size_progress, write_ahead_log,
};
use crate::environment::load;
use crate::failure::Failure;
use crate::file_modes::database_file;
use crate::output;
use crate::progress::{Progress, Unit};
use crate::rekeying::check_keys;
use crate::runtime::{master_keys, signing_keys};

const POSTGRES: &str = "this restores SQLite databases, and the database is PostgreSQL: stop every \
    AIP, then `pg_restore --clean --if-exists --dbname=\"$AIP_DATABASE_URL\" aip.dump`, or recover \
    to the last moment (docs/operators.md, \"Backups, and what a restored one loses\")";

/// How many databases of one second are kept.
const MAX_NAMES_PER_SECOND: u32 = 100;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The copy, as `aip backup` made it
    file: PathBuf,
}

/// What was found in a copy.
struct CopyFacts {
    copied_at: Option<Timestamp>,
    sessions: CopiedSessions,
    /// How many migrations it lacked.
    migrated: usize,
    /// What is wrong with the signing keys.
    keys: Option<String>,
}

/// What was done.
#[derive(Serialize)]
struct RestoreResult {
    database: PathBuf,
    /// Where the database before it is.
    kept: Option<PathBuf>,
    copied_at: Option<String>,
    sessions: u64,
    /// Of these, those that a server has most likely refreshed after the copy was made.
    sessions_due: u64,
    migrations_applied: usize,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let Some(database) = database_file(&loaded) else {
        return Err(Failure::usage(anyhow!(POSTGRES)));
    };
    let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
    let _exclusive = data_dir
        .lock()
        .context("a database is restored while no server uses it")?;
    is_another_file(&args.file, &database)?;
    let master = read_master_keys(&data_dir, &loaded)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let restored = runtime.block_on(async {
        let draft = draft_of(&database)?;
        let examined = take(&args.file, &draft, &loaded, &data_dir, &master).await;
        let examined = match examined {
            Ok(examined) => examined,
            Err(error) => {
                // The first error counts; what stays is removed the next time.
                let _ = remove_all(&draft);
                let file = args.file.display();
                return Err(error.context(format!("{file} was not restored; nothing was changed")));
            }
        };
        let kept = replace(&database, &draft).await?;
        anyhow::Ok((examined, kept))
    });
    let (examined, kept) = restored?;
    tell(args, &database, &examined, kept, global)
}

fn is_another_file(file: &Path, database: &Path) -> anyhow::Result<()> {
    let found = std::fs::metadata(file)
        .with_context(|| format!("cannot read the copy {}", file.display()))?;
    if !found.is_file() {
        bail!("{} is no file", file.display());
    }
    if database.exists() && file.canonicalize()? == database.canonicalize()? {
        bail!("{} is the database itself: name a copy", file.display());
    }
    Ok(())
}

/// The master keys, which are never made here: new ones open no copy.
fn read_master_keys(data_dir: &DataDir, loaded: &LoadedConfig) -> anyhow::Result<MasterKeys> {
    let file = data_dir.path(MASTER_KEYS);
    if loaded.config.keys.master_keys.is_none() && !file.exists() {
        bail!(
            "there are no master keys, {}: put back the key files that were kept with the copy, \
             and then restore it",
            file.display()
        );
    }
    master_keys(data_dir, loaded)
}

/// Copies the file beside the database, and examines the copy: the file itself is not changed.
async fn take(
    file: &Path,
    draft: &Path,
    loaded: &LoadedConfig,
    data_dir: &DataDir,
    master: &MasterKeys,
) -> anyhow::Result<CopyFacts> {
    remove_all(draft)?;
    let total = std::fs::metadata(file)?.len();
    let progress = Progress::begin("reading the copy", Unit::Bytes, total, loaded);
    let (from, to) = (file.to_owned(), draft.to_owned());
    let copying = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let log = write_ahead_log(&from);
        if log.exists() {
            // The files of a database that was in use when its machine ended.
            copy_private(&log, &write_ahead_log(&to))?;
        }
        copy_private(&from, &to)
    });
    with_size_progress(copying, draft, progress).await??;
    check_database(draft).await.map_err(|error| {
        anyhow!("{error}; make another copy with `aip backup`, or take an older one")
    })?;
    let storage = SqliteStorage::open(draft).await?;
    let database = Database::Sqlite(storage.clone());
    let examined = examine_copy(&database, &storage, loaded, data_dir, master).await;
    database.close().await;
    let examined = examined?;
    if write_ahead_log(draft).exists() {
        bail!("another process has opened {}", draft.display());
    }
    Ok(examined)
}

async fn examine_copy(
    database: &Database,
    storage: &SqliteStorage,
    loaded: &LoadedConfig,
    data_dir: &DataDir,
    master: &MasterKeys,
) -> anyhow::Result<CopyFacts> {
    let status = database.status().await?;
    if status.steps.iter().all(|step| !step.applied) {
        bail!("it is a SQLite database, but none of AIP");
    }
    let migrated = database.migrate().await?.len();
    let verbs = database.storage().await?;
    check_keys(&*verbs, master, &SystemRng).await?;
    let copied_at = storage.copied_at().await?;
    let now = SystemClock.now();
    let pinned = pinned_keys(&*verbs).await?;
    Ok(CopyFacts {
        copied_at,
        sessions: storage
            .count_sessions(copied_at.unwrap_or(now), now)
            .await?,
        migrated,
        keys: missing_keys(&pinned, &verbs, loaded, data_dir, master).await?,
    })
}

/// What is missing of the signing keys that the sessions of the copy are bound to.
async fn missing_keys(
    pinned: &[(String, u64)],
    storage: &Arc<dyn Storage>,
    loaded: &LoadedConfig,
    data_dir: &DataDir,
    master: &MasterKeys,
) -> anyhow::Result<Option<String>> {
    let keys = &loaded.config.keys;
    let stored = DatabaseKeys {
        storage: Arc::clone(storage),
        sealer: Arc::new(master.sealer()),
        rng: Arc::new(SystemRng),
        active_signing_keys: keys.active_signing_keys.clone(),
    };
    let set = if keys.json_web_keys.is_some() {
        signing_keys(data_dir, loaded)?
    } else if let Some(read) = stored.read().await? {
        read.set
    } else if data_dir.path(SIGNING_KEYS).exists() {
        signing_keys(data_dir, loaded)?
    } else {
        let missing = format!("there is no {SIGNING_KEYS} in the data folder");
        return Ok((!pinned.is_empty()).then_some(missing));
    };
    Ok(set.covers(pinned).err().map(|error| error.to_string()))
}

/// Puts the draft in the place of the database; where the one before it is kept.
///
/// At every moment there is a database under its name, with all its transactions unless it is damaged:
/// a server that starts after a kill begins neither with an empty one nor with an older one.
async fn replace(database: &Path, draft: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !database.exists() {
        remove_side_files(database)?;
        rename(draft, database)?;
        return Ok(None);
    }
    let kept = replaced_database_path(database, SystemClock.now())?;
    if write_ahead_log(database).exists()
        && let Ok(old) = SqliteStorage::open(database).await
    {
        // Its last transactions go into the file. One that is damaged is kept as it is.
        old.close().await;
        if write_ahead_log(database).exists() {
            bail!(
                "another process has opened {}: end it, and run the command again",
                database.display()
            );
        }
    }
    let log = write_ahead_log(database);
    if log.exists() {
        copy_private(&log, &write_ahead_log(&kept))?;
    }
    if std::fs::hard_link(database, &kept).is_err() {
        // Some file systems have no second name for a file.
        copy_private(database, &kept)?;
    }
    // It must not be taken for the log of the copy.
    remove_side_files(database)?;
    rename(draft, database)?;
    Ok(Some(kept))
}

/// A name that is free: two restores may be made in one second.
fn replaced_database_path(database: &Path, now: Timestamp) -> anyhow::Result<PathBuf> {
    let time = output::instant_in_name(now)?;
    let named = |ending: String| {
        let mut name = database.as_os_str().to_owned();
        name.push(format!(".before-{time}{ending}"));
        PathBuf::from(name)
    };
    std::iter::once(String::new())
        .chain((2..=MAX_NAMES_PER_SECOND).map(|number| format!("-{number}")))
        .map(named)
        .find(|name| !name.exists())
        .ok_or_else(|| anyhow!("no name is free to keep {} under", database.display()))
}

fn remove_side_files(database: &Path) -> anyhow::Result<()> {
    remove(&write_ahead_log(database))?;
    remove(&shared_memory(database))
}

fn remove_all(database: &Path) -> anyhow::Result<()> {
    remove_side_files(database)?;
    remove(database)
}

fn tell(
    args: &Args,
    database: &Path,
    examined: &CopyFacts,
    kept: Option<PathBuf>,
    global: &Global,
) -> Result<(), Failure> {
    let CopiedSessions { live, due, .. } = examined.sessions;
    let mut lines = vec![match examined.copied_at {
        Some(at) => format!(
            "Restored {} as it was at {}.",
            database.display(),
            output::instant(at)
        ),
        None => format!(
            "Restored {} from {}. When it was copied is not known: `aip backup` did not make it.",
            database.display(),
            args.file.display()
        ),
    }];
    if let Some(kept) = &kept {
        lines.push(format!(
            "The database before it is kept as {}.",
            kept.display()
        ));
    }
    lines.push(format!(
        "{live} session(s) at PDSs are in it. Each that was refreshed after the copy was made ends \
         at its next refresh, and its person must sign in again; {due} of them were due since. The \
         others go on. `aip doctor` counts both, `aip sessions list --state needs_reauth` lists \
         those that ended."
    ));
    lines.push(
        "What people took back since the copy is allowed again: end it anew with `aip clients \
         delete` and `aip sessions revoke`. Leave the folder `spill` as it is."
            .to_owned(),
    );
    if let Some(why) = &examined.keys {
        lines.push(format!(
            "Before you start: {why}. Put back the signing keys that were kept with the copy, or \
             the sessions that need them cannot be refreshed."
        ));
    }
    lines.push("Run `aip doctor`, then start the server.".to_owned());
    let done = RestoreResult {
        database: database.to_owned(),
        kept,
        copied_at: examined.copied_at.map(output::instant),
        sessions: live,
        sessions_due: due,
        migrations_applied: examined.migrated,
    };
    Ok(global.output.done(&done, &lines.join("\n"))?)
}
