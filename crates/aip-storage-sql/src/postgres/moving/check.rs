//! Whether two databases are fit for a move, before anything is changed.

use sqlx::{Connection as _, PgConnection, Row as _};

use super::tables::{count, tables};
use super::{DatabaseMove, MoveError, begun, marker, open, source, target};

/// `server_version_num` of the oldest version that AIP works on.
const OLDEST_VERSION: i32 = 130_000;
/// An advisory lock that is held for a moment: the letters `aip-same`.
const SAME_DATABASE_LOCK_ID: i64 = i64::from_be_bytes(*b"aip-same");

const ALREADY_MOVED: &str = "the database to move was moved already, and refuses writes";
/// What was written since is known to the other target alone.
const MOVING_ELSEWHERE: &str = "the database to move is being moved to another one already: name that one again, or give that \
                     move up with `aip database move cancel`, and then begin this one";

const DATABASE_FACTS: &str = "SELECT
    current_setting('server_version_num')::int4 AS version,
    current_setting('server_version') AS version_text,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS is_replica,
    current_user::text AS user_name,
    current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE') AS may_create,
    ARRAY(SELECT tablename::text FROM pg_catalog.pg_tables
        WHERE schemaname = current_schema() AND NOT pg_has_role(tableowner, 'USAGE')) AS foreign_tables";

/// What a server says about itself and about the rights of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DatabaseFacts {
    version: i32,
    version_text: String,
    encoding: String,
    is_replica: bool,
    user: String,
    may_create: bool,
    /// Tables that belong to others.
    foreign_tables: Vec<String>,
}

/// What the target holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TargetContents {
    /// Nothing, or what this move has put there.
    Nothing,
    /// A table with rows of somebody else.
    Rows { table: String, rows: i64 },
    /// Another move.
    OtherMove,
}

pub(super) async fn check(the_move: &DatabaseMove) -> Result<(), MoveError> {
    the_move.source.status().await?.require_current()?;
    let mut from = open(&the_move.source).await.map_err(source)?;
    let mut to = open(&the_move.target).await.map_err(target)?;
    let mut faults = Vec::new();
    if is_same(&mut from, &mut to).await? {
        faults.push("both URLs lead to the same database: name another one to move to".to_owned());
        return Err(MoveError::Refused(faults));
    }
    let here = facts(&mut from).await.map_err(source)?;
    let there = facts(&mut to).await.map_err(target)?;
    faults.extend(source_faults(&here));
    faults.extend(target_faults(&there, &here.encoding));
    let moving = begun(marker(&mut from).await.map_err(source)?);
    let begun_id = moving.as_ref().map(|it| it.id.clone());
    let state = moving.map(|it| it.state).unwrap_or_default();
    let there = marker(&mut to).await.map_err(target)?.map(|it| it.id);
    if matches!(state.as_str(), "moved" | "copying") && there != begun_id {
        let fault = if state == "moved" {
            ALREADY_MOVED
        } else {
            MOVING_ELSEWHERE
        };
        faults.push(fault.to_owned());
    } else if state != "moved"
        && let Some(fault) = target_contents(&mut to, begun_id.as_deref()).await?.fault()
    {
        faults.push(fault);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(MoveError::Refused(faults))
    }
}

/// Whether a lock that one connection holds is one that the other cannot get.
async fn is_same(from: &mut PgConnection, to: &mut PgConnection) -> Result<bool, MoveError> {
    let mut target_contents = from.begin().await.map_err(source)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(SAME_DATABASE_LOCK_ID)
        .execute(&mut *target_contents)
        .await
        .map_err(source)?;
    let row = sqlx::query("SELECT pg_try_advisory_xact_lock($1)")
        .bind(SAME_DATABASE_LOCK_ID)
        .fetch_one(to)
        .await
        .map_err(target)?;
    target_contents.rollback().await.map_err(source)?;
    let is_free: bool = row.try_get(0).map_err(target)?;
    Ok(!is_free)
}

async fn facts(connection: &mut PgConnection) -> Result<DatabaseFacts, sqlx::Error> {
    let row = sqlx::query(DATABASE_FACTS).fetch_one(connection).await?;
    Ok(DatabaseFacts {
        version: row.try_get("version")?,
        version_text: row.try_get("version_text")?,
        encoding: row.try_get("encoding")?,
        is_replica: row.try_get("is_replica")?,
        user: row.try_get("user_name")?,
        may_create: row.try_get("may_create")?,
        foreign_tables: row.try_get("foreign_tables")?,
    })
}

fn source_faults(facts: &DatabaseFacts) -> Vec<String> {
    let mut faults = Vec::new();
    if facts.is_replica {
        faults.push("the database to move is a replica: name its primary".to_owned());
    }
    faults.extend(rights(facts, "the database to move"));
    faults
}

