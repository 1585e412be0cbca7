//! What a database says of a failure, in its own words.

use std::fmt;

use sqlx::migrate::MigrateError;

/// A failure of the driver. Its own text goes on to name the line of C code at which PostgreSQL
/// reported it (field `L` of an `ErrorResponse`), which tells nobody anything.
#[derive(Debug)]
pub struct DriverError(sqlx::Error);

impl From<sqlx::Error> for DriverError {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&driver_error_text(&self.0))
    }
}

impl std::error::Error for DriverError {}

fn driver_error_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error.to_string(),
    }
}

/// The same of a migration.
pub(crate) fn of_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => driver_error_text(error),
        MigrateError::ExecuteMigration(error, version) => {
            format!("migration {version}: {}", driver_error_text(error))
        }
        error => error.to_string(),
    }
}
