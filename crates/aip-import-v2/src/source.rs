//! The database of AIP v2: one connection, a transaction that only reads, and a cursor, so that
//! everything is as of one instant and no table is ever in memory as a whole.

use std::str::FromStr as _;

use aip_base::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use crate::columns::{COLUMNS, MIGRATIONS};

/// The database of a v2 server.
pub struct Source {
    connection: PgConnection,
    /// Tokens that have expired then are not read.
    now: Timestamp,
}

/// Why a database is not read. No message repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not a URL of a PostgreSQL database.
    #[error("the URL of AIP v2's database is malformed; it is like postgres://USER@HOST/NAME")]
    Url,
    /// No connection.
    #[error("cannot connect to AIP v2's database: {0}")]
    Connect(#[source] sqlx::Error),
    /// It stopped answering.
    #[error("AIP v2's database: {0}")]
    Query(#[from] sqlx::Error),
    /// It is another database.
    #[error(
        "this is not a database of AIP v2: it has no table `_sqlx_migrations`; name the database of \
         v2's DATABASE_URL with --from"
    )]
    NotV2,
    /// Another version of AIP v2.
    #[error(
        "this database has the migrations {found}, and v2.2.2 has 1 to 13: bring it to v2.2.2 by \
         starting that release on it once, and run this again"
    )]
    OtherVersion {
        /// The versions that are there.
        found: String,
    },
    /// A migration was begun and did not succeed.
    #[error(
        "this database is half migrated: migration {0} did not succeed; mend it by starting v2.2.2 on \
         it, and run this again"
    )]
    HalfMigrated(i64),
    /// Columns of v2.2.2 are not there, or may not be read.
    #[error(
        "these columns of v2.2.2 are missing, or this user may not read them: {0}; connect as the user \
         of v2's DATABASE_URL"
    )]
    Columns(String),
}

impl Source {
    /// Connects, begins to read, and checks that it is a database of v2.2.2. Tokens that have expired
    /// at `now` are not read.
    pub async fn open(url: &SecretString, now: Timestamp) -> Result<Self, SourceError> {
        let url = url.expose_secret();
        // sqlx takes any scheme, and connects to this machine.
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|it| url.starts_with(it))
        {
            return Err(SourceError::Url);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| SourceError::Url)?;
        // A pooler of transactions gives no statement back to whoever prepared it.
        let options = options
            .application_name("aip import aip-v2")
            .statement_cache_capacity(0)
            .disable_statement_logging();
        let connection = PgConnection::connect_with(&options).await;
        let mut source = Self {
            connection: connection.map_err(SourceError::Connect)?,
            now,
        };
        source.begin_reading().await?;
        source.check_version().await?;
        source.check_columns().await?;
        Ok(source)
    }

    /// Begins the transaction: everything is as of its first statement.
    async fn begin_reading(&mut self) -> Result<(), SourceError> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        sqlx::query("SELECT set_config('aip_import.now', $1, true)")
            .bind(self.now.as_micros().to_string())
            .fetch_one(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), SourceError> {
        sqlx::raw_sql(statement)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn check_version(&mut self) -> Result<(), SourceError> {
        let table = sqlx::query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS there")
            .fetch_one(&mut self.connection)
            .await?;
        if !table.try_get::<bool, _>("there")? {
            return Err(SourceError::NotV2);
        }
        let rows = sqlx::query(
            "SELECT version::bigint AS version, success FROM _sqlx_migrations ORDER BY version",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut versions: Vec<i64> = Vec::with_capacity(rows.len());
        for row in &rows {
            let version = row.try_get("version")?;
            if !row.try_get::<bool, _>("success")? {
                return Err(SourceError::HalfMigrated(version));
            }
            versions.push(version);
        }
        if versions.iter().copied().eq(MIGRATIONS) {
            return Ok(());
        }
        let found: Vec<String> = versions.iter().map(ToString::to_string).collect();
        Err(SourceError::OtherVersion {
            found: if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(", ")
            },
        })
    }

    async fn check_columns(&mut self) -> Result<(), SourceError> {
        let rows = sqlx::query(
            "SELECT table_name::text || '.' || column_name::text AS name
             FROM information_schema.columns
             WHERE table_schema::text = ANY (current_schemas(false)::text[])",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut there = std::collections::HashSet::with_capacity(rows.len());
        for row in &rows {
            there.insert(row.try_get::<String, _>("name")?);
        }
        let all = COLUMNS
            .iter()
            .flat_map(|(table, columns)| columns.iter().map(move |it| format!("{table}.{it}")));
        let missing: Vec<String> = all.filter(|name| !there.contains(name)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(SourceError::Columns(missing.join(", ")))
        }
    }

    /// How many others are connected to the database, and who: while v2 runs, it is. What is read
    /// afterwards is as of after this, so that nobody who was gone by now has written behind it.
    pub(crate) async fn others(&mut self) -> Result<(u64, String), SourceError> {
        // Within a transaction the view stays as it was at first; without one, a pooler may have each
        // statement done by another connection.
        self.run("ROLLBACK; BEGIN READ ONLY").await?;
        // Of the connections of another role, whoever is no member of it sees neither the type nor the
        // address; without a role are the server's own processes.
        let rows = sqlx::query(
            "SELECT coalesce(nullif(application_name, ''), usename::text, 'unnamed')
                 || coalesce(' from ' || host(client_addr), '') AS who
             FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
                 AND (backend_type = 'client backend'
                     OR (backend_type IS NULL AND usesysid IS NOT NULL))
             ORDER BY backend_start LIMIT 100",
        )
        .fetch_all(&mut self.connection)
        .await?;
        self.run("ROLLBACK").await?;
        self.begin_reading().await?;
        let mut who = Vec::new();
        for row in rows.iter().take(5) {
            who.push(row.try_get::<String, _>("who")?);
        }
        let number = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        Ok((number, who.join(", ")))
    }

    /// How many sessions there are.
    pub(crate) async fn count_sessions(&mut self) -> Result<u64, SourceError> {
        let row =
            sqlx::query("SELECT COUNT(DISTINCT session_id) AS number FROM atp_oauth_sessions")
                .fetch_one(&mut self.connection)
                .await?;
        let number: i64 = row.try_get("number")?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// Begins to read what a `DECLARE import CURSOR` names.
    pub(crate) async fn begin(&mut self, declaration: &'static str) -> Result<(), SourceError> {
        self.run(declaration).await
    }

    /// The next rows; none at the end, where the cursor is closed.
    pub(crate) async fn next(&mut self) -> Result<Vec<PgRow>, SourceError> {
        let rows = sqlx::query("FETCH FORWARD 100 FROM import")
            .persistent(false)
            .fetch_all(&mut self.connection)
            .await?;
        if rows.is_empty() {
            self.run("CLOSE import").await?;
        }
        Ok(rows)
    }

    /// Ends the transaction and the connection.
    pub async fn close(mut self) -> Result<(), SourceError> {
        self.run("ROLLBACK").await?;
        Ok(self.connection.close().await?)
    }
}
