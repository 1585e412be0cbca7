//! `aip backup`: a copy of the SQLite database while servers use it, and of the keys if asked for.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};

use aip_base::{Clock as _, SystemClock, Timestamp};
use aip_config::{JsonWebKeys, Keys, LoadedConfig};
use aip_storage_sql::copy_database;
use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::cli::Global;
use crate::data_dir::{DataDir, MASTER_KEYS, SIGNING_KEYS, read, write_private};
use crate::database_files::{
    draft_of, folder_of, is_at, make_private, open_private, rename, shared_memory,
    with_size_progress, write_ahead_log,
};
use crate::environment::load;
use crate::failure::Failure;
use crate::file_modes::database_file;
use crate::output;
use crate::progress::{Progress, Unit};

const POSTGRES: &str = "this copies SQLite databases, and the database is PostgreSQL: for one copy, \
    `pg_dump --format=custom --file=aip.dump \"$AIP_DATABASE_URL\"`; so that no session is lost, \
    continuous archiving (docs/operators.md, \"Backups, and what a restored one loses\")";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to write, or a folder that is there, in which the file is named after the time
    #[arg(value_name = "FILE|FOLDER")]
    target: PathBuf,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// Copy the key files, too, into this folder; keep it apart from the copy of the database
    #[arg(long, value_name = "FOLDER")]
    with_keys: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let Some(database) = database_file(&loaded) else {
        return Err(Failure::usage(anyhow!(POSTGRES)));
    };
    if !database.exists() {
        return Err(anyhow!(
            "there is no database {}: AIP_DATA_DIR or AIP_DATABASE_URL names another one",
            database.display()
        )
        .into());
    }
    let taken_at = SystemClock.now();
    let target = named(&args.target, taken_at)?;
    check_target(&target, &database, args.overwrite)?;
    let keys = key_files(&loaded);
    let copied = match &args.with_keys {
        Some(folder) => copy_keys(&keys, folder, &target, args.overwrite)?,
        None => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(copy(&database, &target, taken_at, args.overwrite, &loaded))?;
    let bytes = std::fs::metadata(&target)?.len();
    let result = json!({
        "file": target,
        "bytes": bytes,
        "taken_at": output::instant(taken_at),
        "keys": copied,
    });
    global.output.done(
        &result,
        &format!(
            "Copied {} to {} ({bytes} bytes), as it was at {}.",
            database.display(),
            target.display(),
            output::instant(taken_at)
        ),
    )?;
    let configured = configured_keys(&loaded.config.keys);
    output::print_status(&restore_requirements(&keys, &copied, &configured));
    Ok(())
}

/// The file that is written.
fn named(target: &Path, at: Timestamp) -> anyhow::Result<PathBuf> {
    if target.is_dir() {
        return Ok(target.join(format!("aip-{}.db", output::instant_in_name(at)?)));
    }
    Ok(target.to_owned())
}

/// Refuses to replace a file that is in use, or, unless told, any.
fn check_target(target: &Path, database: &Path, overwrite: bool) -> anyhow::Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let same = target.canonicalize()? == database.canonicalize()?;
    if same || write_ahead_log(target).exists() || shared_memory(target).exists() {
        bail!(
            "{} is a database in use: name another file",
            target.display()
        );
    }
    if !overwrite {
        bail!(
            "{} is there: name another file or a folder, or say `--overwrite`",
            target.display()
        );
    }
    Ok(())
}

async fn copy(
    database: &Path,
    target: &Path,
    taken_at: Timestamp,
    overwrite: bool,
    loaded: &LoadedConfig,
) -> anyhow::Result<()> {
    let draft = draft_of(target)?;
    // Held until the end: what a killed command left is overwritten, and what another one is
    // writing is not.
    let file = open_private(&draft)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another `aip backup` is writing {}", target.display())
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", draft.display()));
        }
    }
    // Another one may have renamed or removed what was opened before the lock was taken.
    if !is_at(&file, &draft)? {
        bail!("another `aip backup` has just written {}", target.display());
    }
    make_private(&file)?;
    file.set_len(0)?;
    let total = std::fs::metadata(database)?.len();
    let progress = Progress::begin("copying the database", Unit::Bytes, total, loaded);
    let copied =
        with_size_progress(copy_database(database, &draft, taken_at), &draft, progress).await;
    let done = copied.map_err(Into::into).and_then(|()| {
        file.sync_all()?;
        check_target(target, database, overwrite)?;
        rename(&draft, target)
    });
    if done.is_err() {
        // The first error counts; a draft that stays is overwritten the next time.
        let _ = std::fs::remove_file(&draft);
    }
    done
}

/// The files that hold keys; those that come from elsewhere are none.
fn key_files(loaded: &LoadedConfig) -> Vec<PathBuf> {
    let keys = &loaded.config.keys;
    let folder = &loaded.config.server.data_dir;
    let configured = match &keys.json_web_keys {
        Some(JsonWebKeys::File(path)) => Some(path.clone()),
        Some(JsonWebKeys::Json(_)) | None => None,
    };
    let master = keys.master_keys.is_none().then(|| folder.join(MASTER_KEYS));
    let all = [Some(folder.join(SIGNING_KEYS)), configured, master];
    let mut files: Vec<PathBuf> = all.into_iter().flatten().filter(|it| it.exists()).collect();
    files.dedup();
    files
}

