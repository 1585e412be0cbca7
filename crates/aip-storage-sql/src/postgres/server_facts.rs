//! What a PostgreSQL server says about itself, for `aip doctor`.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::PgStorage;
use crate::failure::DriverError;

/// `pg_current_wal_lsn()` is refused by a server that is a replica itself.
const SERVER: &str = "SELECT
    current_setting('server_version_num')::int4 AS version,
    current_setting('max_connections')::int4 AS max_connections,
    current_setting('superuser_reserved_connections')::int4 AS reserved,
    (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database())::int4 AS of_database,
    (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user)::int4 AS of_user,
    (SELECT sum(numbackends) FROM pg_catalog.pg_stat_database)::int8 AS in_use,
    pg_is_in_recovery() AS is_replica,
    (SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls,
    coalesce(inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1', true) AS is_local";

const REPLICAS: &str = "SELECT application_name AS name, state, sync_state,
    (EXTRACT(EPOCH FROM replay_lag) * 1000)::int8 AS lag_millis,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::int8 AS lag_bytes
    FROM pg_catalog.pg_stat_replication ORDER BY application_name";

/// A server, as one connection sees it. Behind a pooler, the connection is that of the pooler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`: 150013 is 15.13.
    pub version: u32,
    /// The protocol of the connection, such as `TLSv1.3`; none if it is not encrypted.
    pub tls: Option<String>,
    /// Whether the server is on this machine: a Unix socket, or a loopback address.
    pub is_local: bool,
    /// Whether a pooler gives each transaction another connection.
    pub is_pooled: bool,
    /// Whether it is a replica, which takes no writes.
    pub is_replica: bool,
    /// The most connections that the user can have together: the least of the server's limit without what it
    /// keeps for superusers, and of those of the database and of the user.
    pub allowed_connections: u32,
    /// Connections to all databases of the server at present.
    pub connections_in_use: u64,
    /// Its replicas; none of a replica.
    pub replicas: Vec<ReplicaFacts>,
}

/// A replica, as its primary sees it. A user without the role `pg_monitor` sees that there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaFacts {
    /// `application_name` of the replica.
    pub name: Option<String>,
    /// `streaming`, `catchup`, …
    pub state: Option<String>,
    /// `sync`, `quorum`, `potential` or `async`.
    pub sync_state: Option<String>,
    /// How old the newest commit is that it has replayed, in milliseconds; none of one that has replayed all.
    pub lag_millis: Option<u64>,
    /// How many bytes of the write-ahead log it has yet to replay.
    pub lag_bytes: Option<u64>,
}

impl PgStorage {
    /// Asks the server about itself.
    pub async fn server_facts(&self) -> Result<ServerFacts, DriverError> {
        let mut connection = self.connections.connect_apart().await?;
        // In the simple protocol nothing is prepared, which a pooler would not keep.
        let driver = connection.driver()?;
        let row = sqlx::raw_sql(SERVER).fetch_one(&mut *driver).await?;
        let is_replica: bool = row.try_get("is_replica")?;
        let mut facts = self.facts_of(&row)?;
        if !is_replica {
            let rows = sqlx::raw_sql(REPLICAS).fetch_all(driver).await?;
            let replicas: Result<_, sqlx::Error> = rows.iter().map(replica).collect();
            facts.replicas = replicas?;
        }
        Ok(facts)
    }

    fn facts_of(&self, row: &PgRow) -> Result<ServerFacts, sqlx::Error> {
        let max_connections: i32 = row.try_get("max_connections")?;
        let reserved: i32 = row.try_get("reserved")?;
        // -1 is no limit.
        let limits: [Option<i32>; 2] = [row.try_get("of_database")?, row.try_get("of_user")?];
        let limits = limits.into_iter().flatten().filter(|limit| *limit >= 0);
        let allowed = limits.fold(max_connections.saturating_sub(reserved), i32::min);
        Ok(ServerFacts {
            version: unsigned(row.try_get::<i32, _>("version")?.into())
                .try_into()
                .unwrap_or(u32::MAX),
            tls: row.try_get("tls")?,
            is_local: row.try_get("is_local")?,
            is_pooled: self.pooled,
            is_replica: row.try_get("is_replica")?,
            allowed_connections: u32::try_from(allowed).unwrap_or(0),
            connections_in_use: unsigned(row.try_get("in_use")?),
            replicas: Vec::new(),
        })
    }
}

fn replica(row: &PgRow) -> Result<ReplicaFacts, sqlx::Error> {
    let number =
        |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(unsigned));
    Ok(ReplicaFacts {
        name: row.try_get("name")?,
        state: row.try_get("state")?,
        sync_state: row.try_get("sync_state")?,
        lag_millis: number("lag_millis")?,
        lag_bytes: number("lag_bytes")?,
    })
}

/// None of the numbers is negative, but for a replica that is a moment ahead.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
