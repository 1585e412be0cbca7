//! Statements and rows of the engine that this folder is compiled for.

use aip_base::RowId;

use super::Driver;
use crate::{pool, row, sql as any_engine};

pub(crate) use any_engine::unavailable;
pub(crate) use row::readable;

/// A connection, inside a transaction or not.
pub(crate) type DbConnection = pool::Connection<Driver>;

/// A row as the driver gives it.
pub(crate) type Row = pool::Row<Driver>;

/// A row being read.
pub(crate) type Fields<'r> = row::Fields<'r, Row>;

/// A statement with its values.
pub(crate) type Sql = any_engine::Sql<Driver>;

/// The ids of rows of `table`.
pub(crate) fn ids(table: &'static str, rows: &[Row]) -> Vec<RowId> {
    readable(rows, |row| Fields::of(table, "id", row)?.get("id"))
}

/// Begins a statement; `$1` is the first value bound.
pub(crate) fn sql(text: &'static str) -> Sql {
    Sql::new(text)
}
