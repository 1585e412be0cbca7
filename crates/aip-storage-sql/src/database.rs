//! The one entry: a `DatabaseUrl` becomes a database, and a database whose schema fits becomes storage.

use std::sync::Arc;

use aip_base::{DatabaseUrl, Rng};
use aip_storage::Storage;
use aip_storage::nonces::SharedNonces;
use aip_storage::notices::Notices;
use aip_storage::rates::RateLimits;

use crate::postgres::{ConnectPgError, FollowError, PgOptions, PgStorage};
use crate::schema::{SchemaError, Status};
use crate::sqlite::{OpenSqliteError, SqliteStorage};

/// A database, whatever its engine and its schema.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLite file.
    Sqlite(SqliteStorage),
    /// A PostgreSQL server.
    Postgres(PgStorage),
}

/// No database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] OpenSqliteError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] ConnectPgError),
    /// PostgreSQL, while it is moved.
    #[error(transparent)]
    Following(#[from] FollowError),
    /// A move of SQLite.
    #[error(
        "database.next_url (AIP_DATABASE_NEXT_URL) is for moves from PostgreSQL to PostgreSQL: remove it, or set \
         both URLs to such servers"
    )]
    NextOfSqlite,
}

/// The same on either engine.
macro_rules! on_engine {
    ($database:expr, $it:ident => $work:expr) => {
        match $database {
            Database::Sqlite($it) => $work,
            Database::Postgres($it) => $work,
        }
    };
}

impl Database {
    /// Opens or connects; `options` concern PostgreSQL alone.
    pub async fn connect(url: &DatabaseUrl, options: PgOptions) -> Result<Self, ConnectError> {
        Ok(match url {
            DatabaseUrl::Sqlite(path) => Self::Sqlite(SqliteStorage::open(path).await?),
            DatabaseUrl::Postgres(url) => Self::Postgres(PgStorage::connect(url, options).await?),
        })
    }

    /// As [`Self::connect`]; the database is being moved to `next`, and is used there once it is.
    pub async fn connect_following(
        url: &DatabaseUrl,
        next: &DatabaseUrl,
        options: PgOptions,
    ) -> Result<Self, ConnectError> {
        let (DatabaseUrl::Postgres(url), DatabaseUrl::Postgres(next)) = (url, next) else {
            return Err(ConnectError::NextOfSqlite);
        };
        let storage = PgStorage::connect_following(url, next, options).await?;
        Ok(Self::Postgres(storage))
    }

    /// `sqlite` or `postgres`, for logs and metrics.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// How far the schema is. Refuses one of a newer program.
    pub async fn status(&self) -> Result<Status, SchemaError> {
        on_engine!(self, database => database.status().await)
    }

    /// Brings the schema up to this program; the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        on_engine!(self, database => database.migrate().await)
    }

    /// The storage, if the schema is this program's.
    pub async fn storage(&self) -> Result<Arc<dyn Storage>, SchemaError> {
        self.status().await?.require_current()?;
        Ok(on_engine!(self, database => Arc::new(database.clone())))
    }

    /// The nonces that all processes on this database share. Needs the schema of
    /// [`Self::storage`].
    pub fn shared_nonces(&self) -> Arc<dyn SharedNonces> {
        on_engine!(self, database => Arc::new(database.clone()))
    }

    /// The rate limits that all processes on this database share. Needs the schema of
    /// [`Self::storage`].
    pub fn rate_limits(&self) -> Arc<dyn RateLimits> {
        on_engine!(self, database => Arc::new(database.clone()))
    }

    /// Notices between all processes on this database; to be called once, within a runtime. On
    /// PostgreSQL a connection of its own listens, for as long as what is returned lives. On
    /// SQLite there is one process, and nothing between it and others.
    pub fn notices(&self, rng: Arc<dyn Rng>) -> Option<Arc<dyn Notices>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(database) => Some(Arc::new(database.notices(rng))),
        }
    }

    /// Closes the connections once their statements are done.
    pub async fn close(&self) {
        on_engine!(self, database => database.close().await);
    }
}
