//! A server of AIP v2.2.2: its database on PostgreSQL, its keys, and the sessions that it has at the
//! PDS.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{Clock as _, SystemRng, Timestamp, random_token};
use aip_import_v2::{Import, ImportError, Mode, Report, Source, SourceError};
use aip_jose::{Alg, SigningKey};
use aip_keys::Purpose;
use aip_sandbox::Mint;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use crate::app::App;
use crate::world::{BASE, KEYS, World, until};

pub(super) const CLIENT: &str = "18841372-4202-41bf-89a4-e58d29f206ac";
pub(super) const SECRET: &str = "j1soqSORIeJozwGYSOywA8LVjckX2Kd8kODQU0g_Jjw";
pub(super) const SCOPE: &str = "atproto transition:generic";

const SCHEMA: &str = include_str!("../../../../aip-import-v2/testdata/v2_schema.sql");
/// How long tokens of v2 live by default.
const ACCESS_LIFE: Duration = Duration::from_hours(24);
const REFRESH_LIFE: Duration = Duration::from_hours(14 * 24);

/// Its database, and its key towards PDSs.
pub(super) struct V2<'w> {
    pub(super) world: &'w World,
    pub(super) url: String,
    pub(super) key: SigningKey,
}

/// A session of a person, as v2 and the app have it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) did: Did,
    /// The app's tokens.
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) dpop_key: String,
    pub(super) jkt: aip_jose::Thumbprint,
}

/// A connection whose statements, which are full of secrets, are not logged.
pub(super) async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).unwrap();
    let connection = options.disable_statement_logging().connect().await;
    connection.unwrap()
}

/// An empty database, and the statements run on it.
pub(super) async fn database(statements: &[&str]) -> String {
    let url = aip_testkit::postgres::create_database().await;
    let mut connection = connect(&url).await;
    for statement in statements {
        let statement = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned()));
        statement.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    url
}

pub(super) async fn v2_database(changes: &[&str]) -> String {
    database(&[&[SCHEMA], changes].concat()).await
}

/// What `aip import aip-v2` reads from.
pub(super) async fn open(url: &str, now: Timestamp) -> Result<Source, SourceError> {
    Source::open(&url.into(), now).await
}

impl<'w> V2<'w> {
    /// With one app, and AIP started anew with v2's key in its key set.
    pub(super) async fn begin(world: &'w World) -> Self {
        let generated = SigningKey::generate(Alg::Es256, None).unwrap();
        let did_key = generated.to_private_did_key().unwrap();
        let key = || SigningKey::from_private_did_key(did_key.expose_secret(), None).unwrap();
        world
            .secrets
            .learn("v2's client key", did_key.expose_secret());
        let mut keys = KEYS.clone();
        keys.import(key(), Purpose::Upstream, world.clock.now())
            .unwrap();
        world.restart_with(keys).await;
        world.secrets.learn("a client secret", SECRET);
        let v2 = Self {
            world,
            url: v2_database(&[]).await,
            key: key(),
        };
        v2.put("oauth_clients", &v2.client(CLIENT)).await;
        v2
    }

    pub(super) fn at(&self, offset: Duration) -> Value {
        let at = self.world.clock.now() + offset;
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap();
        at.to_string().into()
    }

    /// A row of `oauth_clients`.
    pub(super) fn client(&self, id: &str) -> Value {
        let now = self.at(Duration::ZERO);
        json!({
            "client_id": id, "client_secret": SECRET, "client_name": "lab app",
            "redirect_uris": ["https://app.example.org/callback"],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "response_types": ["code"], "scope": SCOPE,
            "token_endpoint_auth_method": "client_secret_post", "client_type": "confidential",
            "created_at": now, "updated_at": now, "metadata": {},
            "access_token_expiration": 86400, "refresh_token_expiration": 1_209_600,
            "require_redirect_exact": true,
        })
    }

    /// Writes a row; of a DID document that is there already, nothing.
    pub(super) async fn put(&self, table: &str, row: &Value) {
        let insert = format!(
            "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, '{}'::jsonb){}",
            row.to_string().replace('\'', "''"),
            if table == "did_documents" {
                " ON CONFLICT DO NOTHING"
            } else {
                ""
            }
        );
        self.run(&insert).await;
    }

