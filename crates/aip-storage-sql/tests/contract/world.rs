//! A fresh database of either engine, and the shortest way to each thing a story needs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{Clock, QueryStats, RequestNotes, RowId, SystemRng, Timestamp};
use aip_keys::{Sealed, TokenHash};
use aip_storage::Storage;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::browser::BrowserSession;
use aip_storage::client::{Client, ClientAuthMethod, ClientId, ClientSettings, CreateClient};
use aip_storage::client_token::ClientToken;
use aip_storage::device::DeviceAuthorization;
use aip_storage::grant::{
    Approval, Approve, CodeRedemption, Grant, NewCode, NewTokens, RedeemCode, Redemption, Rotation,
};
use aip_storage::imports::{HeldGrant, HeldSession, HeldToken, HeldTokenKind};
use aip_storage::prompt::Prompts;
use aip_storage::request::{
    AuthorizationParams, AuthorizationRequest, Delivery, RedirectDelivery, ResponseMode,
};
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::{
    Credential, OAuthCredential, SealedTokens, UpstreamSession, UpstreamState,
};
use aip_storage_sql::{Database, PgOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tempfile::TempDir;

/// The instant at which every story begins.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A database with its schema.
pub(crate) struct World {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) database: Database,
    /// Where the engine itself is reached.
    pub(crate) url: String,
    _directory: Option<TempDir>,
}

struct FrozenClock;

impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// The URL of an empty SQLite database, with the directory that holds it.
pub(crate) fn empty_sqlite() -> (String, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (
        format!("sqlite://{}", directory.path().join("aip.db").display()),
        directory,
    )
}

