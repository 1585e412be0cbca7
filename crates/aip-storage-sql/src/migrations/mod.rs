//! The one list of migrations. A new one is a line here and a file of SQL in `migrations`. SQLite's name
//! for bytes, `BLOB`, is written as PostgreSQL's for that one; a step that differs in more (`in each`) has
//! a file in the folder of each engine.
//!
//! All steps that can run in a transaction do, with their entry in the table of migrations. One that
//! builds an index of a large table under load cannot: `… builds "index_name"` says that its SQL on
//! PostgreSQL is one `CREATE INDEX CONCURRENTLY index_name` (see `postgres::migrate`). SQLite, which
//! one process owns, builds it in the transaction.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::migrate::MigrationType;
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

pub(crate) mod apply;

/// A step of the schema, on both engines.
pub(crate) struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    /// Where it differs in more than the name of bytes.
    postgres: Option<&'static str>,
    /// The index that PostgreSQL builds outside a transaction.
    concurrent_index: Option<&'static str>,
}

/// A step of the schema, on one engine.
pub(crate) struct EngineMigration {
    /// Never asks `sqlx` to begin a transaction: the caller has, or there is none.
    pub(crate) migration: sqlx::migrate::Migration,
    /// The index that it builds outside a transaction.
    pub(crate) concurrent_index: Option<&'static str>,
}

/// `version "name" in "file"`, or `in each "file"`, and where it applies `builds "index"`.
macro_rules! migrations {
    ($($version:literal $name:literal in $($each:ident)? $file:literal $(builds $index:literal)?;)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sqlite: migrations!(@sqlite $($each)? $file),
            postgres: migrations!(@postgres $($each)? $file),
            concurrent_index: migrations!(@index $($index)?),
        }),*]
    };
    (@sqlite $file:literal) => { include_str!(concat!("../../migrations/", $file, ".sql")) };
    (@sqlite each $file:literal) => {
        include_str!(concat!("../../migrations/sqlite/", $file, ".sql"))
    };
    (@postgres $file:literal) => { None };
    (@postgres each $file:literal) => {
        Some(include_str!(concat!("../../migrations/postgres/", $file, ".sql")))
    };
    (@index) => { None };
    (@index $index:literal) => { Some($index) };
}

const MIGRATIONS: &[Migration] = migrations! {
    1 "init" in "0001_init";
    2 "shared state" in each "0002_shared_state";
    3 "app passwords" in "0003_app_passwords";
    4 "key check" in "0004_key_check";
    5 "rejections" in "0005_rejections";
    6 "grants apart" in "0006_grants_apart";
    7 "parallel pages" in "0007_parallel_pages";
    8 "authorization params" in each "0008_authorization_params";
    9 "grant actor" in "0009_grant_actor";
    10 "pushed requests" in "0010_pushed_requests";
    11 "client keys and grants" in "0011_client_keys_and_grants";
    12 "response modes and devices" in "0012_response_modes_and_devices";
    13 "signing key sets" in "0013_signing_key_sets";
    14 "access tokens" in "0014_access_tokens";
    15 "client registration" in "0015_client_registration";
    16 "logout" in "0016_logout";
    17 "client documents" in each "0017_client_documents";
    18 "default atproto proxy" in "0018_default_atproto_proxy";
    19 "imports" in "0019_imports";
    20 "authentication only" in "0020_authentication_only";
    21 "delegations" in "0021_delegations";
    22 "pairwise subjects" in "0022_pairwise_subjects";
    23 "developer tokens" in "0023_developer_tokens";
    24 "account events" in "0024_account_events";
    25 "upstream documents" in "0025_upstream_documents";
    26 "index of exchanged tokens" in each "0026_access_tokens_delegation" builds "access_tokens_delegation";
    27 "client settings" in each "0027_client_settings";
    28 "networks of devices" in "0028_networks_of_devices";
};

/// The migrations of SQLite, in order.
pub(crate) static ON_SQLITE: LazyLock<Vec<EngineMigration>> =
    LazyLock::new(|| MIGRATIONS.iter().map(EngineMigration::on_sqlite).collect());

/// The migrations of PostgreSQL, in order.
pub(crate) static ON_POSTGRES: LazyLock<Vec<EngineMigration>> = LazyLock::new(|| {
    MIGRATIONS
        .iter()
        .map(EngineMigration::on_postgres)
        .collect()
});

impl Migration {
    /// Its SQL on PostgreSQL.
    fn postgres(&self) -> Cow<'static, str> {
        match self.postgres {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.sqlite.replace("BLOB", "BYTEA")),
        }
    }
}

impl EngineMigration {
    fn on_sqlite(of: &Migration) -> Self {
        Self::new(of.version, of.name, of.sqlite, None)
    }

    fn on_postgres(of: &Migration) -> Self {
        Self::new(of.version, of.name, of.postgres(), of.concurrent_index)
    }

    pub(crate) fn new(
        version: i64,
        name: &'static str,
        text: impl Into<Cow<'static, str>>,
        concurrent_index: Option<&'static str>,
    ) -> Self {
        let kind = MigrationType::Simple;
        // What this program is made of, not what anybody says.
        let text = AssertSqlSafe(text.into().into_owned()).into_sql_str();
        Self {
            migration: sqlx::migrate::Migration::new(version, name.into(), kind, text, true),
            concurrent_index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_by_one() {
        let versions = MIGRATIONS.iter().map(|it| it.version);
        assert!(versions.eq((1..).take(MIGRATIONS.len())));
    }

    #[test]
    fn bytes_are_named_as_each_engine_names_them() {
        for step in MIGRATIONS {
            assert!(!step.sqlite.contains("BYTEA"), "{}", step.name);
            assert!(!step.postgres().contains("BLOB"), "{}", step.name);
        }
    }

    #[test]
    fn a_step_outside_a_transaction_is_one_statement_that_builds_its_index() {
        for step in MIGRATIONS {
            let on_postgres = step.postgres();
            let Some(index) = step.concurrent_index else {
                assert!(!on_postgres.contains("CONCURRENTLY"), "{}", step.name);
                continue;
            };
            assert!(
                index
                    .chars()
                    .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')),
                "{index}"
            );
            let text = on_postgres.trim().trim_end_matches(';');
            assert!(!text.contains(';'), "{text}");
            assert!(
                text.contains(&format!("INDEX CONCURRENTLY {index} ON ")),
                "{text}"
            );
            assert!(
                step.sqlite.contains(&format!("INDEX {index} ON ")),
                "{}",
                step.sqlite
            );
        }
    }
}
