//! What a move copies: the tables of AIP, by the catalogue of the target, which this program has migrated.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// Logged tables of the schema, but for those that the move and the migrations keep. Unlogged ones (nonces, rate
/// limits, leaders) are empty after a crash of their server, too, and are not moved.
const TABLES: &str = r"SELECT c.relname::text AS name,
    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname) AS columns,
    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attname) AS key
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())
        AND c.relkind = 'r' AND c.relpersistence = 'p'
        AND c.relname NOT LIKE 'aip\_move%' AND c.relname <> 'aip_schema_migrations'
    ORDER BY c.relname";

const FOREIGN_KEYS: &str = "SELECT c.conrelid::regclass::text AS relation, c.conname::text AS name,
    pg_get_constraintdef(c.oid) AS definition, c.convalidated AS is_valid
    FROM pg_catalog.pg_constraint c
    WHERE c.contype = 'f'
        AND c.connamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())
    ORDER BY 1, 2";

/// A table with its columns and those of its primary key, each in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) key: Vec<String>,
}

/// A reference of one table to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub(super) relation: String,
    pub(super) name: String,
    pub(super) definition: String,
    /// Whether every row was checked.
    pub(super) is_valid: bool,
}

/// How many rows there are, and the sum of their digests, which does not depend on their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) rows: i64,
    pub(super) digest: String,
}

impl Table {
    pub(super) fn quoted(&self) -> String {
        quoted(&self.name)
    }

    pub(super) fn column_list(&self) -> String {
        list(&self.columns)
    }

    pub(super) fn key_list(&self) -> String {
        list(&self.key)
    }

    /// The condition that a row has one of the keys of the JSON array `$1`.
    pub(super) fn has_key(&self) -> String {
        let (table, key) = (self.quoted(), self.key_list());
        format!("({key}) IN (SELECT {key} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb))")
    }

    /// What it holds, as [`Content`]; the condition comes behind it. A digest of rows as text: it says the
    /// same at servers of different versions.
    pub(super) fn content(&self) -> String {
        let (table, columns) = (self.quoted(), self.column_list());
        format!(
            "SELECT count(*) AS rows, coalesce(sum(('x' || left(encode(sha256(convert_to(\
             ROW({columns})::text, 'UTF8')), 'hex'), 15))::bit(60)::bigint), 0)::text AS digest FROM {table}"
        )
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let rows = sqlx::query(TABLES).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Table {
                name: row.try_get("name")?,
                columns: row.try_get("columns")?,
                key: row.try_get("key")?,
            })
        })
        .collect()
}

pub(super) async fn foreign_keys(
    connection: &mut PgConnection,
) -> Result<Vec<ForeignKey>, sqlx::Error> {
    let rows = sqlx::query(FOREIGN_KEYS).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ForeignKey {
                relation: row.try_get("relation")?,
                name: row.try_get("name")?,
                definition: row.try_get("definition")?,
                is_valid: row.try_get("is_valid")?,
            })
        })
        .collect()
}

/// What a table holds; with `keys`, a JSON array, the rows with these keys alone.
pub(super) async fn content(
    connection: &mut PgConnection,
    table: &Table,
    keys: Option<&str>,
) -> Result<Content, sqlx::Error> {
    let statement = match keys {
        None => table.content(),
        Some(_) => format!("{} WHERE {}", table.content(), table.has_key()),
    };
    let mut query = sqlx::query(AssertSqlSafe(statement));
    if let Some(keys) = keys {
        query = query.bind(keys.to_owned());
    }
    let row = query.fetch_one(connection).await?;
    Ok(Content {
        rows: row.try_get("rows")?,
        digest: row.try_get("digest")?,
    })
}

pub(super) async fn count(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<i64, sqlx::Error> {
    let statement = format!("SELECT count(*) FROM {}", table.quoted());
    let row = sqlx::query(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}
