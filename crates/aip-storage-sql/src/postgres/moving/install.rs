//! What a move needs in its two databases: a marker, functions, triggers; and their removal.
//!
//! `CREATE TRIGGER` and `DROP TRIGGER` wait for the transactions that use the table, and others wait behind
//! them. So each is a transaction of its own, gives up soon, and is tried again.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::{Instant, sleep};

use super::tables::{ForeignKey, Table, foreign_keys, quoted};
use super::{MoveError, POLL_INTERVAL, WRITE, Worker, begin, source};
use crate::migrations::apply::SchemaDriver as _;

const INSTALL: &str = include_str!("install.sql");
const INSTALL_SOURCE: &str = include_str!("install_source.sql");
const INSTALL_TARGET: &str = include_str!("install_target.sql");

/// How long a change of a table waits for its users, and keeps others waiting.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '300ms'";
/// The same where nobody is kept waiting, and where less has not helped: longer than the usual `deadlock_timeout`
/// (1 s), after which PostgreSQL ends an autovacuum that is in the way.
const LONG_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";
/// How long it is tried.
const LOCK_RETRY_TIME: Duration = Duration::from_mins(2);

/// Makes the marker of the source; the id of the move. That of an earlier process is kept, if there was one and
/// `target_id`, of the marker of the target, is not of another.
pub(super) async fn mark_source(
    worker: &mut Worker,
    fresh_id: &str,
    target_id: Option<&str>,
) -> Result<String, MoveError> {
    let mut tx = worker.begin_unmarked(fresh_id).await.map_err(source)?;
    // A migration that is under way comes to its end, and a later one finds the marker.
    tx.lock_schema().await?;
    let id = insert_source_marker(&mut tx, fresh_id, target_id)
        .await
        .map_err(source)?;
    tx.commit().await.map_err(source)?;
    Ok(id)
}

async fn insert_source_marker(
    tx: &mut PgConnection,
    fresh_id: &str,
    target_id: Option<&str>,
) -> Result<String, sqlx::Error> {
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
    if let Some(row) = row {
        return row.try_get(0);
    }
    insert_marker(tx, fresh_id, "preparing").await?;
    Ok(fresh_id.to_owned())
}

/// Makes the marker of the target.
pub(super) async fn mark_target(worker: &mut Worker, id: &str) -> Result<(), sqlx::Error> {
    let mut tx = worker.begin_unmarked(id).await?;
    sqlx::raw_sql(INSTALL).execute(&mut *tx).await?;
    sqlx::raw_sql(INSTALL_TARGET).execute(&mut *tx).await?;
    insert_marker(&mut tx, id, "receiving").await?;
    tx.commit().await
}

/// Binds the source to the target, which is marked by now: its notes are for that one alone.
pub(super) async fn bind_source(worker: &mut Worker, id: &str) -> Result<(), sqlx::Error> {
    let mut tx = worker.begin(id).await?;
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
pub(super) async fn record_changes(
    worker: &mut Worker,
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
        create_trigger(worker, id, table, "aip_move_note", &create).await?;
    }
    Ok(())
}

/// Lets a database refuse writes while its marker says so.
pub(super) async fn refuse_writes(
    worker: &mut Worker,
    id: &str,
    tables: &[Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let create = format!(
            "CREATE TRIGGER aip_move_refuse BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH STATEMENT
                EXECUTE FUNCTION aip_move_refuse()",
            table.quoted()
        );
        create_trigger(worker, id, table, "aip_move_refuse", &create).await?;
    }
    Ok(())
}

async fn create_trigger(
    worker: &mut Worker,
    id: &str,
    table: &Table,
    trigger: &str,
    create: &str,
) -> Result<(), sqlx::Error> {
    let existing = sqlx::query(
        "SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = $1::regclass AND tgname = $2",
    )
    .bind(table.quoted())
    .bind(trigger.to_owned());
    let mut tx = begin(worker, id, WRITE).await?;
    let existing = existing.fetch_optional(&mut *tx).await?;
    tx.rollback().await?;
    match existing {
        Some(_) => Ok(()),
        None => lock_with_retries(worker, id, create).await,
    }
}

/// Drops a trigger of every table, if it is there.
pub(super) async fn drop_trigger(
    worker: &mut Worker,
    id: &str,
    tables: &[Table],
    trigger: &str,
) -> Result<(), sqlx::Error> {
    for table in tables {
        let drop_it = format!("DROP TRIGGER IF EXISTS {trigger} ON {}", table.quoted());
        lock_with_retries(worker, id, &drop_it).await?;
    }
    Ok(())
}