    pub(super) async fn run(&self, statement: &str) {
        let mut connection = connect(&self.url).await;
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A session as v2 has one after a sign-in: at the PDS, in its tables, and at the app.
    pub(super) async fn sign_in(&self, did: &Did) -> Session {
        let generated = SigningKey::generate(Alg::Es256, None).unwrap();
        let dpop_key = generated.to_private_did_key().unwrap();
        let session = Session {
            id: random_token::<16>(&SystemRng),
            did: did.clone(),
            access: random_token::<32>(&SystemRng),
            refresh: random_token::<32>(&SystemRng),
            dpop_key: dpop_key.expose_secret().to_owned(),
            jkt: generated.public().thumbprint(),
        };
        for (what, secret) in [
            ("v2's access token", &session.access),
            ("v2's refresh token", &session.refresh),
            ("v2's DPoP key", &session.dpop_key),
        ] {
            self.world.secrets.learn(what, secret);
        }
        self.put("atp_oauth_sessions", &self.session_row(&session, 1))
            .await;
        self.put("did_documents", &self.document(did)).await;
        self.put("access_tokens", &self.access_row(&session)).await;
        self.put("refresh_tokens", &self.refresh_row(&session))
            .await;
        session
    }

    fn document(&self, did: &Did) -> Value {
        let now = self.at(Duration::ZERO);
        json!({
            "did": did.as_str(), "created_at": now, "updated_at": now,
            "document": {
                "id": did.as_str(),
                "service": [{
                    "id": "#atproto_pds", "type": "AtprotoPersonalDataServer",
                    "serviceEndpoint": self.world.pds().origin(),
                }],
            },
        })
    }

    /// A row of `atp_oauth_sessions` with new tokens of the PDS.
    pub(super) fn session_row(&self, session: &Session, iteration: i64) -> Value {
        let minted = self.world.pds().mint_session(&Mint {
            did: &session.did,
            client_id: &format!("{BASE}/oauth-client-metadata.json"),
            client_key: Some(self.key.public()),
            scope: SCOPE,
            dpop_key: &session.jkt,
        });
        self.world
            .secrets
            .learn("an upstream token", &minted.access_token);
        self.world
            .secrets
            .learn("an upstream token", &minted.refresh_token);
        json!({
            "session_id": session.id, "did": session.did.as_str(), "iteration": iteration,
            "session_created_at": self.at(Duration::ZERO), "atp_oauth_state": "state",
            "signing_key_jkt": self.key.public().thumbprint().as_str(),
            "dpop_key": session.dpop_key, "access_token": minted.access_token,
            "refresh_token": minted.refresh_token,
            "access_token_created_at": self.at(Duration::ZERO),
            "access_token_expires_at": self.at(minted.expires_in),
            "access_token_scopes": SCOPE.split(' ').collect::<Vec<_>>(), "metadata": {},
        })
    }

    pub(super) fn access_row(&self, session: &Session) -> Value {
        json!({
            "token": session.access, "token_type": "Bearer", "client_id": CLIENT,
            "user_id": session.did.as_str(), "session_id": session.id, "session_iteration": 1,
            "scope": SCOPE, "created_at": self.at(Duration::ZERO),
            "expires_at": self.at(ACCESS_LIFE), "revoked": false,
        })
    }

    pub(super) fn refresh_row(&self, session: &Session) -> Value {
        json!({
            "token": session.refresh, "access_token": session.access, "client_id": CLIENT,
            "user_id": session.did.as_str(), "session_id": session.id, "scope": SCOPE,
            "created_at": self.at(Duration::ZERO), "expires_at": self.at(REFRESH_LIFE),
            "revoked": false,
        })
    }

    pub(super) fn app(&self) -> App<'w> {
        App::known(self.world, CLIENT, Some(SECRET))
    }

    /// What the command does, with the application of the story.
    pub(super) fn import(&self) -> Import {
        let app = &self.world.aip().app;
        let upstream = &app.keeper.upstream;
        Import {
            server: app.server.clone(),
            pds: Arc::clone(&upstream.pds),
            sealer: Arc::clone(&app.sealer),
            rng: Arc::new(SystemRng),
            upstream_client_id: upstream.identity.document_url().unwrap().to_owned(),
            default_scope: SCOPE.parse().unwrap(),
            upstream_keys: vec![(
                self.key.public().thumbprint(),
                self.key.kid().unwrap().to_owned(),
            )],
        }
    }

    pub(super) async fn try_run(&self, mode: Mode) -> Result<Report, ImportError> {
        // The clock stands still, and a lead that was given up at this instant has not lapsed.
        self.world.pass(Duration::from_micros(1));
        let source = open(&self.url, self.world.clock.now()).await?;
        self.import().run(source, mode, &mut |_, _| ()).await
    }

    pub(super) async fn run_import(&self, mode: Mode) -> Report {
        self.try_run(mode).await.unwrap()
    }

    /// As [`FINISH`], when nothing of this story is connected any more.
    pub(super) async fn finish(&self) -> Report {
        let nobody = async || self.connections().await == 0;
        until("nobody is connected", nobody).await;
        self.run_import(FINISH).await
    }

    /// A minute after a run that was killed.
    pub(super) async fn after_a_minute(&self) {
        let forget = "DELETE FROM leaders WHERE task = 'aip import aip-v2' RETURNING task";
        self.world.texts(forget).await;
    }
}

pub(super) const FINISH: Mode = Mode::Finish {
    other_connections: 0,
};

impl V2<'_> {
    /// How many are connected to it. Asked from another database, as whoever looks is connected for a moment
    /// longer than it takes.
    pub(super) async fn connections(&self) -> usize {
        let options = PgConnectOptions::from_str(&self.url).unwrap();
        let name = options.get_database().unwrap().to_owned();
        let options = options.database("postgres").disable_statement_logging();
        let mut connection = options.connect().await.unwrap();
        let those = format!("SELECT pid FROM pg_stat_activity WHERE datname = '{name}'");
        let rows = sqlx::raw_sql(AssertSqlSafe(those));
        let rows = rows.fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        rows.unwrap().len()
    }
}
