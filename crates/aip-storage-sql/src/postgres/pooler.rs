//! Is there a pooler between us and the server, such as `PgBouncer` in transaction mode?
//!
//! Behind one, a statement that was prepared is gone at the next, or is somebody else's of the
//! same name: nothing may be kept. A pooler does not say that it is one, so it is watched.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

/// How often two connections are asked in turns who serves them. An idle pooler serves both with
/// one process at once; a busy one changes it soon.
const PROBE_ROUNDS: usize = 6;

/// What was found by watching two connections.
pub(super) struct PoolerProbe {
    /// Whether our connections are not each served by a process of their own.
    pub(super) multiplexed: bool,
    /// One of the two, on which nothing was prepared.
    pub(super) connection: PgConnection,
}

/// Watches who serves two connections.
pub(super) async fn probe(options: &PgConnectOptions) -> Result<PoolerProbe, sqlx::Error> {
    let connect = || PgConnection::connect_with(options);
    let (mut one, mut other) = tokio::try_join!(connect(), connect())?;
    let first = backend_pids(&mut one, &mut other).await?;
    let mut multiplexed = first.0 == first.1;
    for _ in 1..PROBE_ROUNDS {
        if multiplexed {
            break;
        }
        multiplexed = first != backend_pids(&mut one, &mut other).await?;
    }
    other.close().await?;
    Ok(PoolerProbe {
        multiplexed,
        connection: one,
    })
}

/// The processes that serve the two, asked one after the other.
async fn backend_pids(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<(i32, i32), sqlx::Error> {
    Ok((backend_pid(one).await?, backend_pid(other).await?))
}

/// The process that serves the connection. Asked without preparing anything.
async fn backend_pid(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
