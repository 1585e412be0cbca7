//! TLS: servers are believed only with a certificate of a trusted CA for the very name asked for.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aip_base::{DnsError, Fetched, Http, HttpError, Limits};
use aip_outbound::{Development, OperatorHttp, OperatorStreams, Outbound, OutboundConfig, Resolve};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const CA: &[u8] = include_bytes!("tls/ca.pem");

struct NoDns;

#[async_trait]
impl Resolve for NoDns {
    async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
        Err(DnsError::NoRecord)
    }
}

/// A server with the certificate of `pds.test` that answers each connection once.
async fn serve() -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up because of the certificate is what is tested.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
                .await;
        }
    });
    address
}

async fn get(host: &str, bundles: &[&[u8]]) -> Result<Fetched, HttpError> {
    let hosts = [(host.to_owned(), serve().await)].into();
    let config = OutboundConfig {
        extra_ca_pem: bundles.iter().map(|bundle| bundle.to_vec()).collect(),
        development: Some(Development {
            hosts,
            allow_loopback: false,
        }),
        ..OutboundConfig::default()
    };
    let client = Outbound::new(config, Arc::new(NoDns)).unwrap();
    let request = Request::get(format!("https://{host}/"))
        .body(Bytes::new())
        .unwrap();
    client.fetch(request, Limits::DOCUMENT).await
}

#[tokio::test]
async fn a_server_with_a_certificate_of_a_configured_ca_is_believed() {
    assert_eq!(get("pds.test", &[CA]).await.unwrap().body[..], *b"hi");
}

#[tokio::test]
async fn without_the_ca_nothing_is_sent() {
    // Some other trust anchor, so that the client has one at all on a machine without roots.
    let error = get("pds.test", &[include_bytes!("tls/server.pem")])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HttpError::Connect(why) if why.contains("certificate")),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_before_anything_is_sent() {
    let error = get("other.test", &[CA]).await.unwrap_err();
    assert!(
        matches!(&error, HttpError::Connect(why) if why.contains("certificate")),
        "{error}"
    );
}

#[tokio::test]
async fn a_collector_of_the_operator_needs_a_certificate_for_its_name_too() {
    let client = OperatorHttp::new(&[CA.to_vec()]).unwrap();
    let request = Request::get(format!("https://{}/", serve().await));
    let outcome = client.fetch(request.body(Bytes::new()).unwrap(), Limits::DOCUMENT);
    let error = outcome.await.unwrap_err();
    assert!(
        matches!(&error, HttpError::Connect(why) if why.contains("certificate")),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_of_the_operator_needs_a_certificate_for_its_name_too() {
    let address = serve().await;
    let streams = OperatorStreams::new(&[CA.to_vec()]).unwrap();
    let connected = streams.connect("127.0.0.1", address.port(), true).await;
    let error = connected.map(drop).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // Without TLS nothing is checked, as was asked for.
    let plain = streams.connect("127.0.0.1", address.port(), false).await;
    assert!(plain.is_ok());
    let invalid = streams.connect("a host", 1, false).await.map(drop);
    assert_eq!(
        invalid.unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
}
