//! PostgreSQL behind a pooler of transactions, `PgBouncer` for one: what it takes away is missed
//! by nobody. The verbs' own stories run behind one, too.

use std::sync::Arc;

use aip_base::SystemRng;
use aip_storage::notices::Notice;
use aip_storage_sql::{Database, PgOptions};
use sqlx::{Connection as _, Row as _};

use crate::world::{World, alice, at_once};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_prepared_on_connections_that_others_get_next() {
    let world = World::pooled().await;
    let client = world.client("app").await;
    at_once(40, |_| {
        let (storage, client) = (Arc::clone(&world.storage), client.clone());
        async move { storage.client(&client).await.unwrap().unwrap() }
    })
    .await;

    let pooled = aip_testkit::postgres::behind_pooler(&world.url).await;
    let options: sqlx::postgres::PgConnectOptions = pooled.parse().unwrap();
    let options = options.extra_float_digits(None);
    for _ in 0..10 {
        let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
        let left = sqlx::raw_sql("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(left.get::<i64, _>(0), 0);
    }
}

#[tokio::test]
async fn a_second_process_behind_the_pooler_finds_the_schema() {
    let world = World::pooled().await;
    let pooled = aip_testkit::postgres::behind_pooler(&world.url).await;
    for _ in 0..3 {
        let database = Database::connect(&pooled.parse().unwrap(), PgOptions::default())
            .await
            .unwrap();
        assert_eq!(database.migrate().await.unwrap(), [] as [i64; 0]);
        database.storage().await.unwrap();
    }
}

#[tokio::test]
async fn notices_are_not_heard_there_and_harm_nobody() {
    let world = World::pooled().await;
    let notices = world.database.notices(Arc::new(SystemRng)).unwrap();
    let _stream = notices.subscribe();
    for _ in 0..20 {
        notices.publish(&Notice::IdentityChanged(alice())).await;
        world.storage.ping().await.unwrap();
    }
}