/// Drops the references between the tables of the target, which is filled in any order.
pub(super) async fn drop_foreign_keys(worker: &mut Worker, id: &str) -> Result<(), sqlx::Error> {
    for key in foreign_keys(worker).await? {
        let name = quoted(&key.name);
        let drop_it = format!("ALTER TABLE {} DROP CONSTRAINT {name}", key.relation);
        change_unused_table(worker, id, &drop_it).await?;
    }
    Ok(())
}

/// Makes references as the source has them. Rows that are there are checked by [`validate`].
pub(super) async fn add_foreign_keys(
    worker: &mut Worker,
    id: &str,
    wanted: &[ForeignKey],
) -> Result<(), sqlx::Error> {
    let existing = foreign_keys(worker).await?;
    for key in wanted {
        let is_there = |it: &ForeignKey| it.relation == key.relation && it.name == key.name;
        if existing.iter().any(is_there) {
            continue;
        }
        let (relation, name, definition) = (&key.relation, quoted(&key.name), &key.definition);
        let add = format!("ALTER TABLE {relation} ADD CONSTRAINT {name} {definition} NOT VALID");
        change_unused_table(worker, id, &add).await?;
    }
    Ok(())
}

/// Checks every row against the references. Others go on to write meanwhile.
pub(super) async fn validate(worker: &mut Worker, id: &str) -> Result<(), sqlx::Error> {
    for key in foreign_keys(worker).await? {
        if !key.is_valid {
            let (relation, name) = (&key.relation, quoted(&key.name));
            let validate = format!("ALTER TABLE {relation} VALIDATE CONSTRAINT {name}");
            lock_with_retries(worker, id, &validate).await?;
        }
    }
    Ok(())
}

/// Keeps autovacuum from the tables of the target: it would be in the way of the references, for which the pause
/// has no time, and [`copy`](super::copy) analyses each table itself. The cleanup against wraparound of
/// transaction ids runs nonetheless.
pub(super) async fn stop_autovacuum(
    worker: &mut Worker,
    id: &str,
    tables: &[Table],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let stop = format!(
            "ALTER TABLE {} SET (autovacuum_enabled = false)",
            table.quoted()
        );
        change_unused_table(worker, id, &stop).await?;
    }
    Ok(())
}

/// Lets autovacuum at those tables again, which are in use by now. Readers and writers go on meanwhile.
pub(super) async fn allow_autovacuum(worker: &mut Worker, id: &str) -> Result<(), sqlx::Error> {
    let mut tx = begin(worker, id, WRITE).await?;
    let rows = sqlx::query(
        "SELECT c.oid::regclass::text AS relation FROM pg_catalog.pg_class c
            WHERE 'autovacuum_enabled=false' = ANY (c.reloptions) AND c.relkind = 'r'
                AND c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;
    for row in rows {
        let relation: String = row.try_get("relation")?;
        let allow = format!("ALTER TABLE {relation} RESET (autovacuum_enabled)");
        lock_with_retries(worker, id, &allow).await?;
    }
    Ok(())
}

/// Runs a statement that locks a table which others use, again while they keep it from that.
async fn lock_with_retries(
    worker: &mut Worker,
    id: &str,
    statement: &str,
) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    loop {
        let is_long = began.elapsed() > LOCK_RETRY_TIME / 2;
        let lock_timeout = if is_long {
            LONG_LOCK_TIMEOUT
        } else {
            LOCK_TIMEOUT
        };
        if try_statement(worker, id, statement, lock_timeout, began).await? {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The same at the target, which nobody uses yet.
async fn change_unused_table(
    worker: &mut Worker,
    id: &str,
    statement: &str,
) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    while !try_statement(worker, id, statement, LONG_LOCK_TIMEOUT, began).await? {
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Whether it is done; an error once that has been tried long enough.
async fn try_statement(
    worker: &mut Worker,
    id: &str,
    statement: &str,
    lock_timeout: &'static str,
    began: Instant,
) -> Result<bool, sqlx::Error> {
    let mut tx = worker.begin(id).await?;
    sqlx::raw_sql(lock_timeout).execute(&mut *tx).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *tx)
        .await;
    match done {
        Ok(_) => {
            tx.commit().await?;
            Ok(true)
        }
        Err(error) if is_locked(&error) && began.elapsed() < LOCK_RETRY_TIME => {
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
