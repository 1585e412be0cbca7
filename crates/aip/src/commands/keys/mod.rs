//! `aip keys`: the life of the keys that AIP signs with, and of those that protect the database.
//!
//! A signing key is generated (published, so that caches learn of it), activated (the one before
//! stays published, for the sessions that are bound to it), retired, and removed; `aip serve` can do
//! that by itself, in the database ([`DatabaseKeys`](crate::app::DatabaseKeys)). A master key is
//! generated (it opens), activated (it seals), and removed once everything was sealed again.

mod change;
mod import;
mod list;
mod rekey;

use aip_base::{Clock as _, SystemClock, SystemRng, Timestamp};
use aip_config::LoadedConfig;
use aip_jose::Alg;
use aip_keys::{KeySet, Purpose};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::Global;
use crate::data_dir::{DataDir, SIGNING_KEYS};
use crate::environment::load;
use crate::failure::Failure;
use crate::key_files::{self, KeySetLocation};
use crate::output::{self, Format};
use crate::runtime::{self, on_database};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Lists all keys; never their private parts
    List,
    /// Adds a key that is published, or opens, but is not used yet
    Generate(Generate),
    /// Uses a key from now on; the one before stays for what is bound to it
    Activate(Activate),
    /// Takes a signing key out of the public set
    Retire(RetireOrRemove),
    /// Forgets a key that nothing needs any more
    Remove(RetireOrRemove),
    /// Keeps the signing keys in the database from now on, where servers can rotate them
    Import,
    /// Seals everything in the database with the master key in use
    Rekey,
}

#[derive(clap::Args)]
struct Generate {
    /// What the key is for
    #[arg(long)]
    purpose: KeyPurpose,
    /// The algorithm of a signing key
    #[arg(long, default_value = "ES256")]
    alg: KeyAlg,
}

#[derive(clap::Args)]
struct Activate {
    /// The id of the key
    kid: String,
    /// Even if PDSs, apps and other processes may not have learned of the key yet
    #[arg(long)]
    now: bool,
}

#[derive(clap::Args)]
struct RetireOrRemove {
    /// The id of the key
    kid: String,
    /// Even if sessions or sealed values are lost by it: how many are
    #[arg(long, value_name = "NUMBER")]
    force: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyPurpose {
    /// Signs towards PDSs
    Upstream,
    /// Signs towards apps
    Oidc,
    /// Signs as a service: the key of AIP's own DID document
    #[value(name = "service_auth")]
    ServiceAuth,
    /// Protects the database
    Master,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyAlg {
    #[value(name = "ES256")]
    Es256,
    #[value(name = "RS256")]
    Rs256,
    /// For apps alone
    #[value(name = "EdDSA")]
    EdDsa,
}

impl From<KeyAlg> for Alg {
    fn from(alg: KeyAlg) -> Self {
        match alg {
            KeyAlg::Es256 => Self::Es256,
            KeyAlg::Rs256 => Self::Rs256,
            KeyAlg::EdDsa => Self::EdDsa,
        }
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    match args.action {
        Action::Generate(generate) => make(&generate, &loaded, global.output),
        Action::Activate(activate) => change::activate(&activate, &loaded, global.output),
        Action::List => on_database(&loaded, async |it| {
            list::list(it, &loaded, global.output).await
        }),
        Action::Retire(unused) => on_database(&loaded, async |it| {
            change::retire(&unused, it, &loaded, global.output).await
        }),
        Action::Remove(unused) => on_database(&loaded, async |it| {
            change::remove(&unused, it, &loaded, global.output).await
        }),
        Action::Import => on_database(&loaded, async |it| {
            import::import(it, &loaded, global.output).await
        }),
        Action::Rekey => on_database(&loaded, async |it| {
            rekey::rekey(it, &loaded, global.output).await
        }),
    }
}

/// The data folder with its keys, which are made if there are none.
fn data_dir(loaded: &LoadedConfig) -> anyhow::Result<DataDir> {
    let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
    let fresh = !data_dir.path(SIGNING_KEYS).exists() && loaded.config.keys.json_web_keys.is_none();
    runtime::signing_keys(&data_dir, loaded)?;
    runtime::master_keys(&data_dir, loaded)?;
    if fresh {
        let path = std::path::absolute(data_dir.path(SIGNING_KEYS))?;
        output::print_status(&format!(
            "This made a new key set, {}. A server that was started in another folder uses another \
             one: AIP_DATA_DIR names it.",
            path.display()
        ));
    }
    Ok(data_dir)
}

/// Changes the key set where it is kept. One that is given from outside needs no database.
fn change_key_set<T>(
    loaded: &LoadedConfig,
    change: impl FnOnce(&mut KeySet, Timestamp) -> anyhow::Result<T>,
) -> Result<(T, KeySetLocation), Failure> {
    let keys = &loaded.config.keys;
    if keys.json_web_keys.is_none() {
        return on_database(loaded, async |runtime| {
            Ok(key_files::change_key_set(runtime, loaded, change).await?)
        });
    }
    let data_dir = data_dir(loaded)?;
    let (done, path) = data_dir.change_key_set(keys, |set| change(set, SystemClock.now()))?;
    Ok((done, KeySetLocation::File(path)))
}

fn make(generate: &Generate, loaded: &LoadedConfig, format: Format) -> Result<(), Failure> {
    let data_dir = data_dir(loaded)?;
    let alg = generate.alg.into();
    let signing = |purpose| {
        change_key_set(loaded, |set, _| {
            Ok(set.add(purpose, alg, &SystemClock, &SystemRng)?)
        })
    };
    let (kid, place) = match generate.purpose {
        KeyPurpose::Upstream => signing(Purpose::Upstream)?,
        KeyPurpose::Oidc => signing(Purpose::Oidc)?,
        KeyPurpose::ServiceAuth => signing(Purpose::ServiceAuth)?,
        KeyPurpose::Master => {
            let keys = &loaded.config.keys;
            let add = data_dir.change_master_keys(keys, |master| Ok(master.add(&SystemRng)));
            let (kid, path) = add?;
            (kid, KeySetLocation::File(path))
        }
    };
    let next = match generate.purpose {
        KeyPurpose::Master => "Give it to every server and send each SIGHUP, so that it opens",
        KeyPurpose::Upstream | KeyPurpose::Oidc | KeyPurpose::ServiceAuth => {
            place.publication_notice()
        }
    };
    output::print_status(&format!(
        "Added to {place}. {next}; then `aip keys activate {kid}`."
    ));
    match format {
        Format::Json => output::json(&json!({"kid": kid, "file": place.file()}))?,
        Format::Table | Format::Wide => output::text(&kid)?,
    }
    Ok(())
}