/// The URL of an empty PostgreSQL database.
pub(crate) async fn empty_postgres() -> String {
    aip_testkit::postgres::create_database().await
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let (url, directory) = empty_sqlite();
        Self::migrated(url, Some(directory)).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::migrated(empty_postgres().await, None).await
    }

    /// PostgreSQL behind a pooler of transactions.
    pub(crate) async fn pooled() -> Self {
        let direct = empty_postgres().await;
        let pooled = aip_testkit::postgres::behind_pooler(&direct).await;
        Self {
            url: direct,
            ..Self::migrated(pooled, None).await
        }
    }

    pub(crate) async fn migrated(url: String, directory: Option<TempDir>) -> Self {
        let database = Database::connect(&url.parse().unwrap(), PgOptions::default())
            .await
            .unwrap();
        database.migrate().await.unwrap();
        let storage = database.storage().await.unwrap();
        Self {
            storage,
            database,
            url,
            _directory: directory,
        }
    }

    /// Runs a statement behind the storage's back.
    pub(crate) async fn raw(&self, statement: impl Into<String>) {
        run(&self.url, statement).await.unwrap();
    }

    /// The first column of what a query finds behind the storage's back: text.
    pub(crate) async fn strings(&self, query: impl Into<String>) -> Vec<String> {
        strings(&self.url, query).await
    }

    /// From now on, nothing can be stored in that table.
    pub(crate) async fn fill_disk_of(&self, table: &str) {
        let fill = match &self.database {
            Database::Sqlite(_) => format!(
                "CREATE TRIGGER full_{table} BEFORE INSERT ON {table}
                 BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            ),
            Database::Postgres(_) => format!(
                "CREATE FUNCTION full_{table}() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
                 CREATE TRIGGER full_{table} BEFORE INSERT ON {table}
                 FOR EACH ROW EXECUTE FUNCTION full_{table}()"
            ),
        };
        self.raw(fill).await;
    }

    /// Undoes [`Self::fill_disk_of`].
    pub(crate) async fn make_room_for(&self, table: &str) {
        let clear = match &self.database {
            Database::Sqlite(_) => format!("DROP TRIGGER full_{table}"),
            Database::Postgres(_) => format!("DROP FUNCTION full_{table} CASCADE"),
        };
        self.raw(clear).await;
    }

    /// Ends all connections to a PostgreSQL database, as a restart of the server does.
    pub(crate) async fn end_connections(&self) {
        self.raw(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    }

    /// The names of the tables, those of the migrations aside.
    pub(crate) async fn tables(&self) -> Vec<String> {
        let query = match &self.database {
            Database::Sqlite(_) => {
                "SELECT name FROM sqlite_master
                 WHERE type = 'table' AND name <> 'aip_schema_migrations'"
            }
            Database::Postgres(_) => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables
                 WHERE table_schema = 'public' AND table_name <> 'aip_schema_migrations'"
            }
        };
        self.strings(query).await
    }

    /// Registers a public client.
    pub(crate) async fn client(&self, id: &str) -> ClientId {
        let client = public_client(id);
        assert_eq!(
            self.storage.create_client(&client).await.unwrap(),
            CreateClient::Created
        );
        client.id
    }

    /// A browser without an account.
    pub(crate) async fn browser(&self) -> RowId {
        self.browser_session().await.id
    }

    /// The same, with what is known of it.
    pub(crate) async fn browser_session(&self) -> BrowserSession {
        let session = BrowserSession {
            id: new_id(),
            token: new_hash(),
            created_at: NOW,
            expires_at: NOW + DAY,
            accounts: Vec::new(),
        };
        self.storage.create_browser_session(&session).await.unwrap();
        session
    }

    /// A live upstream session.
    pub(crate) async fn session(&self, client: &ClientId, did: &Did) -> UpstreamSession {
        let session = new_session(client, did);
        self.storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        session
    }

    /// An app's request of that browser.
    pub(crate) async fn request(&self, client: &ClientId, browser: RowId) -> AuthorizationRequest {
        let request = new_request(client, browser);
        self.storage.put_request(&request).await.unwrap();
        request
    }

    /// A yes that was not given yet: its request waits.
    pub(crate) async fn pending(&self, client: &ClientId, did: &Did, session: RowId) -> Approval {
        let browser = self.browser().await;
        let request = self.request(client, browser).await;
        let stored = self.storage.client(client).await.unwrap();
        Approval {
            request: request.token,
            browser,
            grant: Grant {
                id: new_id(),
                client_id: client.clone(),
                subject: did.clone(),
                sector: None,
                actor: did.clone(),
                scope: scope("atproto"),
                asked: scope("atproto"),
                upstream_session: session,
                dpop_jkt: None,
                auth_time: Some(NOW),
                claims: RequestedClaims::default(),
                resources: ResourceList::default(),
                created_at: NOW,
                revoked: None,
            },
            client_registered_itself: stored.is_some_and(|it| it.registered_itself),
            client_from_document: None,
            client_resources: None,
            ends_session: false,
            redemption: Redemption::Code(NewCode {
                hash: new_hash(),
                redirect: redirect("state"),
                code_challenge: Some("challenge".to_owned()),
                dpop_jkt: None,
                nonce: Some("nonce".to_owned()),
                expires_at: NOW + MINUTE,
            }),
            event: new_event(AuditKind::GrantGiven, did),
        }
    }

    /// A grant with an unspent code.
    pub(crate) async fn approved(&self, client: &ClientId, did: &Did) -> Approval {
        let session = self.session(client, did).await;
        let approval = self.pending(client, did, session.id).await;
        assert_eq!(
            self.storage.approve(&approval).await.unwrap(),
            Approve::Approved
        );
        approval
    }

    /// A grant with tokens: the tokens of its redeemed code.
    pub(crate) async fn redeemed(&self, client: &ClientId, did: &Did) -> (Grant, NewTokens) {
        let approval = self.approved(client, did).await;
        let redemption = redemption_of(&approval);
        match self.storage.redeem_code(&redemption).await.unwrap() {
            RedeemCode::Redeemed(redeemed) => (redeemed.grant, redemption.tokens),
            refused => panic!("{refused:?}"),
        }
    }
}

/// Runs a statement on a connection of its own.
pub(crate) async fn run(url: &str, statement: impl Into<String>) -> sqlx::Result<()> {
    let statement = AssertSqlSafe(statement.into());
    if url.starts_with("sqlite:") {
        let mut connection = sqlx::SqliteConnection::connect(url).await?;
        connection.execute(statement).await?;
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        connection.execute(statement).await?;
    }
    Ok(())
}

