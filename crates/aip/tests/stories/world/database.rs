//! The database of a story, looked at behind the storage's back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aip_base::SystemRng;
use aip_shared_state::SharedState;
use aip_shared_state::valkey::{Valkey, ValkeyConfig};
use aip_storage::Storage;
use aip_storage_sql::{Database, DatabaseMove, PgOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

/// Which database a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// A database that holds nothing but the schema at first.
pub(crate) struct Db {
    url: String,
    database: Database,
    directory: Option<TempDir>,
    valkey: Mutex<Option<ValkeyConfig>>,
    /// Where it is being moved to.
    next: Mutex<Option<String>>,
}

/// Every row of every table, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dump(BTreeMap<String, Vec<String>>);

/// A database in which nobody can write sessions.
pub(crate) enum HeldWriteLock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl HeldWriteLock {
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

impl Db {
    pub(crate) async fn create(engine: Engine) -> Self {
        let (url, directory) = match engine {
            Engine::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("aip.db");
                (format!("sqlite://{}", path.display()), Some(directory))
            }
            Engine::Postgres => (aip_testkit::postgres::create_database().await, None),
        };
        let database = Database::connect(&url.parse().unwrap(), PgOptions::default())
            .await
            .unwrap();
        database.migrate().await.unwrap();
        Self {
            url,
            database,
            directory,
            valkey: Mutex::default(),
            next: Mutex::default(),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self.database {
            Database::Sqlite(_) => Engine::Sqlite,
            Database::Postgres(_) => Engine::Postgres,
        }
    }

    /// The storage, over new connections: what a process sees that was started anew.
    pub(crate) async fn storage(&self) -> Arc<dyn Storage> {
        let (url, options) = (self.url.parse().unwrap(), PgOptions::default());
        let next = self.next.lock().unwrap().clone();
        let database = match next {
            Some(next) => Database::connect_following(&url, &next.parse().unwrap(), options).await,
            None => Database::connect(&url, options).await,
        };
        database.unwrap().storage().await.unwrap()
    }

    /// A move to another server, which processes follow that are started from now on.
    pub(crate) async fn begin_move(&self) -> DatabaseMove {
        let next = aip_testkit::postgres::create_database_elsewhere().await;
        let begun = DatabaseMove::connect(&self.url.clone().into(), &next.clone().into()).await;
        *self.next.lock().unwrap() = Some(next);
        begun.unwrap()
    }

    /// Puts Valkey before it, for processes that are started from now on.
    pub(crate) fn put_behind(&self, url: &str) {
        let config = ValkeyConfig::new(url.parse().unwrap(), None).unwrap();
        *self.valkey.lock().unwrap() = Some(config);
    }

    /// What processes on it share besides.
    pub(crate) fn shared_state(&self) -> SharedState {
        let shared = match self.database.notices(Arc::new(SystemRng)) {
            None => SharedState::local(),
            Some(notices) => SharedState {
                nonces: Some(self.database.shared_nonces()),
                rates: self.database.rate_limits(),
                notices,
            },
        };
        match self.valkey.lock().unwrap().clone() {
            Some(config) => shared.behind(&Arc::new(Valkey::start(config, Arc::new(SystemRng)))),
            None => shared,
        }
    }

    /// Takes the sessions from everybody who would write them.
    pub(crate) async fn block_writes(&self) -> HeldWriteLock {
        match &self.database {
            Database::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                let begin = sqlx::raw_sql("BEGIN IMMEDIATE");
                begin.execute(&mut connection).await.unwrap();
                HeldWriteLock::Sqlite(connection)
            }
            Database::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                let lock = "BEGIN; LOCK TABLE upstream_sessions IN EXCLUSIVE MODE";
                let lock = sqlx::raw_sql(lock);
                lock.execute(&mut connection).await.unwrap();
                HeldWriteLock::Postgres(connection)
            }
        }
    }

    /// Everything in it.
    pub(crate) async fn dump(&self) -> Dump {
        let mut tables = BTreeMap::new();
        let list = match self.database {
            Database::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table'",
            Database::Postgres(_) => {
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
            }
        };
        for table in self.texts(list).await {
            let rows = match self.database {
                Database::Sqlite(_) => {
                    let columns = format!("SELECT name FROM pragma_table_info('{table}')");
                    let columns = self.texts(&columns).await;
                    let quoted: Vec<String> =
                        columns.iter().map(|it| format!("quote({it})")).collect();
                    format!("SELECT {} FROM {table}", quoted.join(" || ',' || "))
                }
                Database::Postgres(_) => format!("SELECT row_to_json(t)::text FROM {table} t"),
            };
            let mut rows = self.texts(&rows).await;
            rows.sort();
            tables.insert(table, rows);
        }
        Dump(tables)
    }

    /// The bytes on disk, with what SQLite has not yet moved from its log.
    pub(crate) fn files(&self) -> Vec<u8> {
        let Some(directory) = &self.directory else {
            return Vec::new();
        };
        let files = std::fs::read_dir(directory.path()).unwrap();
        let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        bytes.collect::<Vec<_>>().concat()
    }

    /// The first column of a query.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        match &self.database {
            Database::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                let rows = query.fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Database::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                let rows = query.fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

impl Dump {
    /// The same without some tables.
    #[must_use]
    pub(crate) fn without(mut self, tables: &[&str]) -> Self {
        self.0.retain(|name, _| !tables.contains(&name.as_str()));
        self
    }

    /// How many rows a table has.
    #[track_caller]
    pub(crate) fn count(&self, table: &str) -> usize {
        self.0.get(table).expect("there is such a table").len()
    }

    /// Everything, for a search.
    pub(crate) fn text(&self) -> String {
        let rows = self.0.values().flatten();
        rows.map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
