//! The end of a move: what it needed is removed. Or it is given up, and everything is as before.

use sqlx::AssertSqlSafe;

use super::install::{allow_autovacuum, drop_trigger, validate};
use super::tables::{Table, quoted, tables};
use super::{
    DatabaseMove, Marker, MoveError, MoveObserver, MovePoint, Worker, begun, marker, source, target,
};

const DROP_CHANGE_NOTES: &str =
    "DROP TABLE IF EXISTS aip_move_changes; DROP FUNCTION IF EXISTS aip_move_note()";
const DROP_FENCE: &str = "DROP TABLE IF EXISTS aip_move_tables; DROP TABLE IF EXISTS aip_move_keys;
    DROP FUNCTION IF EXISTS aip_move_refuse()";
const DROP_MARKER: &str = "DROP TABLE IF EXISTS aip_move";

pub(super) async fn finish(
    the_move: &DatabaseMove,
    observer: &dyn MoveObserver,
) -> Result<(), MoveError> {
    let mut workers = the_move.workers().await?;
    let here = marker(&mut workers.source).await.map_err(source)?;
    let there = marker(&mut workers.target).await.map_err(target)?;
    let id = match (here, there) {
        (Some(here), Some(there)) if here.id == there.id && there.state == "live" => there.id,
        _ => return Err(MoveError::NotLive),
    };
    let tables = tables(&mut workers.target).await.map_err(target)?;
    let from = &mut workers.source;
    drop_trigger(from, &id, &tables, "aip_move_note")
        .await
        .map_err(source)?;
    run(from, &id, DROP_CHANGE_NOTES.to_owned())
        .await
        .map_err(source)?;
    observer.reached(MovePoint::SourceCleaned).await;
    let to = &mut workers.target;
    allow_autovacuum(to, &id).await.map_err(target)?;
    validate(to, &id).await.map_err(target)?;
    observer.reached(MovePoint::Validated).await;
    drop_trigger(to, &id, &tables, "aip_move_refuse")
        .await
        .map_err(target)?;
    // The marker stays: servers that are started with both URLs find by it which one is in use.
    run(to, &id, DROP_FENCE.to_owned()).await.map_err(target)
}

pub(super) async fn cancel(the_move: &DatabaseMove) -> Result<(), MoveError> {
    let mut workers = the_move.workers().await?;
    let there = marker(&mut workers.target).await.map_err(target)?;
    let from = &mut workers.source;
    let here = begun(marker(from).await.map_err(source)?);
    let is_of_this = |it: &Marker| here.as_ref().is_none_or(|here| here.id == it.id);
    // What is of another move is left as it is: it may be in use, or hold what that move left.
    let there = there.filter(|it| is_of_this(it));
    if there.as_ref().is_some_and(|it| it.state == "live") {
        return Err(MoveError::IsLive);
    }
    let there = there.filter(|it| it.state == "receiving");
    if let Some(here) = here {
        if here.state == "moved" && there.is_none() {
            return Err(MoveError::IsLive);
        }
        let here_tables = tables(from).await.map_err(source)?;
        for trigger in ["aip_move_note", "aip_move_refuse"] {
            drop_trigger(from, &here.id, &here_tables, trigger)
                .await
                .map_err(source)?;
        }
        let all = format!("{DROP_CHANGE_NOTES}; {DROP_FENCE}; {DROP_MARKER}");
        run(from, &here.id, all).await.map_err(source)?;
    }
    if let Some(there) = there {
        let to = &mut workers.target;
        let there_tables = tables(to).await.map_err(target)?;
        empty(to, &there.id, &there_tables).await.map_err(target)?;
    }
    Ok(())
}

/// Drops what the move has put into the target, which was empty.
async fn empty(to: &mut Worker, id: &str, tables: &[Table]) -> Result<(), sqlx::Error> {
    let names: Vec<String> = tables.iter().map(Table::quoted).collect();
    let unlogged = ["nonces", "rate_limits", "leaders", "aip_schema_migrations"];
    let rest: Vec<String> = unlogged.iter().map(|name| quoted(name)).collect();
    let names = [names, rest].concat().join(", ");
    run(
        to,
        id,
        format!("DROP TABLE IF EXISTS {names} CASCADE; {DROP_FENCE}; {DROP_MARKER}"),
    )
    .await
}

/// Runs statements in one transaction.
async fn run(worker: &mut Worker, id: &str, statements: String) -> Result<(), sqlx::Error> {
    let mut tx = worker.begin(id).await?;
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
