//! What the checks look at: opened once, and only looked at. A database or a key that is not
//! there yet is not made.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Handle;
use aip_base::SystemRng;
use aip_config::LoadedConfig;
use aip_keys::{KeySet, MasterKeys};
use aip_pds::{Freshness, Trace};
use aip_storage::Storage;
use aip_storage::upstream::{SessionFilter, UpstreamSession};
use aip_storage_sql::{Database, SchemaError, Status};

use tokio::sync::OnceCell;

use super::finding::Finding;
use super::network::resolver;
use crate::app::DatabaseKeys;
use crate::data_dir::{DataDir, MASTER_KEYS, SIGNING_KEYS};
use crate::failure::Failure;
use crate::file_modes::{self, database_file};
use crate::runtime::{Network, connect, master_keys, signing_keys};
use crate::settings;

/// How long connecting to the database may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Installation {
    pub(super) loaded: LoadedConfig,
    /// The error of a part is reported by the check of that part.
    pub(super) database: Part<Database>,
    pub(super) schema: Part<Result<Status, SchemaError>>,
    pub(super) storage: Part<Arc<dyn Storage>>,
    pub(super) signing_keys: Part<KeySet>,
    pub(super) master_keys: Part<MasterKeys>,
    pub(super) network: Part<Network>,
    /// How many servers are said to run.
    pub(super) servers: u32,
    /// The handle that is looked up, found once.
    handle: OnceCell<Option<Handle>>,
}

/// A part of an installation.
pub(super) enum Part<T> {
    Present(T),
    /// It is made when the server first starts.
    NotYet,
    Broken(String),
}

impl<T> Part<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        result.map_or_else(
            |error| Self::Broken(Failure::Failed(error).to_string()),
            Self::Present,
        )
    }

    /// The part, or why a check that needs it has nothing to look at.
    pub(super) fn needed(&self, name: &str) -> Result<&T, Finding> {
        match self {
            Self::Present(part) => Ok(part),
            Self::NotYet => Err(Finding::skipped(format!("no {name} yet"))),
            Self::Broken(_) => Err(Finding::skipped(format!("no usable {name}"))),
        }
    }
}

impl Installation {
    /// `handle` is looked up; without one, that of an account which has a session.
    pub(super) async fn new(loaded: LoadedConfig, handle: Option<Handle>, servers: u32) -> Self {
        let database = database(&loaded).await;
        let (schema, storage) = match &database {
            Part::Present(there) => (
                Part::Present(there.status().await),
                Part::from(there.storage().await.map_err(Into::into)),
            ),
            Part::NotYet => (Part::NotYet, Part::NotYet),
            Part::Broken(why) => (Part::Broken(why.clone()), Part::Broken(why.clone())),
        };
        let folder = &loaded.config.server.data_dir;
        let keys = &loaded.config.keys;
        let made = |name: &str| folder.join(name).exists();
        // A configured set may be completed by keys of the folder, which would be made here.
        let complete = made(SIGNING_KEYS) || keys.json_web_keys.is_some();
        let signing_keys = if complete && folder.exists() {
            Part::from(DataDir::open(folder).and_then(|it| signing_keys(&it, &loaded)))
        } else {
            Part::NotYet
        };
        let master_keys = if made(MASTER_KEYS) || keys.master_keys.is_some() && folder.exists() {
            Part::from(DataDir::open(folder).and_then(|it| master_keys(&it, &loaded)))
        } else {
            Part::NotYet
        };
        let stored = stored_keys(&loaded, &storage, &master_keys).await;
        let signing_keys = stored.unwrap_or(signing_keys);
        let network = Part::from(Network::new(&loaded));
        Self {
            loaded,
            database,
            schema,
            storage,
            signing_keys,
            master_keys,
            network,
            servers,
            handle: OnceCell::new_with(handle.map(Some)),
        }
    }

