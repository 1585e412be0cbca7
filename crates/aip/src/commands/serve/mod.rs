//! `aip serve`: the server, from an empty folder to drained.

mod reload;

use std::sync::Arc;
use std::time::Duration;

use aip_base::supervise;
use aip_config::{LoadedConfig, LogFormat};
use aip_http::internal_router;
use aip_listen::{Drained, Lifecycle, ListenConfig, Server, SignalHooks, Signals, Stage};
use aip_telemetry::Telemetry;
use anyhow::{Context as _, anyhow};
use tokio::sync::Notify;
use tokio::task::JoinError;

use self::reload::Reloader;
use crate::app::pinned_keys;
use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::runtime::Runtime;
use crate::{file_modes, output, settings, telemetry};

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
    let loaded = load(global).map_err(|failure| {
        let json = failure.is_for_json_log();
        without_log(failure, json)
    })?;
    let json = loaded.config.log.format == LogFormat::Json;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let telemetry = telemetry::start(&loaded).map_err(|failure| without_log(failure, json))?;
        let served = serve(args, global, &loaded, &telemetry).await;
        let served = served.map_err(|failure| {
            if json {
                tracing::error!(error = %failure, "server failed");
                Failure::Logged(failure.code())
            } else {
                failure
            }
        });
        telemetry.end().await;
        served
    })
}

/// Where the log is for machines, nothing else is written beside it.
fn without_log(failure: Failure, json: bool) -> Failure {
    if !json {
        return failure;
    }
    output::log_error(&failure);
    Failure::Logged(failure.code())
}

/// What deserves a look.
fn warn(loaded: &LoadedConfig) {
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "setting has no effect");
    }
    if let Some(why) = settings::untrusted_proxy(loaded) {
        tracing::warn!("{why}; name its network in server.trusted_proxies (AIP_TRUSTED_PROXIES)");
    }
    for found in file_modes::too_open(loaded) {
        tracing::warn!(%found, "file with secrets is accessible to other users");
    }
}

async fn serve(
    args: &Args,
    global: &Global,
    loaded: &LoadedConfig,
    telemetry: &Telemetry,
) -> Result<(), Failure> {
    let server = &loaded.config.server;
    let life = Lifecycle::new();
    let data_dir = crate::data_dir::DataDir::open(&server.data_dir)?;
    let _exclusive = data_dir.lock()?;
    warn(loaded);
    // What can be wrong on this machine is found before the database is touched.
    let tls = settings::tls(server)?;
    let mut public = Server::bind(server.listen, settings::listen(server, "public")).await?;
    let internal = ListenConfig {
        drain_timeout: Duration::from_secs(1),
        ..settings::listen(server, "internal")
    };
    let internal = Server::bind(server.internal_listen, internal).await?;
    let (runtime, materials) = Runtime::with_materials(loaded, args.migrate).await?;
    let application = runtime.application(loaded, materials, life.clone()).await?;

    let keys = Arc::clone(&application.server.keys);
    let pinned = pinned_keys(&*runtime.storage).await?;
    if let Err(error) = keys.check(&pinned) {
        tracing::error!(%error, "session refresh unavailable");
    }
    if let Some(tls) = &tls {
        public = public.with_tls(Arc::clone(tls));
        let followed = Arc::clone(tls);
        tokio::spawn(async move {
            let follow = || followed.follow_files(TLS_INTERVAL);
            supervise("certificate files", follow).await;
        });
    }
    public = public.with_handlers(application.handlers.clone());
    let public_at = public.local_addr();
    let internal_at = internal.local_addr();
    let mut rounds = application.start_background_tasks();

    // Before anybody is answered: who sees the server may end it, and that must drain.
    let signals = Signals::install().context("signals cannot be watched")?;
    let metrics = telemetry.metrics().clone();
    let probes = internal_router(Arc::clone(&application.health), move || metrics.render());
    // Probes answer until the very end of the drain.
    let (probes_end, probes_ended) = tokio::sync::oneshot::channel::<()>();
    let mut internal = tokio::spawn(internal.run(probes, async move { drop(probes_ended.await) }));
    let draining = life.clone();
    let public = tokio::spawn(public.run(application.public.clone(), async move {
        draining.reached(Stage::Draining).await;
    }));
    life.advance(Stage::Ready);
    let base = &loaded.external_base;
    let engine = runtime.database.engine();
    tracing::info!(external_base = %base, %public_at, %internal_at, engine, "serving");
    if loaded.config.log.format == LogFormat::Pretty {
        output::print_status(&format!(
            "AIP serves {base} (probes and metrics at http://{internal_at})"
        ));
    }

    let asked = Arc::new(Notify::new());
    let ask = Arc::clone(&asked);
    let hooks = SignalHooks {
        leave: server.shutdown_delay,
        reload: Box::new(move || ask.notify_one()),
    };
    let reloading = Reloader {
        global,
        data_dir: &runtime.data_dir,
        storage: &*runtime.storage,
        tls,
        keys,
        key_rotation: application.key_rotation.clone(),
        sealer: Arc::clone(&application.sealer),
        keys_from_outside: loaded.config.keys.json_web_keys.is_some(),
        log: telemetry.log().clone(),
    };
    let failed = tokio::select! {
        // Returns when told twice: then nothing is waited for.
        signal = signals.watch(&life, &hooks) => return Err(Failure::Signalled(signal)),
        drained = public => {
            let drained = drained.context("the public listener failed")?;
            let Drained { cut, unfinished_handlers } = drained;
            tracing::info!(cut, unfinished_handlers, "public listener drained");
            None
        }
        () = reloading.reload_when_notified(&asked) => None,
        // Neither ends by itself. A process without one of them looks alive and is not: whoever started it is
        // to start it again.
        ended = &mut internal => Some(why_ended("the internal listener", ended)),
        ended = &mut rounds => Some(why_ended("the background tasks", ended)),
    };
    rounds.abort();
    // Also after a failure: a refresh that was cut off would have spent its token.
    let unfinished = application.keeper.drain(KEEPER_DRAIN).await;
    if unfinished > 0 {
        tracing::error!(unfinished, "shutdown timed out with refreshes in progress");
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    drop(probes_end);
    internal.await.context("the internal listener failed")?;
    runtime.database.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn why_ended<T>(what: &str, ended: Result<T, JoinError>) -> anyhow::Error {
    match ended {
        Ok(_) => anyhow!("{what} ended"),
        Err(error) => anyhow::Error::new(error).context(format!("{what} failed")),
    }
}
