//! The one entry: a URL becomes a database, and a database whose schema fits becomes storage.

use std::path::Path;
use std::sync::Arc;

use aip_base::Rng;
use aip_storage::Storage;
use aip_storage::nonces::SharedNonces;
use aip_storage::notices::Notices;
use aip_storage::rates::RateLimits;

use crate::postgres::{ConnectPgError, PgOptions, PgStorage};
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
    /// The URL names no engine that there is.
    #[error("a database URL begins with `sqlite://`, `postgres://` or `postgresql://`")]
    Scheme,
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] OpenSqliteError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] ConnectPgError),
}

impl Database {
    /// Opens or connects. `sqlite://` is followed by a path, which may be relative; `options`
    /// concern PostgreSQL alone.
    pub async fn connect(url: &str, options: PgOptions) -> Result<Self, ConnectError> {
        let (scheme, rest) = url.split_once(':').ok_or(ConnectError::Scheme)?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                Ok(Self::Sqlite(SqliteStorage::open(Path::new(path)).await?))
            }
            "postgres" | "postgresql" | "postgresql+asyncpg" => {
                Ok(Self::Postgres(PgStorage::connect(url, options).await?))
            }
            _ => Err(ConnectError::Scheme),
        }
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
        match self {
            Self::Sqlite(database) => database.status().await,
            Self::Postgres(database) => database.status().await,
        }
    }

    /// Brings the schema up to this program; the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>, SchemaError> {
        match self {
            Self::Sqlite(database) => database.migrate().await,
            Self::Postgres(database) => database.migrate().await,
        }
    }

    /// The storage, if the schema is this program's.
    pub async fn storage(&self) -> Result<Arc<dyn Storage>, SchemaError> {
        self.status().await?.require_current()?;
        Ok(match self {
            Self::Sqlite(database) => Arc::new(database.clone()),
            Self::Postgres(database) => Arc::new(database.clone()),
        })
    }

    /// The nonces that all processes on this database share. Needs the schema of
    /// [`Self::storage`].
    pub fn shared_nonces(&self) -> Arc<dyn SharedNonces> {
        match self {
            Self::Sqlite(database) => Arc::new(database.clone()),
            Self::Postgres(database) => Arc::new(database.clone()),
        }
    }

    /// The rate limits that all processes on this database share. Needs the schema of
    /// [`Self::storage`].
    pub fn rate_limits(&self) -> Arc<dyn RateLimits> {
        match self {
            Self::Sqlite(database) => Arc::new(database.clone()),
            Self::Postgres(database) => Arc::new(database.clone()),
        }
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
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}
