//! The pause: nobody writes, the rest is copied, both sides are compared, the target takes over.
//!
//! The fence of the source lapses by itself. Before the target is opened the source is closed, while the fence
//! still holds, and what was noted until then is applied: so nothing is lost. If that takes longer than the
//! pause may, the source is opened again: the target is not in use before. Both are done by whoever holds the locks
//! of the move ([`alone`](super::alone)): of two processes that switch, one is overtaken.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{PgConnection, Row as _};
use tokio::time::{Instant, sleep, timeout};

use super::alone::Lock;
use super::changes::{BATCH_CHANGES, apply_batch, array};
use super::copy::copied;
use super::follow::FOLLOW_INTERVAL;
use super::install::{add_foreign_keys, allow_autovacuum, drop_foreign_keys};
use super::tables::{Table, content, count, foreign_keys, tables};
use super::{
    DatabaseMove, MoveError, MoveObserver, MovePoint, SwitchResult, WRITE, Worker, Workers, begin,
    marker, open, source, target,
};

/// What is left of the pause for the last steps, which are short, and for servers to find the target.
const FINAL_STEPS_RESERVE: Duration = Duration::from_secs(2);
/// Between two looks at who writes.
const WRITERS_INTERVAL: Duration = Duration::from_millis(20);
/// What others go by, written by who holds the lock of that side.
const OPEN_TARGET: &str = "UPDATE aip_move SET state = 'live', fenced_until = NULL
    WHERE id = $1 AND state = 'receiving'";
const REOPEN_SOURCE: &str =
    "UPDATE aip_move SET state = CASE state WHEN 'moved' THEN 'copying' ELSE state END, fenced_until = NULL
    WHERE id = $1";
const END_PAUSE_OF_TARGET: &str =
    "UPDATE aip_move SET fenced_until = NULL WHERE id = $1 AND state = 'receiving'";
/// Keys that are compared by one statement.
const COMPARE_BATCH_ROWS: i64 = 5000;

pub(super) async fn switch(
    the_move: &DatabaseMove,
    observer: &dyn MoveObserver,
) -> Result<SwitchResult, MoveError> {
    let mut workers = the_move.workers().await?;
    let here = marker(&mut workers.source).await.map_err(source)?;
    let there = marker(&mut workers.target).await.map_err(target)?;
    let (Some(here), Some(there)) = (here, there) else {
        return Err(MoveError::NotCopied);
    };
    if here.id != there.id {
        return Err(MoveError::NotCopied);
    }
    let id = here.id;
    let tables = tables(&mut workers.target).await.map_err(target)?;
    if there.state == "live" {
        return Ok(SwitchResult {
            paused: Duration::ZERO,
            rows: rows(&mut workers.target, &tables).await.map_err(target)?,
        });
    }
    if here.state == "moved" {
        // An earlier process was killed when it had closed the source.
        let began = Instant::now();
        return open_target(the_move, workers, &id, &tables, began, observer).await;
    }
    let done = copied(&mut workers.target).await.map_err(target)?;
    if !tables.iter().all(|table| done.contains(&table.name)) {
        return Err(MoveError::NotCopied);
    }
    the_move.source.status().await?.require_current()?;
    // Its columns are what is copied and compared.
    if !the_move.target.status().await?.pending().is_empty() {
        return Err(MoveError::SchemaChanged);
    }
    follow(&mut workers, &id, &tables).await?;
    observer.reached(MovePoint::Followed).await;
    let began = Instant::now();
    let most = the_move.pause;
    let paused = pause(&mut workers, &id, &tables, most, observer);
    let paused = match timeout(most.saturating_sub(FINAL_STEPS_RESERVE), paused).await {
        Ok(paused) => paused,
        Err(_) => Err(MoveError::PauseTooLong(most)),
    };
    if let Err(error) = paused {
        // Both lapse by themselves, should this fail.
        let _ = undo_switch(the_move, workers, &id).await;
        return Err(error);
    }
    let is_closed = match close_source(&mut workers.source, &id).await {
        Ok(is_closed) => is_closed,
        Err(error) => {
            // It may be closed, if the answer alone was lost.
            let _ = undo_switch(the_move, workers, &id).await;
            return Err(source(error));
        }
    };
    if !is_closed {
        let _ = undo_switch(the_move, workers, &id).await;
        return Err(MoveError::PauseTooLong(most));
    }
    observer.reached(MovePoint::SourceClosed).await;
    open_target(the_move, workers, &id, &tables, began, observer).await
}

/// Applies notes until few are left.
async fn follow(workers: &mut Workers, id: &str, tables: &[Table]) -> Result<(), MoveError> {
    // An earlier process may have put the references in force, and been killed then.
    drop_foreign_keys(&mut workers.target, id)
        .await
        .map_err(target)?;
    while apply_batch(&mut workers.source, &mut workers.target, id, tables).await? == BATCH_CHANGES
    {
    }
    Ok(())
}