    /// The handle to look up, if there is one.
    pub(super) async fn handle(&self) -> Option<&Handle> {
        let found = self.handle.get_or_init(async || {
            let network = self.network.needed("way out").ok()?;
            let did = self.any_session().await?.did;
            let resolver = resolver(network, self);
            let document = resolver
                .document(&did, Freshness::Uncached, &mut Trace::default())
                .await;
            document.ok()?.handle().cloned()
        });
        found.await.as_ref()
    }

    /// A session at a PDS, if there is one.
    pub(super) async fn any_session(&self) -> Option<UpstreamSession> {
        let storage = self.storage.needed("database").ok()?;
        let filter = SessionFilter::default();
        let found = storage
            .list_upstream_sessions(&filter, None, 1)
            .await
            .ok()?;
        found.into_iter().next()?.ok()
    }

    pub(super) async fn close(self) {
        if let Part::Present(database) = self.database {
            database.close().await;
        }
    }
}

/// The key set in the database, if the installation keeps it there.
async fn stored_keys(
    loaded: &LoadedConfig,
    storage: &Part<Arc<dyn Storage>>,
    master_keys: &Part<MasterKeys>,
) -> Option<Part<KeySet>> {
    let (Part::Present(storage), Part::Present(master)) = (storage, master_keys) else {
        return None;
    };
    let keys = &loaded.config.keys;
    if keys.json_web_keys.is_some() {
        return None;
    }
    let stored = DatabaseKeys {
        storage: Arc::clone(storage),
        sealer: Arc::new(master.sealer()),
        rng: Arc::new(SystemRng),
        active_signing_keys: keys.active_signing_keys.clone(),
    };
    match stored.read().await {
        Ok(None) => None,
        Ok(Some(read)) => Some(Part::Present(read.set)),
        Err(error) => Some(Part::Broken(error.to_string())),
    }
}

async fn database(loaded: &LoadedConfig) -> Part<Database> {
    if database_file(loaded).is_some_and(|path| !path.exists()) {
        return Part::NotYet;
    }
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(loaded)).await {
        Ok(connected) => Part::from(connected),
        Err(_) => Part::Broken(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// That there is a site at all shows that its settings can be used.
pub(super) fn configuration(installation: &Installation) -> Finding {
    let base = &installation.loaded.external_base;
    if installation.loaded.config.upstream.development {
        return Finding::warn(
            format!("valid; external base {base}; the development switch is on"),
            "upstream.development is for a lab: switch it off where others sign in",
        );
    }
    if !base.is_https() {
        return Finding::warn(
            format!("valid; external base {base}, a loopback development client"),
            "set AIP_EXTERNAL_BASE to an https address for others to sign in",
        );
    }
    Finding::ok(format!("valid; external base {base}"))
}

/// Whether callers can be distinguished.
pub(super) fn callers(installation: &Installation) -> Finding {
    let server = &installation.loaded.config.server;
    match settings::untrusted_proxy(&installation.loaded) {
        Some(why) => Finding::warn(
            why,
            "name the network of the proxy in server.trusted_proxies (AIP_TRUSTED_PROXIES), and \
             its header in server.forwarded_header if it is not X-Forwarded-For",
        ),
        None if server.trusted_proxies.is_empty() => {
            Finding::ok("by the address of the connection")
        }
        None => Finding::ok(format!(
            "behind the trusted proxies, by the header {}",
            server.forwarded_header
        )),
    }
}

/// Whether others on this machine may read what holds secrets.
pub(super) fn modes(installation: &Installation) -> Finding {
    let found = file_modes::too_open(&installation.loaded);
    if found.is_empty() {
        return Finding::ok("nobody else may read files with secrets");
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Finding::warn(found.join("\n"), "close them, as is said there")
}

/// Whether something is set that does nothing.
pub(super) fn ignored_settings(installation: &Installation) -> Finding {
    let found = &installation.loaded.warnings;
    if found.is_empty() {
        return Finding::ok("there is none");
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Finding::warn(
        found.join("\n"),
        "remove them, and do not rely on what they say",
    )
}