fn target_faults(facts: &DatabaseFacts, source_encoding: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if facts.version < OLDEST_VERSION {
        faults.push(format!(
            "the server to move to is PostgreSQL {}, and AIP needs 13 or newer: name a newer one",
            facts.version_text
        ));
    }
    if facts.encoding != source_encoding {
        let (encoding, user) = (&facts.encoding, &facts.user);
        faults.push(format!(
            "the database to move to has the encoding {encoding} in place of {source_encoding}: make another \
             one, `CREATE DATABASE NAME OWNER {user} ENCODING '{source_encoding}' TEMPLATE template0`"
        ));
    }
    if facts.is_replica {
        faults.push("the server to move to is a replica: name its primary".to_owned());
    }
    faults.extend(rights(facts, "the database to move to"));
    faults
}

fn rights(facts: &DatabaseFacts, which: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let user = &facts.user;
    if !facts.may_create {
        faults.push(format!(
            "the user {user} may not make tables in {which}: `GRANT CREATE, USAGE ON SCHEMA public TO {user}`, or \
             make it the owner"
        ));
    }
    if let Some(table) = facts.foreign_tables.first() {
        faults.push(format!(
            "the user {user} does not own the table {table} of {which}: `ALTER TABLE {table} OWNER TO {user}`, \
             and so with {} more",
            facts.foreign_tables.len() - 1
        ));
    }
    faults
}

/// What the target holds besides the move `id`.
async fn target_contents(
    to: &mut PgConnection,
    id: Option<&str>,
) -> Result<TargetContents, MoveError> {
    if let Some(marker) = marker(to).await.map_err(target)? {
        return Ok(if Some(marker.id.as_str()) == id {
            TargetContents::Nothing
        } else {
            TargetContents::OtherMove
        });
    }
    for table in tables(to).await.map_err(target)? {
        let rows = count(to, &table).await.map_err(target)?;
        if rows > 0 {
            let table = table.name;
            return Ok(TargetContents::Rows { table, rows });
        }
    }
    Ok(TargetContents::Nothing)
}

impl TargetContents {
    fn fault(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Rows { table, rows } => Some(format!(
                "the database to move to is not empty ({table} has {rows} row(s)): name an empty one"
            )),
            Self::OtherMove => Some(
                "the database to move to is part of another move: `aip database move cancel` gives it up, or name \
                 an empty one"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> DatabaseFacts {
        DatabaseFacts {
            version: 170_004,
            version_text: "17.4".to_owned(),
            encoding: "UTF8".to_owned(),
            is_replica: false,
            user: "aip".to_owned(),
            may_create: true,
            foreign_tables: Vec::new(),
        }
    }

    #[test]
    fn servers_as_they_should_be_are_fit() {
        assert!(source_faults(&facts()).is_empty());
        assert!(target_faults(&facts(), "UTF8").is_empty());
    }

    #[test]
    fn each_fault_is_reported_with_what_mends_it() {
        let old = DatabaseFacts {
            version: 120_022,
            version_text: "12.22".to_owned(),
            ..facts()
        };
        let latin = DatabaseFacts {
            encoding: "LATIN1".to_owned(),
            ..facts()
        };
        let replica = DatabaseFacts {
            is_replica: true,
            ..facts()
        };
        let guest = DatabaseFacts {
            may_create: false,
            ..facts()
        };
        let stranger = DatabaseFacts {
            foreign_tables: vec!["clients".to_owned(), "codes".to_owned()],
            ..facts()
        };
        for (facts, words) in [
            (&old, "PostgreSQL 12.22, and AIP needs 13"),
            (&latin, "ENCODING 'UTF8' TEMPLATE template0"),
            (&replica, "name its primary"),
            (&guest, "GRANT CREATE, USAGE ON SCHEMA public TO aip"),
            (&stranger, "ALTER TABLE clients OWNER TO aip"),
        ] {
            let faults = target_faults(facts, "UTF8");
            assert!(faults.len() == 1 && faults[0].contains(words), "{faults:?}");
        }
        let all = DatabaseFacts {
            is_replica: true,
            may_create: false,
            ..stranger
        };
        assert_eq!(source_faults(&all).len(), 3);
    }

    #[test]
    fn a_target_that_is_not_empty_is_named_by_its_table() {
        let holds = TargetContents::Rows {
            table: "clients".to_owned(),
            rows: 3,
        };
        assert!(holds.fault().unwrap().contains("clients has 3 row(s)"));
        assert!(
            TargetContents::OtherMove
                .fault()
                .unwrap()
                .contains("cancel")
        );
        assert_eq!(TargetContents::Nothing.fault(), None);
    }
}
