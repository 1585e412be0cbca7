//! What a move needs in its two databases: a marker, functions, triggers; and their removal.
//!
//! `CREATE TRIGGER` and `DROP TRIGGER` wait for the transactions that use the table, and others wait behind
//! them. So each is a transaction of its own, gives up soon, and is tried again.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::{Instant, sleep};

use super::tables::{ForeignKey, Table, foreign_keys, quoted};
use super::{POLL_INTERVAL, WRITE, begin};

const INSTALL: &str = include_str!("install.sql");
const INSTALL_SOURCE: &str = include_str!("install_source.sql");
const INSTALL_TARGET: &str = include_str!("install_target.sql");

/// How long a change of a table waits for its users, and keeps others waiting.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '300ms'";
/// The same where nobody is kept waiting, and where less has not helped: longer than the usual `deadlock_timeout`
/// (1 s), after which PostgreSQL ends an autovacuum that is in the way.
const LONG_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";
/// How long it is tried.
const PATIENCE: Duration = Duration::from_mins(2);

/// Makes the marker of the source; the id of the move. That of an earlier process is kept, if there was one and
/// `target_id`, of the marker of the target, is not of another.
pub(super) async fn mark_source(
    connection: &mut PgConnection,
    fresh_id: &str,
    target_id: Option<&str>,
) -> Result<String, sqlx::Error> {
    let mut tx = begin(connection, fresh_id, WRITE).await?;
    sqlx::raw_sql(INSTALL).execute(&mut *tx).await?;
    sqlx::raw_sql(INSTALL_SOURCE).execute(&mut *tx).await?;
    // That of an earlier move, which came to its end here.
    sqlx::raw_sql("DELETE FROM aip_move WHERE state = 'live'")
        .execute(&mut *tx)
        .await?;
    // And that of a process that was killed before it marked its target, or at another target: so no two
    // targets have the same id.
    sqlx::query("DELETE FROM aip_move WHERE state = 'preparing' AND id IS DISTINCT FROM $1")
        .bind(target_id.map(str::to_owned))
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query("SELECT id FROM aip_move")
        .fetch_optional(&mut *tx)
        .await?;
    let id = if let Some(row) = row {
        row.try_get(0)?
    } else {
        insert_marker(&mut tx, fresh_id, "preparing").await?;
        fresh_id.to_owned()
    };
    tx.commit().await?;
    Ok(id)
}

/// Makes the marker of the target.
pub(super) async fn mark_target(
    connection: &mut PgConnection,
    id: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = begin(connection, id, WRITE).await?;
    sqlx::raw_sql(INSTALL).execute(&mut *tx).await?;
    sqlx::raw_sql(INSTALL_TARGET).execute(&mut *tx).await?;
    insert_marker(&mut tx, id, "receiving").await?;
    tx.commit().await
}

