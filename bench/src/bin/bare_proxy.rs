//! The limit of the XRPC proxy: a bare hyper proxy that makes one DPoP proof (ES256) per request, as
//! every PDS demands it, and sends it on over connections that it keeps. It knows no tokens,
//! no scopes and no limits, and logs nothing. It prints its address and runs until it is killed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use aip_base::{Clock as _, SystemClock, SystemRng};
use aip_jose::dpop::Proof;
use aip_jose::{Alg, SigningKey};
use anyhow::{Context as _, Result};
use clap::Parser;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// About as long as the access tokens of the reference PDS.
const TOKEN_BYTES: usize = 640;
const DPOP: HeaderName = HeaderName::from_static("dpop");

#[derive(Parser)]
#[command(about = "Sends every request on with a DPoP proof of its own")]
struct Arguments {
    /// Where to.
    #[arg(long)]
    upstream: SocketAddr,
}

struct Proxy {
    upstream: SocketAddr,
    key: SigningKey,
    token: String,
    client: Client<HttpConnector, Incoming>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    #[allow(
        clippy::disallowed_methods,
        reason = "the limit is what a program without a guard can do"
    )]
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(64)
        .build(connector);
    let proxy = Arc::new(Proxy {
        upstream: arguments.upstream,
        key: SigningKey::generate(Alg::Es256, None)?,
        token: "x".repeat(TOKEN_BYTES),
        client,
    });
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            let service = service_fn(|request| proxy.forward(request));
            // A caller that hangs up ends its connection.
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

impl Proxy {
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
        let target = request.uri().path_and_query().context("no path")?;
        let url = format!("http://{}{target}", self.upstream);
        let proof = Proof {
            htm: request.method().as_str(),
            htu: &url,
            nonce: None,
            access_token: Some(&self.token),
        };
        let proof = proof.make(&self.key, &SystemRng, SystemClock.now())?;
        *request.uri_mut() = url.parse::<Uri>()?;
        let headers = request.headers_mut();
        headers.remove(HOST);
        let token = HeaderValue::from_str(&format!("DPoP {}", self.token))?;
        headers.insert(AUTHORIZATION, token);
        headers.insert(DPOP, HeaderValue::from_str(&proof)?);
        Ok(self.client.request(request).await?)
    }
}