/// Copies the key files into `folder`; those that are there already with the same text stay.
fn copy_keys(
    keys: &[PathBuf],
    folder: &Path,
    target: &Path,
    overwrite: bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let folder_of_keys = DataDir::open(folder)?;
    if folder.canonicalize()? == folder_of(target).canonicalize()? {
        bail!(
            "keys and database would lie in one folder, {}, and whoever finds it reads everything: \
             name another folder for the keys",
            folder.display()
        );
    }
    for (number, file) in keys.iter().enumerate() {
        let twin = keys[..number]
            .iter()
            .find(|it| it.file_name() == file.file_name());
        if let Some(twin) = twin {
            bail!(
                "{} and {} have one name, and their copies would be one file: copy one of them by hand",
                twin.display(),
                file.display()
            );
        }
    }
    let mut copies = Vec::new();
    for file in keys {
        let name = file
            .file_name()
            .with_context(|| format!("{} names no file", file.display()))?;
        let copy = folder_of_keys.path(&name.to_string_lossy());
        let text = read(file)?.ok_or_else(|| anyhow!("{} is gone", file.display()))?;
        match read(&copy)? {
            Some(there) if there.expose_secret() == text.expose_secret() => {}
            Some(_) if !overwrite => bail!(
                "{} is there and holds other keys: name another folder, or say `--overwrite`",
                copy.display()
            ),
            _ => write_private(&copy, &text)?,
        }
        copies.push(copy);
    }
    Ok(copies)
}

fn restore_requirements(
    keys: &[PathBuf],
    copied: &[PathBuf],
    configured: &[&'static str],
) -> String {
    let list = |files: &[PathBuf]| {
        let names: Vec<String> = files.iter().map(|it| it.display().to_string()).collect();
        names.join(", ")
    };
    let mut sentences = Vec::new();
    match (keys.is_empty(), copied.is_empty()) {
        (true, _) => {}
        (false, true) => sentences.push(format!(
            "Keep the keys, too, in another place: {}. Without them nothing opens the copy \
             (`--with-keys FOLDER` copies them).",
            list(keys)
        )),
        (false, false) => sentences.push(format!("The keys are in {}.", list(copied))),
    }
    if !configured.is_empty() {
        sentences.push(format!(
            "Keep what these settings say, too: {}.",
            configured.join(", ")
        ));
    }
    sentences.push(
        "A session that is refreshed from now on must be signed in again after a restore of this copy."
            .to_owned(),
    );
    sentences.join(" ")
}

/// The settings whose text holds keys, of which no file is copied.
fn configured_keys(keys: &Keys) -> Vec<&'static str> {
    let signing = matches!(keys.json_web_keys, Some(JsonWebKeys::Json(_)));
    let signing = signing.then_some("keys.json_web_keys");
    let master = keys.master_keys.is_some().then_some("keys.master_keys");
    signing.into_iter().chain(master).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_place_are_named() {
        let files = [PathBuf::from("data/keys.json")];
        let configured = ["keys.master_keys"];
        for (files, copied, configured, words) in [
            (
                &files[..],
                &[][..],
                &[][..],
                &["data/keys.json", "--with-keys"][..],
            ),
            (&files, &files, &[], &["The keys are in data/keys.json"]),
            (
                &files,
                &files,
                &configured,
                &["data/keys.json", "settings say", "keys.master_keys"],
            ),
            (&[], &[], &configured, &["settings say", "keys.master_keys"]),
        ] {
            let told = restore_requirements(files, copied, configured);
            assert!(words.iter().all(|it| told.contains(it)), "{told}");
            assert!(told.contains("must be signed in again"), "{told}");
        }
    }

    #[test]
    fn key_files_of_one_name_are_not_copied_over_one_another() {
        let root = tempfile::tempdir().unwrap();
        let files = ["run", "data"].map(|folder| {
            std::fs::create_dir(root.path().join(folder)).unwrap();
            let file = root.path().join(folder).join("keys.json");
            std::fs::write(&file, folder).unwrap();
            file
        });
        let copies = root.path().join("copies");
        for overwrite in [false, true] {
            let target = root.path().join("copy.db");
            let refused = copy_keys(&files, &copies, &target, overwrite).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.contains("run/keys.json"), "{refused}");
            assert!(refused.contains("data/keys.json"), "{refused}");
            assert!(!copies.join("keys.json").exists());
        }
    }

    #[test]
    fn a_copy_in_a_folder_is_named_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = Timestamp::from_secs(1_800_000_000);
        let name = named(folder.path(), at).unwrap();
        assert_eq!(name, folder.path().join("aip-20270115T080000Z.db"));
        let file = folder.path().join("copy.db");
        assert_eq!(named(&file, at).unwrap(), file);
    }
}
