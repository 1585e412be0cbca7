//! From the configuration to what commands work with: keys, database, network, application.

use std::sync::Arc;

use aip_base::{Clock, Rng, SystemClock, SystemRng};
use aip_config::{Loaded, Upstream};
use aip_listen::Lifecycle;
use aip_outbound::{Dns, Outbound};
use aip_storage::Storage;
use aip_storage_sql::{Database, PgOptions};
use anyhow::Context as _;

use crate::app::{Application, ClientDocument, Setup};
use crate::data_dir::DataDir;
use crate::settings;

/// The scopes that are AIP's own to give; everything else is the PDS's.
const OPENID_SCOPES: &str = "openid profile email offline_access";

/// What the configuration leads to.
pub(crate) struct Opened {
    pub(crate) data_dir: DataDir,
    pub(crate) database: Database,
    pub(crate) storage: Arc<dyn Storage>,
}

/// The way out.
pub(crate) struct Network {
    pub(crate) http: Arc<Outbound>,
    pub(crate) dns: Arc<Dns>,
}

impl Opened {
    /// Opens data folder and database. A SQLite database is brought up to this program at once,
    /// for nobody else uses it; a PostgreSQL database only when `migrate` says so.
    pub(crate) async fn new(loaded: &Loaded, migrate: bool) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&loaded.config.server.data_dir)?;
        let database = connect(loaded).await?;
        if migrate || matches!(database, Database::Sqlite(_)) {
            for version in database.migrate().await? {
                tracing::info!(version, "migrated the database");
            }
        }
        let storage = database.storage().await?;
        Ok(Self {
            data_dir,
            database,
            storage,
        })
    }

    /// The application on it.
    pub(crate) fn application(
        &self,
        loaded: &Loaded,
        life: Lifecycle,
    ) -> anyhow::Result<Application> {
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
        let config = &loaded.config;
        let keys = &config.keys;
        let network = Network::new(&config.upstream)?;
        let scope = &config.client_document.scope;
        Ok(Application::new(Setup {
            external_base: loaded.external_base.as_str().to_owned(),
            worker_id: config.server.worker_id.clone().unwrap_or_else(worker_id),
            brand: config.brand.name.clone(),
            scopes_supported: format!("{OPENID_SCOPES} {scope}")
                .parse()
                .context("client_document.scope")?,
            client_document: ClientDocument {
                name: Some(config.client_document.name.clone()),
                logo_uri: config.client_document.logo.clone(),
                tos_uri: config.client_document.tos.clone(),
                policy_uri: config.client_document.policy.clone(),
                scope: scope.clone(),
            },
            resolver: settings::resolver(&config.upstream),
            storage: Arc::clone(&self.storage),
            keys: self.data_dir.signing_keys(
                keys.json_web_keys.as_ref(),
                &keys.active_signing_keys,
                &*clock,
                &*rng,
            )?,
            master_keys: self
                .data_dir
                .master_keys(keys.master_keys.as_ref(), &*rng)?,
            http: network.http,
            dns: network.dns,
            clock: clock as Arc<dyn Clock>,
            rng: rng as Arc<dyn Rng>,
            life,
        }))
    }
}

/// Opens or connects to the database.
pub(crate) async fn connect(loaded: &Loaded) -> anyhow::Result<Database> {
    Ok(Database::connect(loaded.database_url().expose(), PgOptions::default()).await?)
}

impl Network {
    /// The guarded client and the resolver behind it.
    pub(crate) fn new(upstream: &Upstream) -> anyhow::Result<Self> {
        let config = settings::outbound(upstream)?;
        let dns = Arc::new(Dns::new(&config.nameservers)?);
        let resolver: Arc<Dns> = Arc::clone(&dns);
        Ok(Self {
            http: Arc::new(Outbound::new(config, resolver)?),
            dns,
        })
    }
}

/// The host's name and the process id: two processes of one host must not share a name.
fn worker_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
