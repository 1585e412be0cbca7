//! The storage traits on SQLite and PostgreSQL.
//!
//! * [`Database::connect`] → [`Database::migrate`] → [`Database::storage`].
//! * One SQL text: `src/statements` is compiled once for each engine, as a child of `sqlite` and
//!   of `postgres`. The parent gives it the driver and, as macros, the few fragments of SQL that
//!   differ (row locks, the clock of leases, JSON). There is no `if` over engines. What runs statements
//!   (`pool`, `sql`, `row`) is generic over the driver.
//! * Portable types only: `TEXT`, `BIGINT` (microseconds since the epoch), `BYTEA`/`BLOB` and
//!   `BOOLEAN`; `columns` says how domain values lie in them.
//! * One list of migrations (`migrations`), with a text for each engine; a test compares what they
//!   make.
//! * What may happen once is a condition of the statement that does it; a transaction that is
//!   dropped is rolled back. PostgreSQL runs at `READ COMMITTED`, SQLite has one writer.
//! * Connections are used for one statement or transaction at a time (`pool`),
//!   and every statement is added to the [`RequestNotes`](aip_base::RequestNotes) of who asked.

mod authorization_params;
mod client_settings;
mod columns;
mod database;
mod failure;
mod migrations;
mod pool;
mod postgres;
mod row;
mod schema;
mod sql;
mod sqlite;

pub use database::{ConnectError, Database};
pub use failure::DriverError;
pub use postgres::{
    ConnectPgError, DatabaseMove, FollowError, MAX_PAUSE, MoveError, MoveObserver, MovePoint,
    MoveState, MoveStatus, PgOptions, PgStorage, ReplicaFacts, ServerFacts, SwitchResult,
};
pub use schema::{SchemaError, Status, Step};
pub use sqlite::{
    CopiedSessions, CopyError, OpenSqliteError, SqliteStorage, check_database, copy_database,
};

/// How many prepared statements a connection keeps: more than there are.
const STATEMENT_CACHE_SIZE: usize = 256;
