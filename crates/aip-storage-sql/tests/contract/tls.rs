//! PostgreSQL over TLS: with `sslmode=verify-full`, only the server that was meant is talked to.

use aip_storage_sql::{ConnectError, ConnectPgError, Database, PgOptions};
use aip_testkit::postgres::{TcpCluster, TlsCluster};

async fn connect(url: &str) -> Result<Database, ConnectError> {
    Database::connect(&url.parse().unwrap(), PgOptions::default()).await
}

#[tokio::test]
async fn with_verify_full_only_the_server_that_was_meant_is_talked_to() {
    let cluster = TlsCluster::start().await;
    let url = cluster.url("localhost", "trusted.pem");
    let asyncpg = url.replace("postgresql://", "postgresql+asyncpg://");
    for url in [&url, &asyncpg] {
        let database = connect(url).await.unwrap();
        database.migrate().await.unwrap();
        database.storage().await.unwrap().ping().await.unwrap();
    }

    for (host, authorities) in [("localhost", "other.pem"), ("127.0.0.1", "trusted.pem")] {
        let refused = connect(&cluster.url(host, authorities)).await.err();
        assert!(
            matches!(
                refused,
                Some(ConnectError::Postgres(ConnectPgError::Tls(_)))
            ),
            "{host} {authorities}: {refused:?}"
        );
    }
    let refused = connect(&cluster.url("localhost", "missing.pem"))
        .await
        .err();
    assert!(
        matches!(refused, Some(ConnectError::Postgres(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn with_verify_full_a_server_without_tls_is_not_talked_to() {
    let cluster = TcpCluster::start().await;
    connect(&cluster.url()).await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = connect(&format!("{}?sslmode={mode}", cluster.url())).await;
        assert!(
            matches!(refused, Err(ConnectError::Postgres(ConnectPgError::NoTls))),
            "{mode}: {refused:?}"
        );
    }
}
