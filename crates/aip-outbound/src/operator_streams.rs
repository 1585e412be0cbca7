//! Connections to servers that the operator named, for protocols that are not a request and an answer.
//! As for [`OperatorHttp`](crate::OperatorHttp), there is nothing to guard: nobody else can choose the
//! address.

use std::io;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service as _;

use crate::{OutboundConfigError, tls};

/// A connection, encrypted where that was asked for.
pub type OperatorStream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Opens connections to servers that the operator named.
pub struct OperatorStreams(HttpsConnector<HttpConnector>);

impl OperatorStreams {
    /// Trusts `extra_ca_pem` besides the system's certificates.
    pub fn new(extra_ca_pem: &[Vec<u8>]) -> Result<Self, OutboundConfigError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(extra_ca_pem)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(connector))
    }

    /// Connects to `host` (a name, or an address, an IPv6 address in brackets) with TLS or without. Takes
    /// as long as it takes: the caller has a time limit.
    pub async fn connect(&self, host: &str, port: u16, tls: bool) -> io::Result<OperatorStream> {
        let uri = Uri::builder()
            .scheme(if tls { "https" } else { "http" })
            .authority(format!("{host}:{port}"))
            .path_and_query("/")
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connected = self.0.clone().call(uri).await;
        connected.map(TokioIo::new).map_err(io::Error::other)
    }
}
