//! AIP itself, in this process, against the stand-ins: the same application that `aip serve`
//! runs, through the same guarded client, on a SQLite file in a temporary folder.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aip::app::{AppConfig, Application, Keys, Platform, Stores};
use aip_base::{DatabaseUrl, SystemClock, SystemRng};
use aip_keys::{KeySet, MasterKeys};
use aip_listen::{Lifecycle, ListenConfig, Stage};
use aip_oauth::registration::ClientSettings;
use aip_outbound::{Development, Dns, Outbound, OutboundConfig};
use aip_pds::ResolverConfig;
use aip_sandbox::Running;
use aip_sessions::Spill;
use aip_shared_state::SharedState;
use aip_storage::client::ClientAuthMethod;
use aip_storage_sql::{Database, PgOptions};
use anyhow::Context as _;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The demo app's client id.
pub(crate) const DEMO_CLIENT: &str = "demo";
/// What apps here may ask for: signing in, and everything that an app password may do.
pub(crate) const DEMO_SCOPE: &str =
    "openid profile email offline_access atproto account:email transition:generic";

/// AIP with its port taken and nothing running yet.
pub(crate) struct Server(aip_listen::Server);

/// AIP, running.
pub(crate) struct Serving {
    /// The developer's app, if one was to be registered.
    pub(crate) app: Option<App>,
    life: Lifecycle,
    listener: JoinHandle<aip_listen::Drained>,
    background_tasks: JoinHandle<()>,
    database: Database,
    _folder: TempDir,
}

/// A developer's app, to be registered.
pub(crate) struct NewApp {
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) scope: String,
    pub(crate) public: bool,
}

/// A registered app.
pub(crate) struct App {
    pub(crate) id: String,
    /// None for a public client.
    pub(crate) secret: Option<SecretString>,
}

impl Server {
    pub(crate) async fn bind(port: u16) -> anyhow::Result<Self> {
        let config = ListenConfig {
            drain_timeout: Duration::from_secs(1),
            ..ListenConfig::default()
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = aip_listen::Server::bind(address, config).await;
        Ok(Self(server.context("choose another port with --aip-port")?))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr())
    }

    pub(crate) async fn start(
        self,
        running: &Running,
        app: Option<NewApp>,
    ) -> anyhow::Result<Serving> {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("aip.db");
        let database =
            Database::connect(&DatabaseUrl::Sqlite(database), PgOptions::default()).await?;
        database.migrate().await?;
        let life = Lifecycle::new();
        let stores = Stores {
            storage: database.storage().await?,
            spill: Spill::open(&folder.path().join("spill"))?,
            shared: SharedState::local(),
        };
        let keys = Keys::new(
            KeySet::generate(&SystemClock, &SystemRng)?,
            MasterKeys::generate(&SystemRng),
        );
        let application = Application::new(
            app_config(&self.url(), running)?,
            stores,
            &keys,
            platform(running)?,
            life.clone(),
        );
        if let Some(demo) = running.demo_url() {
            let settings = public_client("Demo app", &[format!("{demo}/callback")])?;
            application
                .server
                .register_client(Some(DEMO_CLIENT.parse()?), settings)
                .await?;
        }
        let app = match app {
            Some(app) => Some(register(&application, app).await?),
            None => None,
        };
        let background_tasks = application.start_background_tasks();
        let draining = life.clone();
        let server = self.0.with_handlers(application.handlers.clone());
        let listener = tokio::spawn(server.run(application.public, async move {
            draining.reached(Stage::Draining).await;
        }));
        life.advance(Stage::Ready);
        Ok(Serving {
            app,
            life,
            listener,
            background_tasks,
            database,
            _folder: folder,
        })
    }
}

impl Serving {
    pub(crate) async fn end(self) {
        self.life.advance(Stage::Draining);
        self.background_tasks.abort();
        if let Err(error) = self.listener.await {
            tracing::error!(%error, "AIP shutdown failed");
        }
        self.database.close().await;
    }
}

/// Everybody here is the developer, so nothing is limited.
fn app_config(url: &str, running: &Running) -> anyhow::Result<AppConfig> {
    let sandbox = &running.sandbox;
    let resolver = ResolverConfig {
        plc: vec![sandbox.plc.origin().parse()?],
        handle_fallback: vec![sandbox.pds.origin().parse()?],
        development: true,
        ..ResolverConfig::default()
    };
    Ok(AppConfig {
        worker_id: "sandbox".to_owned(),
        brand: "AIP sandbox".to_owned(),
        ..AppConfig::new(url.parse()?, DEMO_SCOPE.parse()?, resolver)
    })
}

fn platform(running: &Running) -> anyhow::Result<Platform> {
    let outbound = OutboundConfig {
        development: Some(Development {
            hosts: BTreeMap::new(),
            allow_loopback: true,
        }),
        ..OutboundConfig::default()
    };
    Ok(Platform {
        // Every host here is loopback, so the resolver is never asked for an address.
        http: Arc::new(Outbound::new(outbound, Arc::new(Dns::new(&[])?))?),
        dns: Arc::new(running.sandbox.dns.clone()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
    })
}

async fn register(application: &Application, app: NewApp) -> anyhow::Result<App> {
    let settings = ClientSettings {
        auth_method: if app.public {
            ClientAuthMethod::None
        } else {
            ClientAuthMethod::SecretBasic
        },
        scope: app.scope.parse().context("--scope")?,
        ..public_client("My app", &app.redirect_uris).context("--redirect-uri")?
    };
    let (client, secret) = application
        .server
        .register_client(None, settings)
        .await
        .context("--redirect-uri")?;
    Ok(App {
        id: client.id.to_string(),
        secret,
    })
}

fn public_client(name: &str, redirect_uris: &[String]) -> anyhow::Result<ClientSettings> {
    let parsed = redirect_uris.iter().map(|uri| uri.parse());
    Ok(ClientSettings {
        name: name.to_owned(),
        auth_method: ClientAuthMethod::None,
        redirect_uris: parsed.collect::<Result<_, _>>()?,
        scope: DEMO_SCOPE.parse()?,
        refresh_token_ttl: Duration::from_hours(24),
        ..ClientSettings::default()
    })
}
