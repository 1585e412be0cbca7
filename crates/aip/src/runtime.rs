//! From the configuration to what commands work with: keys, database, network, application.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Body, Clock as _, DatabaseUrl, Http, HttpError, SystemClock, SystemRng};
use aip_config::LoadedConfig;
use aip_events::Following;
use aip_keys::{KeySet, MasterKeys, Sealer};
use aip_listen::Lifecycle;
use aip_oauth::AuthorizationServer;
use aip_oauth::claims::{ClaimedEmail, Emails};
use aip_outbound::{Dns, Outbound};
use aip_sessions::Keeper;
use aip_shared_state::SharedState;
use aip_shared_state::valkey::{Valkey, ValkeyConfig};
use aip_storage::grant::Grant;
use aip_storage::{Storage, StorageError};
use aip_storage_sql::{Database, PgOptions};
use anyhow::Context as _;
use async_trait::async_trait;
use http::{Request, Response};

use crate::app::{
    self, Application, DatabaseKeys, KeyRotation, Keys, Platform, ReadKeySet, Stores, pinned_keys,
};
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::file_modes::database_file;
use crate::rekeying::{check_keys, try_keys};
use crate::{output, settings};

/// What the configuration leads to.
pub(crate) struct Runtime {
    pub(crate) data_dir: DataDir,
    pub(crate) database: Database,
    pub(crate) storage: Arc<dyn Storage>,
}

/// What talking to PDSs needs besides the database. All of it is read before the database is
/// opened, so that a mistake in it is reported before anything is changed there.
pub(crate) struct UpstreamMaterials {
    keys: Keys,
    network: Network,
    valkey: Option<ValkeyConfig>,
    following: Option<Following>,
}

/// The way out.
pub(crate) struct Network {
    pub(crate) http: Arc<Outbound>,
    pub(crate) dns: Arc<Dns>,
}

impl UpstreamMaterials {
    /// Reads keys, certificates and URLs; keys that are not there yet are made.
    pub(crate) fn read(loaded: &LoadedConfig) -> anyhow::Result<Self> {
        Ok(Self {
            network: Network::new(loaded)?,
            valkey: settings::valkey(&loaded.config.redis)?,
            following: settings::following(loaded)?,
            keys: read_keys(loaded)?,
        })
    }

    fn platform(&self) -> Platform {
        Platform {
            http: Arc::clone(&self.network.http) as _,
            dns: Arc::clone(&self.network.dns) as _,
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
        }
    }
}

/// Nobody's: what only administers clients makes no tokens that would name one.
struct NoEmails;

#[async_trait]
impl Emails for NoEmails {
    async fn email(&self, _grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        Ok(None)
    }
}

/// What only administers clients authenticates none, and so reads no keys of theirs.
struct NoNetwork;

#[async_trait]
impl Http for NoNetwork {
    async fn send(
        &self,
        _request: Request<Body>,
        _deadline: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let why = "this command uses nothing but the database".to_owned();
        Err(HttpError::Connect(why))
    }
}

