//! Migrations as values: which this program knows, which are applied, and whether that fits.

use aip_storage::StorageError;
use sqlx::migrate::{AppliedMigration, MigrateError};

use crate::failure::of_migration;
use crate::migrations::EngineMigration;

/// Where the applied migrations are noted.
pub(crate) const TABLE: &str = "aip_schema_migrations";

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number; the order.
    pub version: i64,
    /// What it does.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// How far the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Every step that this program knows, in order.
    pub steps: Vec<Step>,
}

/// The schema does not fit this program, or could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Migrations are pending.
    #[error("the database lacks {} migration(s): run `aip migrate`", .pending.len())]
    Behind {
        /// The versions to apply.
        pending: Vec<i64>,
    },
    /// The database was migrated by a newer program.
    #[error("the database has migration {version}, which only a newer program knows: run that one")]
    Ahead {
        /// The unknown version.
        version: i64,
    },
    /// An applied migration is not the one that this program carries.
    #[error("migration {version} was applied with another text than this program's")]
    Changed {
        /// Its version.
        version: i64,
    },
    /// The database is copied to another server or from one, and the copy would not have them.
    #[error(
        "the database lacks {} migration(s), and is part of a move to another server that is under way: \
         `aip database move status` shows how far it is, `aip database move cancel` gives it up; run `aip migrate` when \
         it is finished or given up", .pending.len()
    )]
    Moving {
        /// The versions to apply.
        pending: Vec<i64>,
    },
    /// The database is history.
    #[error(
        "the database lacks {} migration(s), and was moved to another server: make the URL of that one \
         AIP_DATABASE_URL (`aip database move status` shows it)", .pending.len()
    )]
    Moved {
        /// The versions to apply.
        pending: Vec<i64>,
    },
    /// Another process migrates, and did not finish in time.
    #[error("another process is migrating this database")]
    Busy,
    /// A step failed; of its transaction nothing was kept. Migrating again goes on there.
    #[error("the migration failed: {0}")]
    Failed(String),
    /// The database does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<MigrateError> for SchemaError {
    fn from(error: MigrateError) -> Self {
        Self::Failed(of_migration(&error))
    }
}

impl Status {
    /// The versions still to be applied.
    pub fn pending(&self) -> Vec<i64> {
        self.steps
            .iter()
            .filter(|step| !step.applied)
            .map(|step| step.version)
            .collect()
    }

    /// Refuses a database that is behind.
    pub fn require_current(&self) -> Result<(), SchemaError> {
        let pending = self.pending();
        if pending.is_empty() {
            Ok(())
        } else {
            Err(SchemaError::Behind { pending })
        }
    }
}

/// Compares the migrations of this program with those of a database.
pub(crate) fn compare(
    known: &[EngineMigration],
    applied: &[AppliedMigration],
) -> Result<Status, SchemaError> {
    for there in applied {
        let version = there.version;
        let Some(here) = known.iter().find(|it| it.migration.version == version) else {
            return Err(SchemaError::Ahead { version });
        };
        if here.migration.checksum != there.checksum {
            return Err(SchemaError::Changed { version });
        }
    }
    let steps = known.iter().map(|it| Step {
        version: it.migration.version,
        name: it.migration.description.to_string(),
        applied: applied
            .iter()
            .any(|there| there.version == it.migration.version),
    });
    Ok(Status {
        steps: steps.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrations(steps: &[(i64, &'static str, &'static str)]) -> Vec<EngineMigration> {
        let steps = steps.iter();
        let of = |&(version, name, text)| EngineMigration::new(version, name, text, None);
        steps.map(of).collect()
    }

    fn known() -> Vec<EngineMigration> {
        migrations(&[(1, "one", "SELECT 1"), (2, "two", "SELECT 2")])
    }

    fn applied(steps: &[(i64, &'static str, &'static str)]) -> Vec<AppliedMigration> {
        let of = |it: &EngineMigration| AppliedMigration {
            version: it.migration.version,
            checksum: it.migration.checksum.clone(),
        };
        migrations(steps).iter().map(of).collect()
    }

    #[test]
    fn a_database_that_is_behind_is_refused_with_what_is_pending() {
        let status = compare(&known(), &applied(&[(1, "one", "SELECT 1")])).unwrap();
        let refused = status.require_current();
        assert!(matches!(refused, Err(SchemaError::Behind { pending }) if pending == [2]));
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let there = applied(&[
            (1, "one", "SELECT 1"),
            (2, "two", "SELECT 2"),
            (3, "three", "SELECT 3"),
        ]);
        assert!(matches!(
            compare(&known(), &there),
            Err(SchemaError::Ahead { version: 3 })
        ));
    }

    #[test]
    fn a_migration_that_was_edited_after_it_was_applied_is_noticed() {
        let there = applied(&[(1, "one", "SELECT 'one'")]);
        assert!(matches!(
            compare(&known(), &there),
            Err(SchemaError::Changed { version: 1 })
        ));
    }
}
