//! From the configuration to what commands work with: keys, database, network, application.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aip_base::{Clock, Rng, SystemClock, SystemRng, without_credentials};
use aip_config::LoadedConfig;
use aip_keys::{KeySet, MasterKeys};
use aip_listen::Lifecycle;
use aip_outbound::{Dns, Outbound};
use aip_shared_state::SharedState;
use aip_shared_state::valkey::{Valkey, ValkeyConfig};
use aip_storage::{Storage, StorageError};
use aip_storage_sql::{Database, PgOptions};
use anyhow::Context as _;

use crate::app::{Application, ClientDocument, Setup};
use crate::data_dir::DataDir;
use crate::file_modes::database_file;
use crate::rekeying::check_keys;
use crate::{output, settings};

/// The scopes that are AIP's own to give; everything else is the PDS's.
const OPENID_SCOPES: &str = "openid profile email offline_access";

/// What the configuration leads to.
pub(crate) struct Runtime {
    pub(crate) data_dir: DataDir,
    pub(crate) database: Database,
    pub(crate) storage: Arc<dyn Storage>,
}

/// What an application needs besides the database. All of it is read before the database is opened,
/// so that a mistake in it is told before anything is changed there.
pub(crate) struct Materials {
    signing_keys: KeySet,
    master_keys: MasterKeys,
    network: Network,
    valkey: Option<ValkeyConfig>,
}

/// The way out.
pub(crate) struct Network {
    pub(crate) http: Arc<Outbound>,
    pub(crate) dns: Arc<Dns>,
}

impl Materials {
    /// Reads keys, certificates and URLs; keys that are not there yet are made.
    pub(crate) fn read(loaded: &LoadedConfig) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
        Ok(Self {
            network: Network::new(loaded)?,
            valkey: settings::valkey(&loaded.config.redis)?,
            signing_keys: signing_keys(&data_dir, loaded)?,
            master_keys: master_keys(&data_dir, loaded)?,
        })
    }
}

impl Runtime {
    /// As [`Runtime::new`], for a command beside the server: it tells when it has made a database,
    /// for then it is most likely not the one of the server.
    pub(crate) async fn beside(loaded: &LoadedConfig) -> anyhow::Result<Self> {
        let missing = database_file(loaded).filter(|path| !path.exists());
        let runtime = Self::new(loaded, false).await?;
        if let Some(path) = missing {
            output::say(&format!(
                "This made a new database, {}. A server that was started in another folder uses \
                 another one: AIP_DATA_DIR or AIP_DATABASE_URL names it.",
                absolute(&path).display()
            ));
        }
        Ok(runtime)
    }

    /// Opens data folder and database. A SQLite database is brought up to this program at once,
    /// for nobody else uses it; a PostgreSQL database only when `migrate` says so.
    pub(crate) async fn new(loaded: &LoadedConfig, migrate: bool) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
        let database = connect(loaded).await?;
        if migrate || matches!(database, Database::Sqlite(_)) {
            database.migrate().await?;
        }
        let storage = database.storage().await?;
        Ok(Self {
            data_dir,
            database,
            storage,
        })
    }

    /// The application on it, if these are the keys of the database. It shares state with other
    /// replicas.
    pub(crate) async fn application(
        &self,
        loaded: &LoadedConfig,
        mut materials: Materials,
        life: Lifecycle,
    ) -> anyhow::Result<Application> {
        let valkey = materials.valkey.take();
        let shared = shared_state(valkey, &self.database, Arc::new(SystemRng));
        self.application_with(shared, loaded, materials, life).await
    }

    /// The application for a command that only reads and changes the database: it opens no
    /// connection to Valkey, nor one that listens for notices.
    pub(crate) async fn database_application(
        &self,
        loaded: &LoadedConfig,
        materials: Materials,
    ) -> anyhow::Result<Application> {
        let shared = SharedState::local();
        self.application_with(shared, loaded, materials, Lifecycle::new())
            .await
    }

    async fn application_with(
        &self,
        shared: SharedState,
        loaded: &LoadedConfig,
        materials: Materials,
        life: Lifecycle,
    ) -> anyhow::Result<Application> {
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
        let config = &loaded.config;
        let Materials {
            signing_keys,
            master_keys,
            network,
            ..
        } = materials;
        check_keys(&*self.storage, &master_keys, &*rng).await?;
        let scope = &config.client_document.scope;
        Ok(Application::new(Setup {
            external_base: loaded.external_base.clone(),
            worker_id: config.server.worker_id.clone().unwrap_or_else(worker_id),
            brand: config.brand.name.clone(),
            scopes_supported: format!("{OPENID_SCOPES} {scope}")
                .parse()
                .context("client_document.scope")?,
            email_verifiers: config.upstream.email_verifiers.clone(),
            client_document: ClientDocument {
                name: Some(config.client_document.name.clone()),
                logo_uri: config.client_document.logo.clone(),
                tos_uri: config.client_document.tos.clone(),
                policy_uri: config.client_document.policy.clone(),
                scope: scope.parse().context("client_document.scope")?,
            },
            resolver: settings::resolver(&config.upstream),
            storage: Arc::clone(&self.storage),
            shared,
            rate_limits: config.server.rate_limits,
            call_limits: settings::call_limits(&config.server),
            trusted_proxies: config.server.trusted_proxies.clone(),
            forwarded_header: config.server.forwarded_header.clone(),
            spill: self.data_dir.spill()?,
            keys: signing_keys,
            master_keys,
            http: network.http,
            dns: network.dns,
            clock: clock as Arc<dyn Clock>,
            rng: rng as Arc<dyn Rng>,
            life,
        }))
    }
}

