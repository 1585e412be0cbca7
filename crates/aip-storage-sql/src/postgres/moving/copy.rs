//! The first copy of every table, while AIP goes on to write.

use aip_base::{Rng, random_token};
use futures_util::StreamExt as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::changes::{BATCH_CHANGES, apply_batch};
use super::install::{
    bind_source, drop_foreign_keys, mark_source, mark_target, record_changes, refuse_writes,
    stop_autovacuum,
};
use super::tables::{Table, content, tables};
use super::{
    DatabaseMove, MoveError, MoveObserver, MovePoint, Worker, Workers, begin, check, marker,
    source, target,
};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) async fn copy(
    the_move: &DatabaseMove,
    observer: &dyn MoveObserver,
    rng: &dyn Rng,
) -> Result<(), MoveError> {
    let mut workers = the_move.workers().await?;
    let held = marker(&mut workers.target).await.map_err(target)?;
    if held.is_some_and(|it| it.state == "live") {
        return Ok(());
    }
    check::check(the_move).await?;
    observer.reached(MovePoint::Checked).await;
    // The tables are those that this program's migrations make; both sides have them all.
    the_move.target.migrate().await?;
    let (id, tables) = prepare(&mut workers, observer, rng).await?;
    // Whoever migrated it since `check` has done so before it was marked.
    the_move.source.status().await?.require_current()?;
    let Workers {
        source: from,
        target: to,
    } = &mut workers;
    let done = copied(to).await.map_err(target)?;
    let mut bytes = 0;
    for table in tables.iter().filter(|it| !done.contains(&it.name)) {
        copy_table(from, to, &id, table, &mut bytes, observer).await?;
        observer.reached(MovePoint::TableCopied).await;
        while apply_batch(from, to, &id, &tables).await? == BATCH_CHANGES {}
    }
    observer.reached(MovePoint::Copied).await;
    while apply_batch(from, to, &id, &tables).await? == BATCH_CHANGES {}
    observer.reached(MovePoint::Followed).await;
    Ok(())
}

/// Installs what is missing on either side; the id of the move, and the tables. Not to be called once the
/// source is closed, but by who opens the target then.
pub(super) async fn prepare(
    workers: &mut Workers,
    observer: &dyn MoveObserver,
    rng: &dyn Rng,
) -> Result<(String, Vec<Table>), MoveError> {
    let Workers {
        source: from,
        target: to,
    } = workers;
    let tables = tables(to).await.map_err(target)?;
    let fresh = random_token::<12>(rng);
    let there = marker(to).await.map_err(target)?.map(|it| it.id);
    let id = mark_source(from, &fresh, there.as_deref()).await?;
    // The fence is there from the beginning, so that the pause needs no lock of a table.
    refuse_writes(from, &id, &tables).await.map_err(source)?;
    record_changes(from, &id, &tables).await.map_err(source)?;
    observer.reached(MovePoint::SourcePrepared).await;
    mark_target(to, &id).await.map_err(target)?;
    bind_source(from, &id).await.map_err(source)?;
    refuse_writes(to, &id, &tables).await.map_err(target)?;
    stop_autovacuum(to, &id, &tables).await.map_err(target)?;
    drop_foreign_keys(to, &id).await.map_err(target)?;
    observer.reached(MovePoint::TargetPrepared).await;
    Ok((id, tables))
}

/// The names of the tables whose first copy is complete.
pub(super) async fn copied(to: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT name FROM aip_move_tables")
        .fetch_all(to)
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Copies a table as it is at one instant, in one transaction of the target, which ends if both have the same
/// content.
async fn copy_table(
    from: &mut Worker,
    to: &mut Worker,
    id: &str,
    table: &Table,
    bytes: &mut u64,
    observer: &dyn MoveObserver,
) -> Result<(), MoveError> {
    let (name, columns) = (table.quoted(), table.column_list());
    let mut read = begin(from, id, SNAPSHOT).await.map_err(source)?;
    let mut write = to.begin(id).await.map_err(target)?;
    sqlx::raw_sql(AssertSqlSafe(format!("TRUNCATE {name}")))
        .execute(&mut *write)
        .await
        .map_err(target)?;
    let copy_out = format!("COPY (SELECT {columns} FROM {name}) TO STDOUT");
    let copy_in = format!("COPY {name} ({columns}) FROM STDIN");
    let mut rows = read.copy_out_raw(&copy_out).await.map_err(source)?;
    let mut into = write.copy_in_raw(&copy_in).await.map_err(target)?;
    while let Some(chunk) = rows.next().await {
        let chunk = chunk.map_err(source)?;
        *bytes += u64::try_from(chunk.len()).unwrap_or(0);
        into.send(chunk).await.map_err(target)?;
        observer.copied(*bytes);
    }
    drop(rows);
    into.finish().await.map_err(target)?;
    let (here, there) = tokio::join!(
        content(&mut read, table, None),
        content(&mut write, table, None)
    );
    let (here, there) = (here.map_err(source)?, there.map_err(target)?);
    if here != there {
        return Err(MoveError::Differs {
            table: table.name.clone(),
            source_rows: here.rows,
            target_rows: there.rows,
        });
    }
    sqlx::query("INSERT INTO aip_move_tables (name, rows) VALUES ($1, $2)")
        .bind(table.name.clone())
        .bind(there.rows)
        .execute(&mut *write)
        .await
        .map_err(target)?;
    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {name}")))
        .execute(&mut *write)
        .await
        .map_err(target)?;
    write.commit().await.map_err(target)?;
    read.rollback().await.map_err(source)
}
