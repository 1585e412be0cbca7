//! What SIGHUP does: certificates, keys and the filter of the log are read again. What is bad is
//! logged, and what was read before stays in use.

use std::sync::Arc;

use aip_config::LoadedConfig;
use aip_keys::KeyRing;
use aip_listen::Tls;
use aip_storage::Storage;
use aip_telemetry::LogHandle;
use tokio::sync::Notify;

use crate::cli::Global;
use crate::data_dir::DataDir;
use crate::environment::load;
use crate::failure::Failure;
use crate::runtime::{pinned_keys, signing_keys};

/// What is read again.
pub(super) struct Reloading<'a> {
    pub(super) global: &'a Global,
    pub(super) data_dir: &'a DataDir,
    pub(super) storage: &'a dyn Storage,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) keys: Arc<KeyRing>,
    pub(super) log: LogHandle,
}

impl Reloading<'_> {
    /// Reads everything again whenever it is asked for; never returns.
    pub(super) async fn whenever(&self, asked: &Notify) {
        loop {
            asked.notified().await;
            self.reload().await;
        }
    }

    async fn reload(&self) {
        self.certificate();
        match load(self.global) {
            Ok(loaded) => {
                self.log_filter(&loaded);
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

    async fn key_set(&self, loaded: &LoadedConfig) {
        match self.replace_keys(loaded).await {
            Ok(keys) => tracing::info!(keys, "key set reloaded"),
            Err(error) => {
                let error = Failure::Failed(error);
                tracing::error!(%error, "key set reload failed, keeping the current key set");
            }
        }
    }

    /// The number of keys that there are now.
    async fn replace_keys(&self, loaded: &LoadedConfig) -> anyhow::Result<usize> {
        let set = signing_keys(self.data_dir, loaded)?;
        let pinned = pinned_keys(self.storage).await?;
        let keys = set.list().count();
        self.keys.replace(set, &pinned)?;
        Ok(keys)
    }
}