/// Keeps everybody from writing, and brings both sides to the same.
async fn pause(
    workers: &mut Workers,
    id: &str,
    tables: &[Table],
    most: Duration,
    observer: &dyn MoveObserver,
) -> Result<(), MoveError> {
    fence(&mut workers.target, id, most).await.map_err(target)?;
    observer.reached(MovePoint::Announced).await;
    // Every server that follows has looked by then.
    sleep(FOLLOW_INTERVAL * 2).await;
    fence(&mut workers.source, id, most).await.map_err(source)?;
    observer.reached(MovePoint::Fenced).await;
    apply_remaining_changes(workers, id, tables).await?;
    observer.reached(MovePoint::Drained).await;
    compare(workers, id, tables).await?;
    add_target_foreign_keys(workers, id).await?;
    observer.reached(MovePoint::Compared).await;
    Ok(())
}

/// Sets until when a database is fenced, by its own clock.
async fn fence(worker: &mut Worker, id: &str, time: Duration) -> Result<(), sqlx::Error> {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let mut tx = worker.begin(id).await?;
    sqlx::query(
        "UPDATE aip_move SET fenced_until = clock_timestamp() + $1 * interval '1 millisecond'",
    )
    .bind(millis)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Waits for those who were writing when the fence came, and applies every note.
async fn apply_remaining_changes(
    workers: &mut Workers,
    id: &str,
    tables: &[Table],
) -> Result<(), MoveError> {
    let from = &mut workers.source;
    let before = writers(from, id, tables).await.map_err(source)?;
    loop {
        // Who comes after the fence is refused, and soon gone.
        let now = writers(from, id, tables).await.map_err(source)?;
        if now.is_disjoint(&before) {
            break;
        }
        sleep(WRITERS_INTERVAL).await;
    }
    while apply_batch(&mut workers.source, &mut workers.target, id, tables).await? > 0 {}
    Ok(())
}

/// The transactions that write, or have written, one of the tables. A lock of our own would wait for cleanups of
/// the server, too, and others behind it.
async fn writers(
    from: &mut PgConnection,
    id: &str,
    tables: &[Table],
) -> Result<BTreeSet<String>, sqlx::Error> {
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let mut tx = begin(from, id, WRITE).await?;
    let rows = sqlx::query(
        "SELECT DISTINCT l.virtualtransaction AS writer FROM pg_catalog.pg_locks l
            JOIN pg_catalog.pg_class c ON c.oid = l.relation
            WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'RowExclusiveLock'
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                AND c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())
                AND c.relname = ANY ($1)",
    )
    .bind(names)
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;
    rows.iter().map(|row| row.try_get("writer")).collect()
}

/// Compares the number of rows of every table, and the content of those that were written since its copy,
/// which was compared as a whole.
async fn compare(workers: &mut Workers, id: &str, tables: &[Table]) -> Result<(), MoveError> {
    let Workers {
        source: from,
        target: to,
    } = workers;
    let mut from = begin(from, id, WRITE).await.map_err(source)?;
    let mut to = begin(to, id, WRITE).await.map_err(target)?;
    for table in tables {
        let (here, there) = tokio::join!(count(&mut from, table), count(&mut to, table));
        let (here, there) = (here.map_err(source)?, there.map_err(target)?);
        let differs = |source_rows, target_rows| MoveError::Differs {
            table: table.name.clone(),
            source_rows,
            target_rows,
        };
        if here != there {
            return Err(differs(here, there));
        }
        let mut after = String::new();
        loop {
            let keys = keys_after(&mut to, table, &after).await.map_err(target)?;
            let Some(last) = keys.last() else {
                break;
            };
            after.clone_from(last);
            let keys = array(keys.iter().map(String::as_str));
            let (here, there) = tokio::join!(
                content(&mut from, table, Some(&keys)),
                content(&mut to, table, Some(&keys))
            );
            let (here, there) = (here.map_err(source)?, there.map_err(target)?);
            if here != there {
                return Err(differs(here.rows, there.rows));
            }
        }
    }
    from.rollback().await.map_err(source)?;
    to.rollback().await.map_err(target)
}

/// Some of the keys that were copied again, in the order of their text.
async fn keys_after(
    to: &mut PgConnection,
    table: &Table,
    after: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        r#"SELECT key::text AS key FROM aip_move_keys
            WHERE relation = $1 AND key::text COLLATE "C" > $2 ORDER BY key::text COLLATE "C" LIMIT $3"#,
    )
    .bind(table.name.clone())
    .bind(after.to_owned())
    .bind(COMPARE_BATCH_ROWS)
    .fetch_all(to)
    .await?;
    rows.iter().map(|row| row.try_get("key")).collect()
}

/// Puts the references of the source in force at the target.
async fn add_target_foreign_keys(workers: &mut Workers, id: &str) -> Result<(), MoveError> {
    let wanted = foreign_keys(&mut workers.source).await.map_err(source)?;
    add_foreign_keys(&mut workers.target, id, &wanted)
        .await
        .map_err(target)
}

