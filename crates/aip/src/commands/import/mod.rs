//! `aip import`: takes the place of another server, so that nobody signs in again.
//!
//! v2's database is only read. What is taken is held until `--finish`: before it, nothing of AIP uses
//! or refreshes it, and v2 goes on (`aip_import_v2`).

mod keys;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;

use aip_base::{Clock, SystemClock, SystemRng};
use aip_config::LoadedConfig;
use aip_http::Endpoint;
use aip_import_v2::{Import, Mode, Source};
use aip_keys::Purpose;
use aip_pds::{MemoryNonces, PdsClient, Resolver};
use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use secrecy::SecretString;

use self::keys::V2Keys;
use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::{Progress, Unit};
use crate::runtime::{Network, Runtime, on_database, read_keys};
use crate::settings;

/// How many nonces of PDSs are remembered; a run asks PDSs for public documents alone.
const MAX_NONCES: usize = 1;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    source: ImportSource,
}

#[derive(Subcommand)]
enum ImportSource {
    /// Takes over apps, sessions at PDSs, app passwords and tokens of a server of AIP v2.2.2, which
    /// goes on until `--finish`
    AipV2(AipV2),
}

#[derive(clap::Args)]
struct AipV2 {
    /// v2's database (its `DATABASE_URL`); it is only read
    #[arg(long, value_name = "URL", required_unless_present = "from_file")]
    from: Option<String>,
    /// A file with that URL, so that the password in it is on no command line
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// A file with v2's `ATPROTO_OAUTH_SIGNING_KEYS`, all that it has ever used; without it, the
    /// variable of that name
    #[arg(long, value_name = "FILE")]
    atproto_keys: Option<PathBuf>,
    /// A file with v2's `OAUTH_SIGNING_KEYS`; without it, the variable of that name
    #[arg(long, value_name = "FILE")]
    oauth_keys: Option<PathBuf>,
    /// Only report what would be taken
    #[arg(long, conflicts_with = "finish")]
    dry_run: bool,
    /// Take what has changed since, and use everything from now on; every v2 server has stopped
    #[arg(long)]
    finish: bool,
    /// Even if so many others are connected to v2's database
    #[arg(long, value_name = "NUMBER", requires = "finish", default_value_t = 0)]
    force: u64,
}

impl AipV2 {
    fn mode(&self) -> Mode {
        if self.dry_run {
            Mode::DryRun
        } else if self.finish {
            Mode::Finish {
                other_connections: self.force,
            }
        } else {
            Mode::Hold
        }
    }

    fn url(&self) -> anyhow::Result<SecretString> {
        let url = match (&self.from, &self.from_file) {
            (Some(url), _) => url.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .with_context(|| format!("--from-file: cannot read {}", path.display()))?,
            (None, None) => return Err(anyhow!("--from URL or --from-file FILE is needed")),
        };
        Ok(url.trim().into())
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let ImportSource::AipV2(wanted) = &args.source;
    let loaded = load(global)?;
    let base = &loaded.external_base;
    if !base.is_https() {
        return Err(Failure::Usage(anyhow!(
            "server.external_base is {base}: it must be v2's EXTERNAL_BASE, an https address, for its \
             sessions belong to the client at that address"
        )));
    }
    let url = wanted.url().map_err(Failure::Usage)?;
    let v2_keys = V2Keys::read(wanted.atproto_keys.as_deref(), wanted.oauth_keys.as_deref());
    let v2_keys = v2_keys.map_err(Failure::Usage)?;
    on_database(&loaded, async |runtime| {
        import(wanted, &url, v2_keys, runtime, &loaded, global.output).await
    })
}

async fn import(
    wanted: &AipV2,
    url: &SecretString,
    v2_keys: V2Keys,
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let mode = wanted.mode();
    let keys = read_keys(loaded)?;
    let server = if mode == Mode::DryRun {
        runtime.read_only_server(loaded, &keys).await?
    } else {
        runtime.authorization_server(loaded, &keys).await?
    };
    let now = runtime.storage.database_time(SystemClock.now()).await?;
    // Before keys are published: what is no database of v2 changes nothing.
    let source = Source::open(url, now).await?;
    let run = Import {
        server,
        pds: pds_client(loaded)?,
        sealer: Arc::clone(&keys.sealer),
        rng: Arc::new(SystemRng),
        upstream_client_id: Endpoint::ClientMetadata.url(&loaded.external_base),
        default_scope: settings::app(loaded)?.scopes_supported,
        upstream_keys: v2_keys.kids(Purpose::Upstream),
    };
    let kids = v2_keys.all_kids();
    if mode != Mode::DryRun {
        v2_keys.publish(runtime, loaded).await?;
    }
    let mut progress: Option<Progress> = None;
    let mut tell = |done: u64, total: u64| {
        progress
            .get_or_insert_with(|| Progress::begin("import", Unit::Sessions, total, loaded))
            .update(done);
    };
    let report = run.run(source, mode, &mut tell).await?;
    shown::print(&report, mode, &kids, format)?;
    match report.not_now() {
        0 => Ok(()),
        number => Err(anyhow!(
            "{number} session(s) were left out because servers that must be asked about them do not \
             answer: run this again when they do, within 24 hours after --finish"
        )
        .into()),
    }
}

fn pds_client(loaded: &LoadedConfig) -> anyhow::Result<Arc<PdsClient>> {
    let network = Network::new(loaded)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let resolver = Resolver::new(
        Arc::clone(&network.http) as _,
        network.dns as _,
        Arc::clone(&clock),
        settings::resolver(&loaded.config.upstream),
    );
    Ok(Arc::new(PdsClient::new(
        network.http,
        Arc::clone(&clock),
        Arc::new(SystemRng),
        Arc::new(MemoryNonces::new(MAX_NONCES, clock)),
        Arc::new(resolver),
    )))
}