/// Binds the source to the target, which is marked by now: its notes are for that one alone.
pub(super) async fn bind_source(
    connection: &mut PgConnection,
    id: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = begin(connection, id, WRITE).await?;
    sqlx::query("UPDATE aip_move SET state = 'copying' WHERE id = $1 AND state = 'preparing'")
        .bind(id.to_owned())
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

async fn insert_marker(
    connection: &mut PgConnection,
    id: &str,
    state: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO aip_move (id, state) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(id.to_owned())
        .bind(state.to_owned())
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets the source note what is written.
pub(super) async fn note_changes(
    connection: &mut PgConnection,
    id: &str,
    tables: &[Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let key: Vec<String> = table
            .key
            .iter()
            .map(|name| format!("'{}'", name.replace('\'', "''")))
            .collect();
        let create = format!(
            "CREATE TRIGGER aip_move_note AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW
                EXECUTE FUNCTION aip_move_note({})",
            table.quoted(),
            key.join(", ")
        );
        create_trigger(connection, id, table, "aip_move_note", &create).await?;
    }
    Ok(())
}

/// Lets a database refuse writes while its marker says so.
pub(super) async fn refuse_writes(
    connection: &mut PgConnection,
    id: &str,
    tables: &[Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let create = format!(
            "CREATE TRIGGER aip_move_refuse BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH STATEMENT
                EXECUTE FUNCTION aip_move_refuse()",
            table.quoted()
        );
        create_trigger(connection, id, table, "aip_move_refuse", &create).await?;
    }
    Ok(())
}

async fn create_trigger(
    connection: &mut PgConnection,
    id: &str,
    table: &Table,
    trigger: &str,
    create: &str,
) -> Result<(), sqlx::Error> {
    let there = sqlx::query(
        "SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = $1::regclass AND tgname = $2",
    )
    .bind(table.quoted())
    .bind(trigger.to_owned());
    let mut tx = begin(connection, id, WRITE).await?;
    let there = there.fetch_optional(&mut *tx).await?;
    tx.rollback().await?;
    match there {
        Some(_) => Ok(()),
        None => patiently(connection, id, create).await,
    }
}

/// Drops a trigger of every table, if it is there.
pub(super) async fn drop_trigger(
    connection: &mut PgConnection,
    id: &str,
    tables: &[Table],
    trigger: &str,
) -> Result<(), sqlx::Error> {
    for table in tables {
        let drop_it = format!("DROP TRIGGER IF EXISTS {trigger} ON {}", table.quoted());
        patiently(connection, id, &drop_it).await?;
    }
    Ok(())
}

/// Drops the references between the tables of the target, which is filled in any order.
pub(super) async fn drop_foreign_keys(
    connection: &mut PgConnection,
    id: &str,
) -> Result<(), sqlx::Error> {
    for key in foreign_keys(connection).await? {
        let name = quoted(&key.name);
        let drop_it = format!("ALTER TABLE {} DROP CONSTRAINT {name}", key.relation);
        unhurriedly(connection, id, &drop_it).await?;
    }
    Ok(())
}

/// Makes references as the source has them. Rows that are there are checked by [`validate`].
pub(super) async fn add_foreign_keys(
    connection: &mut PgConnection,
    id: &str,
    wanted: &[ForeignKey],
) -> Result<(), sqlx::Error> {
    let there = foreign_keys(connection).await?;
    for key in wanted {
        let is_there = |it: &ForeignKey| it.relation == key.relation && it.name == key.name;
        if there.iter().any(is_there) {
            continue;
        }
        let (relation, name, definition) = (&key.relation, quoted(&key.name), &key.definition);
        let add = format!("ALTER TABLE {relation} ADD CONSTRAINT {name} {definition} NOT VALID");
        unhurriedly(connection, id, &add).await?;
    }
    Ok(())
}

/// Checks every row against the references. Others go on to write meanwhile.
pub(super) async fn validate(connection: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    for key in foreign_keys(connection).await? {
        if !key.is_valid {
            let (relation, name) = (&key.relation, quoted(&key.name));
            let validate = format!("ALTER TABLE {relation} VALIDATE CONSTRAINT {name}");
            patiently(connection, id, &validate).await?;
        }
    }
    Ok(())
}

/// Runs a statement that locks a table which others use, again while they keep it from that.
async fn patiently(
    connection: &mut PgConnection,
    id: &str,
    statement: &str,
) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    loop {
        let is_long = began.elapsed() > PATIENCE / 2;
        let lock_timeout = if is_long {
            LONG_LOCK_TIMEOUT
        } else {
            LOCK_TIMEOUT
        };
        if attempt(connection, id, statement, lock_timeout, began).await? {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The same at the target, which nobody uses yet.
async fn unhurriedly(
    connection: &mut PgConnection,
    id: &str,
    statement: &str,
) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    while !attempt(connection, id, statement, LONG_LOCK_TIMEOUT, began).await? {
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Whether it is done; an error once that has been tried long enough.
async fn attempt(
    connection: &mut PgConnection,
    id: &str,
    statement: &str,
    lock_timeout: &'static str,
    began: Instant,
) -> Result<bool, sqlx::Error> {
    let mut tx = begin(connection, id, WRITE).await?;
    sqlx::raw_sql(lock_timeout).execute(&mut *tx).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *tx)
        .await;
    match done {
        Ok(_) => {
            tx.commit().await?;
            Ok(true)
        }
        Err(error) if is_locked(&error) && began.elapsed() < PATIENCE => {
            tx.rollback().await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// `lock_not_available` and `deadlock_detected`.
fn is_locked(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("55P03" | "40P01")),
        _ => false,
    }
}
