//! What SIGHUP does: certificates, keys and the filter of the log are read again. What is bad is
//! logged, and what was read before stays in use. Keys that are given from outside are read again
//! without a signal, too, as secret stores put new files in place whenever they like.

use std::sync::Arc;
use std::time::Duration;

use aip_config::LoadedConfig;
use aip_keys::{KeyRing, KeySet, KeySetError, MasterKeys, ReplaceError, Sealer};
use aip_listen::Tls;
use aip_storage::Storage;
use aip_telemetry::LogHandle;
use anyhow::bail;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{KeyRotation, pinned_keys};
use crate::cli::Global;
use crate::data_dir::DataDir;
use crate::environment::load;
use crate::failure::Failure;
use crate::rekeying::{sealed_with, try_keys};
use crate::runtime::{master_keys, signing_keys};

/// How often keys that are given from outside are looked at.
const OUTSIDE_KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// What is read again.
pub(super) struct Reloader<'a> {
    pub(super) global: &'a Global,
    pub(super) data_dir: &'a DataDir,
    pub(super) storage: &'a dyn Storage,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) keys: Arc<KeyRing>,
    /// Follows the key set, if it is in the database.
    pub(super) key_rotation: Option<Arc<KeyRotation>>,
    pub(super) sealer: Arc<Sealer>,
    /// Whether the key set is given from outside.
    pub(super) keys_from_outside: bool,
    pub(super) log: LogHandle,
}

impl Reloader<'_> {
    /// Reads everything again whenever it is asked for; never returns.
    pub(super) async fn reload_when_notified(&self, asked: &Notify) {
        let mut ticks = interval(OUTSIDE_KEYS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_logged = None;
        loop {
            tokio::select! {
                () = asked.notified() => self.reload().await,
                _ = ticks.tick(), if self.polls_outside_keys() => self.poll_outside_keys(&mut last_logged).await,
            }
        }
    }

    /// The key set in the database has its own task.
    fn polls_outside_keys(&self) -> bool {
        let lacks_a_key = self.keys.problem().is_some();
        self.key_rotation.is_none() && (self.keys_from_outside || lacks_a_key)
    }

    async fn reload(&self) {
        self.certificate();
        match load(self.global) {
            Ok(loaded) => {
                self.log_filter(&loaded);
                self.master_keys(&loaded).await;
                self.key_set(&loaded).await;
            }
            Err(failure) => {
                tracing::error!(error = %failure, "configuration reload failed, keeping the current configuration");
            }
        }
    }

    fn certificate(&self) {
        match self.tls.as_deref().map(Tls::reload) {
            None => {}
            Some(Ok(())) => tracing::info!("TLS certificate reloaded"),
            Some(Err(error)) => {
                tracing::error!(%error, "TLS certificate reload failed, keeping the current one");
            }
        }
    }

    fn log_filter(&self, loaded: &LoadedConfig) {
        let filter = loaded.config.log.filter.as_str();
        match self.log.set_filter(filter) {
            Ok(()) => tracing::info!(filter, "log filter reloaded"),
            Err(error) => {
                tracing::error!(%error, "log filter reload failed, keeping the current filter");
            }
        }
    }

    async fn master_keys(&self, loaded: &LoadedConfig) {
        match self.replace_master_keys(loaded).await {
            Ok(master) => {
                tracing::info!(
                    primary = master.primary(),
                    keys = master.kids().count(),
                    "master keys reloaded"
                );
            }
            Err(error) => {
                let error = Failure::Failed(error);
                tracing::error!(%error, "master keys reload failed, keeping the current master keys");
            }
        }
    }

    /// Master keys that do not open the database, have another pepper, or lack one that something is
    /// sealed with are refused.
    async fn replace_master_keys(&self, loaded: &LoadedConfig) -> anyhow::Result<MasterKeys> {
        let master = master_keys(self.data_dir, loaded)?;
        try_keys(self.storage, &master).await?;
        let dropped = self.sealer.kids();
        for kid in dropped
            .iter()
            .filter(|kid| !master.kids().any(|it| it == *kid))
        {
            let values = sealed_with(self.storage, kid).await?;
            if values > 0 {
                bail!(
                    "the master key `{kid}` is missing, which {values} value(s) in the database are \
                     sealed with: put it back, or run `aip keys rekey` first"
                );
            }
            if self.data_dir.has_spilled()? {
                bail!(
                    "the master key `{kid}` is missing, and tokens that could not be stored yet wait in \
                     the folder `spill`, perhaps sealed with it: put it back until they are stored"
                );
            }
        }
        self.sealer.replace(&master);
        Ok(master)
    }

    async fn key_set(&self, loaded: &LoadedConfig) {
        match self.reload_key_set(loaded).await {
            Ok(keys) => tracing::info!(keys, "key set reloaded"),
            Err(error) => {
                let failure = Failure::Failed(error);
                self.note_vanished_key(&failure);
                log_refused_key_set(&failure.to_string());
            }
        }
    }

    /// A server whose key has vanished where keys are given from outside should get no requests: others may be
    /// without it already, and it will be at its next start. A file that cannot be read says nothing of that.
    fn note_vanished_key(&self, failure: &Failure) {
        if self.keys_from_outside && has_vanished(failure) {
            self.keys.set_problem(Some(failure.to_string()));
        }
    }

    /// The number of keys that there are now.
    async fn reload_key_set(&self, loaded: &LoadedConfig) -> anyhow::Result<usize> {
        match &self.key_rotation {
            Some(rotation) => {
                rotation.follow().await?;
                Ok(self.keys.current().list().count())
            }
            None => {
                self.replace_keys(signing_keys(self.data_dir, loaded)?)
                    .await
            }
        }
    }

    async fn replace_keys(&self, set: KeySet) -> anyhow::Result<usize> {
        let pinned = pinned_keys(self.storage).await?;
        let keys = set.list().count();
        self.keys.replace(set, &pinned)?;
        Ok(keys)
    }

    /// Takes keys over that have changed outside, and looks again at those that were refused because
    /// sessions are bound to one that is missing. `last_logged` is the refusal that was logged last.
    async fn poll_outside_keys(&self, last_logged: &mut Option<String>) {
        let read = load(self.global).and_then(|loaded| Ok(signing_keys(self.data_dir, &loaded)?));
        let done = match read {
            Ok(set) if self.keys.problem().is_none() && self.keys.current().is_same(&set) => {
                *last_logged = None;
                return;
            }
            Ok(set) => self.replace_keys(set).await.map_err(Failure::Failed),
            Err(failure) => Err(failure),
        };
        match done {
            Ok(keys) => {
                *last_logged = None;
                tracing::info!(keys, "key set reloaded");
            }
            Err(failure) => {
                self.note_vanished_key(&failure);
                let refused = failure.to_string();
                if last_logged.as_ref() != Some(&refused) {
                    log_refused_key_set(&refused);
                    *last_logged = Some(refused);
                }
            }
        }
    }
}

/// Whether a key set lacks the key that signs.
fn has_vanished(failure: &Failure) -> bool {
    let Failure::Failed(error) = failure else {
        return false;
    };
    error.chain().any(|cause| {
        let of_set = cause.downcast_ref::<KeySetError>();
        let named = matches!(
            of_set,
            Some(KeySetError::NotUpstream { .. } | KeySetError::NoUpstream)
        );
        named || cause.is::<ReplaceError>()
    })
}

fn log_refused_key_set(error: &str) {
    tracing::error!(error, "key set reload failed, keeping the current key set");
}