/// The first column of what a query finds: text.
pub(crate) async fn strings(url: &str, query: impl Into<String>) -> Vec<String> {
    let query = AssertSqlSafe(query.into());
    if url.starts_with("sqlite:") {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// The code of an approval.
pub(crate) fn code_of(approval: &Approval) -> &NewCode {
    match &approval.redemption {
        Redemption::Code(code) => code,
        Redemption::Device(_) => panic!("no code: {approval:?}"),
    }
}

/// The same, to be changed.
pub(crate) fn code_of_mut(approval: &mut Approval) -> &mut NewCode {
    match &mut approval.redemption {
        Redemption::Code(code) => code,
        Redemption::Device(_) => panic!("no code"),
    }
}

/// To the one address of the clients here, in its query.
pub(crate) fn redirect(state: &str) -> RedirectDelivery {
    RedirectDelivery {
        redirect_uri: "https://app.example/cb".parse().unwrap(),
        response_mode: ResponseMode::Query,
        state: Some(state.to_owned()),
    }
}

/// The redemption that is right for an approval's code.
pub(crate) fn redemption_of(approval: &Approval) -> CodeRedemption {
    let code = code_of(approval);
    CodeRedemption {
        code: code.hash,
        client_id: approval.grant.client_id.clone(),
        redirect_uri: Some(code.redirect.redirect_uri.to_string()),
        challenge: code.code_challenge.clone(),
        dpop_jkt: code.dpop_jkt.clone(),
        tokens: new_tokens(),
        now: NOW + SECOND,
    }
}

/// The rotation that is right for a refresh token, with a successor of its own.
pub(crate) fn rotation_of(client: &ClientId, tokens: &NewTokens) -> Rotation {
    Rotation {
        refresh: tokens.refresh,
        client_id: client.clone(),
        dpop_jkt: None,
        any_key: false,
        rotates: true,
        grace: 30 * SECOND,
        tokens: new_tokens(),
        now: NOW + MINUTE,
    }
}

/// The same rotation sent again: another access token, the same successor.
pub(crate) fn repeated(rotation: &Rotation) -> Rotation {
    let mut repeated = rotation.clone();
    repeated.tokens.access = new_hash();
    repeated
}

pub(crate) fn new_tokens() -> NewTokens {
    NewTokens {
        access: new_hash(),
        access_expires_at: NOW + HOUR,
        access_scope: None,
        access_audience: None,
        refresh: new_hash(),
        refresh_expires_at: NOW + 30 * DAY,
    }
}

pub(crate) fn new_request(client: &ClientId, browser: RowId) -> AuthorizationRequest {
    AuthorizationRequest {
        token: new_hash(),
        browser: Some(browser),
        pushed: None,
        client_id: client.clone(),
        params: AuthorizationParams {
            delivery: Delivery::Redirect(redirect("state")),
            scope: scope("atproto"),
            asked: scope("atproto"),
            nonce: None,
            code_challenge: Some("challenge".to_owned()),
            dpop_jkt: None,
            login_hint: None,
            prompts: Prompts::default(),
            max_age: Some(3600),
            subjects: Vec::new(),
            claims: RequestedClaims::default(),
            resources: ResourceList::default(),
        },
        signed_in: None,
        expires_at: NOW + HOUR,
    }
}

/// What a device of the client asks for.
pub(crate) fn new_device(client: &ClientId) -> DeviceAuthorization {
    DeviceAuthorization {
        code: new_hash(),
        user_code: new_hash(),
        client_id: client.clone(),
        scope: scope("atproto"),
        asked: scope("atproto transition:generic"),
        resources: ResourceList::default(),
        asked_from: Some("2001:db8:1:2::/64".to_owned()),
        interval: 5 * SECOND,
        expires_at: NOW + HOUR,
    }
}

pub(crate) fn new_session(client: &ClientId, did: &Did) -> UpstreamSession {
    UpstreamSession {
        id: new_id(),
        client_id: client.clone(),
        did: did.clone(),
        pds: origin("https://pds.example"),
        credential: credential(Some("key-1"), "dpop key"),
        scope: scope("atproto"),
        email: None,
        tokens: sealed_tokens("first"),
        generation: 1,
        state: UpstreamState::Active,
        next_refresh_at: NOW + HOUR,
        failures: 0,
        rejected: None,
        last_error: None,
        refreshed_at: NOW,
        created_at: NOW,
    }
}

/// A session of another server with one access and one refresh token.
pub(crate) fn new_held_session(client: &ClientId, did: &Did, now: Timestamp) -> HeldSession {
    let token = |kind| HeldToken {
        hash: new_hash(),
        kind,
        issued_at: now,
        expires_at: now + HOUR,
    };
    let access = HeldTokenKind::Access {
        scope: None,
        dpop_jkt: None,
    };
    HeldSession {
        session: new_session(client, did),
        grant: Some(HeldGrant {
            scope: scope("atproto"),
            dpop_jkt: None,
            created_at: now,
            tokens: vec![token(access), token(HeldTokenKind::Refresh)],
        }),
        content: new_hash(),
    }
}

pub(crate) fn credential(client_key_id: Option<&str>, dpop_key: &str) -> Credential {
    Credential::OAuth(OAuthCredential {
        issuer: issuer("https://issuer.example"),
        upstream_client_id: "https://aip.example/oauth-client-metadata.json".to_owned(),
        client_key_id: client_key_id.map(str::to_owned),
        dpop_key: sealed(dpop_key),
    })
}

pub(crate) fn sealed_tokens(name: &str) -> SealedTokens {
    SealedTokens {
        access: sealed(&format!("{name} access")),
        refresh: Some(sealed(&format!("{name} refresh"))),
        access_expires_at: NOW + 2 * HOUR,
    }
}

pub(crate) fn public_client(id: &str) -> Client {
    Client {
        id: id.parse().unwrap(),
        settings: ClientSettings {
            name: format!("The app {id}"),
            auth_method: ClientAuthMethod::None,
            redirect_uris: vec!["https://app.example/cb".parse().unwrap()],
            scope: scope("atproto transition:generic"),
            refresh_token_ttl: 30 * DAY,
            ..ClientSettings::default()
        },
        secret_hash: None,
        registered_itself: false,
        from_document: false,
        document_holds_until: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A token of the client itself.
pub(crate) fn new_client_token(client: &ClientId) -> ClientToken {
    ClientToken {
        client_id: client.clone(),
        scope: scope("atproto"),
        audience: ResourceList::default(),
        dpop_jkt: Some("key".to_owned()),
        issued_at: NOW,
        expires_at: NOW + HOUR,
    }
}

pub(crate) fn new_id() -> RowId {
    RowId::new(&FrozenClock, &SystemRng)
}

/// An event about that account.
pub(crate) fn new_event(kind: AuditKind, did: &Did) -> AuditEvent {
    AuditEvent::new(&FrozenClock, &SystemRng, kind, "").of_account(did)
}

/// A hash that no other call returns.
pub(crate) fn new_hash() -> TokenHash {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TokenHash::from_bytes(bytes)
}

pub(crate) fn alice() -> Did {
    "did:plc:ewvi7nxzyoun6zhxrhs64oiz".parse().unwrap()
}

pub(crate) fn bob() -> Did {
    "did:web:bob.example.com".parse().unwrap()
}

pub(crate) fn scope(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

pub(crate) fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

pub(crate) fn issuer(text: &str) -> Issuer {
    text.parse().unwrap()
}

pub(crate) fn sealed(text: &str) -> Sealed {
    Sealed::from_stored(text.to_owned())
}

/// Runs `count` copies of a call at the same time.
pub(crate) async fn at_once<T, F>(count: usize, call: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|n| tokio::spawn(call(n))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Does the work and tells what it cost the database.
pub(crate) async fn measure<T>(work: impl Future<Output = T>) -> (T, QueryStats) {
    let notes = Arc::<RequestNotes>::default();
    let output = Arc::clone(&notes).during(work).await;
    (output, notes.query_stats())
}