/// What replicas share: in Valkey if there is one, otherwise in the database; what one process
/// keeps for itself stays in its memory.
fn shared_state(
    valkey: Option<ValkeyConfig>,
    database: &Database,
    rng: Arc<dyn Rng>,
) -> SharedState {
    let shared = match database.notices(Arc::clone(&rng)) {
        None => SharedState::local(),
        Some(notices) => SharedState {
            nonces: Some(database.shared_nonces()),
            rates: database.rate_limits(),
            notices,
        },
    };
    match valkey {
        Some(valkey) => shared.behind(&Arc::new(Valkey::start(valkey, rng))),
        None => shared,
    }
}

/// The keys that AIP signs with.
pub(crate) fn signing_keys(data_dir: &DataDir, loaded: &LoadedConfig) -> anyhow::Result<KeySet> {
    let keys = &loaded.config.keys;
    let (configured, active) = (keys.json_web_keys.as_ref(), &keys.active_signing_keys);
    data_dir.signing_keys(configured, active, &SystemClock, &SystemRng)
}

/// The keys that protect the database.
pub(crate) fn master_keys(data_dir: &DataDir, loaded: &LoadedConfig) -> anyhow::Result<MasterKeys> {
    data_dir.master_keys(loaded.config.keys.master_keys.as_ref(), &SystemRng)
}

/// The upstream keys that sessions are bound to, with the number of sessions.
pub(crate) async fn pinned_keys(storage: &dyn Storage) -> Result<Vec<(String, u64)>, StorageError> {
    let uses = storage.client_key_uses().await?.into_iter();
    Ok(uses.map(|it| (it.kid, it.sessions)).collect())
}

/// Where the database is, for people: the file, or the URL without its password.
pub(crate) fn whereabouts(loaded: &LoadedConfig) -> String {
    database_file(loaded).map_or_else(
        || without_credentials(loaded.database_url().expose()).into_owned(),
        |path| absolute(&path).display().to_string(),
    )
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Opens or connects to the database.
pub(crate) async fn connect(loaded: &LoadedConfig) -> anyhow::Result<Database> {
    Ok(Database::connect(loaded.database_url().expose(), PgOptions::default()).await?)
}

impl Network {
    /// The guarded client and the resolver behind it.
    pub(crate) fn new(loaded: &LoadedConfig) -> anyhow::Result<Self> {
        let config = settings::outbound(loaded)?;
        let dns = Arc::new(Dns::new(&config.nameservers)?);
        let resolver: Arc<Dns> = Arc::clone(&dns);
        Ok(Self {
            http: Arc::new(Outbound::new(config, resolver)?),
            dns,
        })
    }
}

/// The host's name and the process id: two processes of one host must not share a name.
pub(crate) fn worker_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
