//! TLS with a certificate that is replaced while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aip_listen::{ListenConfig, Tls, TlsError, TlsFiles};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::DEADLINE;
use crate::server::Running;

fn certificate(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    folder.join(name)
}

/// A folder with the files of a server, which a test replaces.
struct Files(TempDir);

impl Files {
    fn of(name: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.replace_certificate(name);
        files.replace_key(name);
        files
    }

    fn paths(&self) -> TlsFiles {
        TlsFiles {
            certificates: self.0.path().join("cert.pem"),
            key: self.0.path().join("key.pem"),
        }
    }

    fn replace_certificate(&self, name: &str) {
        let from = certificate(&format!("{name}.cert.pem"));
        std::fs::copy(from, self.paths().certificates).unwrap();
    }

    fn replace_key(&self, name: &str) {
        let from = certificate(&format!("{name}.key.pem"));
        std::fs::copy(from, self.paths().key).unwrap();
    }
}

/// The answer over TLS, when the server's certificate is the named one.
async fn get(server: &Running, trusted: &str) -> Option<String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    get_with(server, trusted, provider).await
}

/// The same of a client with other abilities.
async fn get_with(server: &Running, trusted: &str, provider: CryptoProvider) -> Option<String> {
    let pem = certificate(&format!("{trusted}.cert.pem"));
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pem).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut stream = handshake.await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Some(answer)
}

#[tokio::test]
async fn a_replaced_certificate_is_used_for_the_next_handshake() {
    let files = Files::of("first");
    let tls = Arc::new(Tls::load(files.paths()).unwrap());
    let server = Running::start(ListenConfig::default(), Some(Arc::clone(&tls))).await;
    let answer = get(&server, "first").await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(get(&server, "second").await, None);

    files.replace_certificate("second");
    files.replace_key("second");
    tls.reload().unwrap();
    assert!(get(&server, "second").await.is_some());
    assert_eq!(get(&server, "first").await, None);
}

#[tokio::test]
async fn a_bad_replacement_is_reported_and_the_old_certificate_kept() {
    let files = Files::of("first");
    let tls = Arc::new(Tls::load(files.paths()).unwrap());
    let server = Running::start(ListenConfig::default(), Some(Arc::clone(&tls))).await;
    files.replace_certificate("second");
    assert!(matches!(tls.reload(), Err(TlsError::Pair(_))));
    std::fs::write(files.paths().certificates, "").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::NoCertificate(_))));
    std::fs::remove_file(files.paths().key).unwrap();
    assert!(tls.reload().is_err());
    assert!(get(&server, "first").await.is_some());
}

#[tokio::test]
async fn files_that_change_are_followed_without_being_told() {
    let files = Files::of("first");
    let tls = Arc::new(Tls::load(files.paths()).unwrap());
    let server = Running::start(ListenConfig::default(), Some(Arc::clone(&tls))).await;
    let follower = tokio::spawn(async move { tls.follow_files(Duration::from_millis(10)).await });
    assert!(get(&server, "first").await.is_some());

    files.replace_certificate("second");
    files.replace_key("second");
    let change_seen = async {
        while get(&server, "second").await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, change_seen).await.unwrap();
    follower.abort();
}

#[tokio::test]
async fn of_tls_1_2_only_the_recommended_cipher_suites_are_accepted() {
    let files = Files::of("first");
    let tls = Arc::new(Tls::load(files.paths()).unwrap());
    let server = Running::start(ListenConfig::default(), Some(tls)).await;
    let known = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
    let mut accepted = Vec::new();
    for suite in known {
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        if get_with(&server, "first", provider).await.is_some() {
            accepted.push(suite.suite());
        }
    }
    // The key of the certificate is an elliptic one, so that no suite of RSA fits.
    let recommended = [
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    assert_eq!(accepted, recommended);
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_gets_no_answer() {
    let files = Files::of("first");
    let tls = Arc::new(Tls::load(files.paths()).unwrap());
    let server = Running::start(ListenConfig::default(), Some(tls)).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = crate::client::Client::connect(server.address).await;
    client.send(request).await;
    let mut answer = client.read_bytes_to_end().await;
    // A TLS alert, and nothing of HTTP.
    answer.truncate(1);
    assert_eq!(answer, [21]);
    assert_eq!(server.requests(), 0);
}