impl Runtime {
    /// As [`Runtime::new`], for a command beside the server: it tells when it has made a database,
    /// for then it is most likely not the one of the server.
    async fn for_command(loaded: &LoadedConfig) -> anyhow::Result<Self> {
        let missing = database_file(loaded).filter(|path| !path.exists());
        let runtime = Self::new(loaded, false).await?;
        if let Some(path) = missing {
            output::print_status(&format!(
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
        Self::on(connect(loaded).await?, data_dir, migrate).await
    }

    /// As [`Runtime::new`], and the materials beside it. PostgreSQL is connected to while they are read: each
    /// takes some milliseconds. Nothing is changed in the database, and no file of SQLite is made, before
    /// all of them are read.
    pub(crate) async fn with_materials(
        loaded: &LoadedConfig,
        migrate: bool,
    ) -> anyhow::Result<(Self, UpstreamMaterials)> {
        let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
        let connecting = match loaded.database_url() {
            DatabaseUrl::Postgres(_) => Some(tokio::spawn(connect(loaded))),
            DatabaseUrl::Sqlite(_) => None,
        };
        let materials = UpstreamMaterials::read(loaded)?;
        let database = match connecting {
            Some(connecting) => connecting
                .await
                .context("connecting to the database was interrupted")??,
            None => connect(loaded).await?,
        };
        Ok((Self::on(database, data_dir, migrate).await?, materials))
    }

    async fn on(database: Database, data_dir: DataDir, migrate: bool) -> anyhow::Result<Self> {
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

    /// The application on it, if these are the keys of the database.
    pub(crate) async fn application(
        &self,
        loaded: &LoadedConfig,
        materials: UpstreamMaterials,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Application> {
        let config = settings::app(loaded)?;
        let platform = materials.platform();
        let stores = self.stores(&materials.keys, materials.valkey).await?;
        let keys = &materials.keys;
        let key_rotation = self.key_rotation(loaded, keys).await?;
        let mut application = Application::new(config, stores, keys, platform, lifecycle);
        application.key_rotation = key_rotation.map(Arc::new);
        application.events = materials.following.map(Arc::new);
        Ok(application)
    }

    /// The key set in the database, where the keys of this installation are kept there: from the first
    /// time that a server was to rotate them. It takes the place of the set in `keys`.
    async fn key_rotation(
        &self,
        loaded: &LoadedConfig,
        keys: &Keys,
    ) -> anyhow::Result<Option<KeyRotation>> {
        let stored = self.database_keys(loaded, Arc::clone(&keys.sealer));
        if loaded.config.keys.json_web_keys.is_some() {
            if self.storage.signing_key_set().await?.is_some() {
                tracing::warn!(
                    "keys.json_web_keys is set: the key set in the database is not used"
                );
            }
            return Ok(None);
        }
        let policy = settings::key_rotation(&loaded.config);
        if policy.rotates() {
            let pinned = pinned_keys(&*self.storage).await?;
            let now = self.storage.database_time(SystemClock.now()).await?;
            let first = stored.begin(&keys.signing.current(), &pinned, now).await?;
            if first {
                tracing::info!("the signing keys are kept in the database from now on");
            }
        }
        let rotation = KeyRotation::new(stored, Arc::clone(&keys.signing), policy);
        Ok(rotation.follow().await?.then_some(rotation))
    }

    /// Reads and changes the key set in the database.
    pub(crate) fn database_keys(&self, loaded: &LoadedConfig, sealer: Arc<Sealer>) -> DatabaseKeys {
        DatabaseKeys {
            storage: Arc::clone(&self.storage),
            sealer,
            rng: Arc::new(SystemRng),
            active_signing_keys: loaded.config.keys.active_signing_keys.clone(),
        }
    }

    /// The keys that AIP signs with: those given from outside, those in the database, or those in the
    /// data folder.
    pub(crate) async fn signing_keys(&self, loaded: &LoadedConfig) -> anyhow::Result<KeySet> {
        Ok(match self.stored_keys(loaded).await? {
            Some((_, read)) => read.set,
            None => signing_keys(&self.data_dir, loaded)?,
        })
    }

    /// The key set in the database, if it is the one that counts.
    pub(crate) async fn stored_keys(
        &self,
        loaded: &LoadedConfig,
    ) -> anyhow::Result<Option<(DatabaseKeys, ReadKeySet)>> {
        if loaded.config.keys.json_web_keys.is_some() {
            return Ok(None);
        }
        if self.storage.signing_key_set().await?.is_none() {
            return Ok(None);
        }
        let sealer = Arc::new(master_keys(&self.data_dir, loaded)?.sealer());
        let stored = self.database_keys(loaded, sealer);
        Ok(stored.read().await?.map(|read| (stored, read)))
    }

    /// The keeper alone, for a command that does something with a session at its PDS.
    pub(crate) async fn keeper(
        &self,
        loaded: &LoadedConfig,
        materials: UpstreamMaterials,
    ) -> anyhow::Result<Arc<Keeper>> {
        let config = settings::app(loaded)?;
        let platform = materials.platform();
        let stores = self.stores(&materials.keys, materials.valkey).await?;
        self.key_rotation(loaded, &materials.keys).await?;
        Ok(app::keeper(&config, stores, &materials.keys, platform))
    }

    /// The authorization server alone, for a command that administers clients. It uses nothing but
    /// the database.
    pub(crate) async fn authorization_server(
        &self,
        loaded: &LoadedConfig,
        keys: &Keys,
    ) -> anyhow::Result<AuthorizationServer> {
        check_keys(&*self.storage, &keys.master, &SystemRng).await?;
        Ok(self.server(loaded, keys))
    }

    /// The same for a command that changes nothing: a database without a check of the keys gets none.
    pub(crate) async fn read_only_server(
        &self,
        loaded: &LoadedConfig,
        keys: &Keys,
    ) -> anyhow::Result<AuthorizationServer> {
        try_keys(&*self.storage, &keys.master).await?;
        Ok(self.server(loaded, keys))
    }

    fn server(&self, loaded: &LoadedConfig, keys: &Keys) -> AuthorizationServer {
        app::authorization_server(
            &loaded.external_base,
            Arc::clone(&self.storage),
            keys,
            Arc::new(NoEmails),
            Arc::new(NoNetwork),
            Arc::new(SystemClock),
            Arc::new(SystemRng),
        )
    }

    async fn stores(&self, keys: &Keys, valkey: Option<ValkeyConfig>) -> anyhow::Result<Stores> {
        check_keys(&*self.storage, &keys.master, &SystemRng).await?;
        Ok(Stores {
            storage: Arc::clone(&self.storage),
            spill: self.data_dir.spill()?,
            shared: shared_state(valkey, &self.database),
        })
    }
}

/// Runs a command beside the server that needs the database.
pub(crate) fn on_database<T>(
    loaded: &LoadedConfig,
    action: impl AsyncFnOnce(&Runtime) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let runtime = Runtime::for_command(loaded).await?;
        let done = action(&runtime).await;
        runtime.database.close().await;
        done
    })
}

/// What replicas share: in Valkey if there is one, otherwise in the database; what one process
/// keeps for itself stays in its memory.
fn shared_state(valkey: Option<ValkeyConfig>, database: &Database) -> SharedState {
    let shared = match database.notices(Arc::new(SystemRng)) {
        None => SharedState::local(),
        Some(notices) => SharedState {
            nonces: Some(database.shared_nonces()),
            rates: database.rate_limits(),
            notices,
        },
    };
    match valkey {
        Some(valkey) => shared.behind(&Arc::new(Valkey::start(valkey, Arc::new(SystemRng)))),
        None => shared,
    }
}

/// All keys; those that are not there yet are made.
pub(crate) fn read_keys(loaded: &LoadedConfig) -> anyhow::Result<Keys> {
    let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
    Ok(Keys::new(
        signing_keys(&data_dir, loaded)?,
        master_keys(&data_dir, loaded)?,
    ))
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

/// Where the database is, for people: the file, or the URL without its password.
pub(crate) fn database_location(loaded: &LoadedConfig) -> String {
    database_file(loaded).map_or_else(
        || loaded.database_url().to_string(),
        |path| absolute(&path).display().to_string(),
    )
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Opens or connects to the database.
pub(crate) fn connect(
    loaded: &LoadedConfig,
) -> impl Future<Output = anyhow::Result<Database>> + use<> {
    let (url, options) = (loaded.database_url(), PgOptions::default());
    let next = loaded.config.database.next_url.clone();
    async move {
        Ok(match next {
            Some(next) => Database::connect_following(&url, &next, options).await?,
            None => Database::connect(&url, options).await?,
        })
    }
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
