//! The release before this one works on while this one migrates the database under it, and until
//! the last process has been replaced: a migration adds, and what it takes away nobody uses.
//!
//! `tests/statements` holds the statements of the release before. When a release is made whose
//! schema has grown, its statements are written there under the number of its last migration, and
//! take the place of the older ones.

use std::collections::BTreeMap;

use aip_storage_sql::{Database, PgOptions};

use crate::world::{World, empty_postgres, empty_sqlite, run, strings};

super::on_both_engines!(
    the_statements_of_the_release_before_are_understood,
    the_rows_of_the_release_before_are_accepted,
);

/// The migrations of the release before, and its statements, one a line.
fn release_before(world: &World) -> (String, &'static str) {
    let schema = include_str!("../../migrations/0001_init.sql");
    match world.database {
        Database::Sqlite(_) => (
            schema.to_owned(),
            include_str!("../statements/0001.sqlite.sql"),
        ),
        Database::Postgres(_) => (
            schema.replace("BLOB", "BYTEA"),
            include_str!("../statements/0001.postgres.sql"),
        ),
    }
}

async fn the_statements_of_the_release_before_are_understood(world: World) {
    let (_, statements) = release_before(&world);
    let statements = statements.lines().filter(|line| !line.starts_with("--"));
    let mut count = 0;
    for statement in statements {
        let understood = run(&world.url, statement).await;
        assert!(understood.is_ok(), "{statement}\n{understood:?}");
        count += 1;
    }
    assert!(count > 50, "{count}");
}

async fn the_rows_of_the_release_before_are_accepted(world: World) {
    let (schema, _) = release_before(&world);
    let (url, _directory) = match world.database {
        Database::Sqlite(_) => {
            let (url, directory) = empty_sqlite();
            // Opening makes the file.
            Database::connect(&url.parse().unwrap(), PgOptions::default())
                .await
                .unwrap();
            (url, Some(directory))
        }
        Database::Postgres(_) => (empty_postgres().await, None),
    };
    run(&url, schema).await.unwrap();
    let (then, now) = (columns(&url).await, columns(&world.url).await);
    assert!(then.len() > 100, "{then:?}");

    for (name, column) in &then {
        let kept = now.get(name);
        assert!(
            kept.is_some_and(|it| it.kind == column.kind),
            "{name} is gone or of another type: {kept:?}"
        );
        assert!(
            kept.is_some_and(|it| it.may_be_left_out || !column.may_be_left_out),
            "{name} may not be left out any more"
        );
    }
    for (name, column) in &now {
        let table = name.split_once('.').unwrap().0;
        let old_table = then.keys().any(|it| it.split_once('.').unwrap().0 == table);
        if old_table && !then.contains_key(name) {
            assert!(
                column.may_be_left_out,
                "the release before does not know {name}, which has no default"
            );
        }
    }
}

#[derive(Debug)]
struct Column {
    kind: String,
    may_be_left_out: bool,
}

/// The columns by `table.column`.
async fn columns(url: &str) -> BTreeMap<String, Column> {
    let query = if url.starts_with("sqlite:") {
        "SELECT t.name || '.' || c.name || ' ' || c.type || ' '
                || CASE WHEN c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL
                        THEN 'optional' ELSE 'required' END
         FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
    } else {
        "SELECT table_name || '.' || column_name || ' ' || replace(data_type, ' ', '_') || ' '
                || CASE WHEN is_nullable = 'YES' OR column_default IS NOT NULL
                        THEN 'optional' ELSE 'required' END
         FROM information_schema.columns WHERE table_schema = 'public'"
    };
    let found = strings(url, query).await;
    let columns = found.iter().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, kind, optional] = words[..] else {
            panic!("{line}");
        };
        let column = Column {
            kind: kind.to_owned(),
            may_be_left_out: optional == "optional",
        };
        (name.to_owned(), column)
    });
    columns.collect()
}
