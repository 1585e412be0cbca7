//! The PDS of the benchmark of the XRPC proxy: a bare hyper server that reads whatever it is sent and
//! answers each method with a body of one size. It checks nothing, so that what is measured is
//! the proxy. It prints its address and runs until it is killed.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A record with a post and its facets, and a page of the records of an account.
const SMALL_BYTES: usize = 2 * 1024;
const LARGE_BYTES: usize = 100 * 1024;
/// The largest blob of Bluesky's own PDSs.
const BLOB_PIECE_BYTES: usize = 64 * 1024;
const BLOB_PIECES: usize = 800;

type Body = BoxBody<Bytes, Infallible>;

#[tokio::main]
async fn main() -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let (small, large) = (json_of(SMALL_BYTES), json_of(LARGE_BYTES));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (small, large) = (small.clone(), large.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &small, &large));
            // A caller that hangs up ends its connection.
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    small: &Bytes,
    large: &Bytes,
) -> Result<Response<Body>, Infallible> {
    let (head, mut sent) = request.into_parts();
    if !sent.is_end_stream() {
        // One that breaks off is noticed by whoever sends it.
        while let Some(Ok(_)) = sent.frame().await {}
    }
    let body = match head.uri.path() {
        "/xrpc/com.atproto.repo.listRecords" => full(large),
        "/xrpc/com.atproto.sync.getBlob" => return Ok(blob()),
        _ => full(small),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::OK;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    Ok(answer)
}

fn full(bytes: &Bytes) -> Body {
    Full::new(bytes.clone()).boxed()
}

/// 50 MiB, of which only a piece is in memory.
fn blob() -> Response<Body> {
    let piece = Bytes::from(vec![b'x'; BLOB_PIECE_BYTES]);
    let pieces = iter(std::iter::repeat_n(piece, BLOB_PIECES)).map(|piece| Ok(Frame::data(piece)));
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(pieces)));
    let length = (BLOB_PIECE_BYTES * BLOB_PIECES).into();
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

/// A JSON object that is so long.
fn json_of(bytes: usize) -> Bytes {
    let frame = r#"{"text":""}"#;
    let text = "x".repeat(bytes - frame.len());
    format!(r#"{{"text":"{text}"}}"#).into()
}
