//! What SIGHUP does: certificates, keys and the filter of the log are read again. What is bad is
//! logged, and what was read before stays in use.

use std::sync::Arc;

use aip_config::Loaded;
use aip_keys::KeyRing;
use aip_listen::Tls;
use aip_storage::Storage;
use aip_telemetry::LogHandle;
use tokio::sync::Notify;

use crate::cli::Global;
use crate::data_dir::DataDir;
use crate::environment::load;
use crate::failure::Failure;
use crate::opened::{pinned_keys, signing_keys};

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
                tracing::error!(error = %failure, "the configuration is not read again");
            }
        }
    }

    fn certificate(&self) {
        match self.tls.as_deref().map(Tls::reload) {
            None => {}
            Some(Ok(())) => tracing::info!("the certificate is read again"),
            Some(Err(error)) => tracing::error!(%error, "the certificate stays the old one"),
        }
    }

    fn log_filter(&self, loaded: &Loaded) {
        let filter = loaded.config.log.filter.as_str();
        match self.log.set_filter(filter) {
            Ok(()) => tracing::info!(filter, "the filter of the log is read again"),
            Err(error) => tracing::error!(%error, "the filter of the log stays the old one"),
        }
    }

    async fn key_set(&self, loaded: &Loaded) {
        match self.replace_keys(loaded).await {
            Ok(keys) => tracing::info!(keys, "the key set is read again"),
            Err(error) => {
                let error = Failure::Failed(error);
                tracing::error!(%error, "the key set stays the old one");
            }
        }
    }

    /// The number of keys that there are now.
    async fn replace_keys(&self, loaded: &Loaded) -> anyhow::Result<usize> {
        let set = signing_keys(self.data_dir, loaded)?;
        let pinned = pinned_keys(self.storage).await?;
        let keys = set.list().count();
        self.keys.replace(set, &pinned)?;
        Ok(keys)
    }
}
