//! PostgreSQL over TLS: with `sslmode=verify-full`, only the server that was meant is talked to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aip_storage_sql::{ConnectError, Database, PgOptions};
use aip_testkit::postgres::TlsCluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

#[tokio::test]
async fn with_verify_full_only_the_server_that_was_meant_is_talked_to() {
    let directory = readable_directory();
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let at = |name: &str| directory.path().join(name);
    write(&at("certificate.pem"), &certificate.pem());
    write(&at("key.pem"), &key.serialize_pem());
    write(&at("trusted.pem"), &authority.pem());
    write(&at("other.pem"), &self::authority().pem());
    let cluster = TlsCluster::start(directory.path()).await;
    let connect = async |host: &str, roots: &str| {
        let url = format!(
            "postgresql+asyncpg://aip@{host}:{}/postgres?sslmode=verify-full&sslrootcert={}",
            cluster.port(),
            at(roots).display()
        );
        Database::connect(&url.parse().unwrap(), PgOptions::default()).await
    };

    let database = connect("localhost", "trusted.pem").await.unwrap();
    database.migrate().await.unwrap();
    database.storage().await.unwrap().ping().await.unwrap();

    for (host, roots) in [
        ("localhost", "other.pem"),
        ("127.0.0.1", "trusted.pem"),
        ("localhost", "missing.pem"),
    ] {
        let refused = connect(host, roots).await.err();
        assert!(
            matches!(refused, Some(ConnectError::Postgres(_))),
            "{host} {roots}: {refused:?}"
        );
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The server runs as another user when the tests run as root.
fn readable_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
}
