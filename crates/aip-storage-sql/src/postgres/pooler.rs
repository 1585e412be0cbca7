//! Is there a pooler between us and the server, such as `PgBouncer` in transaction mode?
//!
//! Behind one, a statement that was prepared is gone at the next, or is somebody else's of the
//! same name: nothing may be kept. A pooler does not say that it is one, so it is watched.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

/// How often two connections are asked in turns who serves them. An idle pooler serves both with
/// one process at once; a busy one changes it soon.
const TURNS: usize = 6;

/// Whether our connections are not each served by a process of their own.
pub(super) async fn multiplexes(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let connect = || PgConnection::connect_with(options);
    let (mut one, mut other) = tokio::try_join!(connect(), connect())?;
    let first = (server(&mut one).await?, server(&mut other).await?);
    let mut found = first.0 == first.1;
    for _ in 1..TURNS {
        if found {
            break;
        }
        found = first != (server(&mut one).await?, server(&mut other).await?);
    }
    one.close().await?;
    other.close().await?;
    Ok(found)
}

/// The process that serves the connection. Asked without preparing anything.
async fn server(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