/// From here on the source is written by nobody. Not done (`false`) if its fence has lapsed: what was written
/// since has not been compared, and may be much.
async fn close_source(from: &mut Worker, id: &str) -> Result<bool, sqlx::Error> {
    let mut tx = from.begin(id).await?;
    let closed =
        sqlx::query("UPDATE aip_move SET state = 'moved' WHERE fenced_until > clock_timestamp()")
            .execute(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(closed.rows_affected() == 1)
}

/// Opens the target, when the source is closed. If the target is not like the source before the pause, which `began`
/// then, has lasted too long, the source is opened again.
async fn open_target(
    the_move: &DatabaseMove,
    mut workers: Workers,
    id: &str,
    tables: &[Table],
    began: Instant,
    observer: &dyn MoveObserver,
) -> Result<SwitchResult, MoveError> {
    let until = began + the_move.pause;
    let followed = timeout(
        until.saturating_duration_since(Instant::now()),
        follow_to_the_end(&mut workers, id, tables),
    );
    let followed = followed
        .await
        .unwrap_or(Err(MoveError::PauseTooLong(the_move.pause)));
    let opening = match followed {
        Ok(()) => {
            let opening = workers.target.lock().change_marker(OPEN_TARGET, id);
            opening.await.map_err(target)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = opening {
        // If this fails, the source stays closed, and another `switch` begins here.
        let _ = undo_switch(the_move, workers, id).await;
        return Err(error);
    }
    // Nothing is undone if this fails: the target may be open, and another `switch` finds out.
    workers.target.lock().commit().await.map_err(target)?;
    let paused = began.elapsed();
    drop(workers);
    observer.reached(MovePoint::Live).await;
    if let Err(error) = allow_autovacuum_again(the_move, id).await {
        tracing::warn!(%error, "autovacuum stays off at the other database until `aip database move finish`");
    }
    let mut to = open(&the_move.target).await.map_err(target)?;
    Ok(SwitchResult {
        paused,
        rows: rows(&mut to, tables).await.map_err(target)?,
    })
}

/// The lock of the target went with the transaction that opened it.
async fn allow_autovacuum_again(the_move: &DatabaseMove, id: &str) -> Result<(), MoveError> {
    let mut workers = the_move.workers().await?;
    allow_autovacuum(&mut workers.target, id)
        .await
        .map_err(target)
}

/// Applies what is left when the source is closed.
async fn follow_to_the_end(
    workers: &mut Workers,
    id: &str,
    tables: &[Table],
) -> Result<(), MoveError> {
    // Notes of who wrote between the end of a fence and the closing, if there are any.
    let mut left = begin(&mut workers.source, id, WRITE)
        .await
        .map_err(source)?;
    let note = sqlx::query("SELECT 1 FROM aip_move_changes LIMIT 1")
        .fetch_optional(&mut *left)
        .await
        .map_err(source)?;
    left.rollback().await.map_err(source)?;
    if note.is_some() {
        drop_foreign_keys(&mut workers.target, id)
            .await
            .map_err(target)?;
    }
    apply_remaining_changes(workers, id, tables).await?;
    if note.is_some() {
        compare(workers, id, tables).await?;
    }
    add_target_foreign_keys(workers, id).await
}

/// Opens the source again, and lets everybody write. The target is not open, and nobody else can open it: the locks
/// of the move are held, or are taken again.
async fn undo_switch(the_move: &DatabaseMove, workers: Workers, id: &str) -> Result<(), MoveError> {
    let (mut of_source, mut of_target) = workers.into_locks();
    if reopen(&mut of_source, &mut of_target, id).await.is_ok() {
        return Ok(());
    }
    drop((of_source, of_target));
    let mut again = the_move.workers().await?;
    let there = marker(&mut again.target).await.map_err(target)?;
    if !there.is_some_and(|it| it.id == id && it.state == "receiving") {
        return Err(MoveError::Overtaken);
    }
    let (mut of_source, mut of_target) = again.into_locks();
    reopen(&mut of_source, &mut of_target, id)
        .await
        .map_err(source)
}

/// The same with the locks, over connections of which nothing is under way.
async fn reopen(of_source: &mut Lock, of_target: &mut Lock, id: &str) -> Result<(), sqlx::Error> {
    of_source.change_marker(REOPEN_SOURCE, id).await?;
    of_source.commit().await?;
    // It lapses by itself, should this fail.
    if of_target
        .change_marker(END_PAUSE_OF_TARGET, id)
        .await
        .is_ok()
    {
        let _ = of_target.commit().await;
    }
    Ok(())
}

async fn rows(connection: &mut PgConnection, tables: &[Table]) -> Result<u64, sqlx::Error> {
    let mut rows = 0;
    for table in tables {
        rows += u64::try_from(count(connection, table).await?).unwrap_or(0);
    }
    Ok(rows)
}
