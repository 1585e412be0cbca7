//! `aip serve`: the server, from an empty folder to drained.

use std::sync::Arc;
use std::time::Duration;

use aip_config::Loaded;
use aip_http::internal_router;
use aip_listen::{Lifecycle, ListenConfig, Server, SignalHooks, Stage, Tls, watch_signals};
use aip_telemetry::{Metrics, init_logs};
use anyhow::Context as _;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::opened::Opened;
use crate::output;
use crate::settings;

/// How often certificate files are looked at.
const TLS_INTERVAL: Duration = Duration::from_secs(30);
/// How long the keeper's refreshes may go on after the listeners are drained. Together with the
/// other times of a shut-down this stays below a minute.
const KEEPER_DRAIN: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Bring the database up to this program first
    #[arg(long)]
    migrate: bool,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    init_logs(&settings::log(&loaded.config.log)).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve(args, &loaded))?)
}

async fn serve(args: &Args, loaded: &Loaded) -> anyhow::Result<()> {
    let server = &loaded.config.server;
    let life = Lifecycle::new();
    let metrics = Metrics::install()?;
    let data_dir = crate::data_dir::DataDir::open(&server.data_dir)?;
    let _exclusive = data_dir.lock()?;
    let opened = Opened::new(loaded, args.migrate).await?;
    let application = opened.application(loaded, life.clone())?;

    let tls = settings::tls(server)?;
    let mut public = Server::bind(server.listen, settings::listen(server, "public")).await?;
    let internal = ListenConfig {
        drain_timeout: Duration::from_secs(1),
        ..settings::listen(server, "internal")
    };
    let internal = Server::bind(server.internal_listen, internal).await?;
    if let Some(tls) = &tls {
        public = public.with_tls(Arc::clone(tls));
        let followed = Arc::clone(tls);
        tokio::spawn(async move { followed.follow_files(TLS_INTERVAL).await });
    }
    let public_at = public.local_addr();
    let internal_at = internal.local_addr();
    let upkeep = metrics.clone();
    tokio::spawn(async move { upkeep.upkeep().await });
    let rounds = application.start_rounds();

    let render = metrics.clone();
    let probes = internal_router(Arc::clone(&application.health), move || render.render());
    // Probes answer until the very end of the drain.
    let (probes_end, probes_ended) = tokio::sync::oneshot::channel::<()>();
    let internal = tokio::spawn(internal.run(probes, async move { drop(probes_ended.await) }));
    let draining = life.clone();
    let public = tokio::spawn(public.run(application.public.clone(), async move {
        draining.reached(Stage::Draining).await;
    }));
    life.advance(Stage::Ready);
    tracing::info!(%public_at, %internal_at, engine = opened.database.engine(), "serving");
    output::say(&format!(
        "AIP serves {} (probes and metrics at http://{internal_at})",
        loaded.external_base
    ));

    let hooks = SignalHooks {
        leave: server.shutdown_delay,
        reload: Box::new(move || reload(tls.as_deref())),
    };
    tokio::select! {
        // Returns when told twice: then nothing is waited for.
        ended = watch_signals(&life, &hooks) => return ended.context("signals cannot be watched"),
        drained = public => {
            let drained = drained.context("the public listener failed")?;
            tracing::info!(cut = drained.cut, "the public listener is drained");
        }
    }
    rounds.abort();
    let unfinished = application.keeper.drain(KEEPER_DRAIN).await;
    if unfinished > 0 {
        tracing::error!(
            unfinished,
            "refreshes were still under way; their sessions are tried again later"
        );
    }
    drop(probes_end);
    internal.await.context("the internal listener failed")?;
    opened.database.close().await;
    tracing::info!("ended");
    Ok(())
}

fn reload(tls: Option<&Tls>) {
    if let Some(Err(error)) = tls.map(Tls::reload) {
        tracing::error!(%error, "the certificate stays the old one");
    }
}
