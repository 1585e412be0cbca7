//! The loopback HTTP/1.1 server under every stand-in.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use aip_base::{collect, lock};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::Stage;
use super::faults::{Disturbance, Endpoint, Fault, When};
use super::reply::Reply;
use super::request::Received;

/// The largest body a stand-in takes, room for a video.
const MAX_BODY: usize = 128 * 1024 * 1024;

/// What a stand-in says to a request.
pub(crate) trait Service: Send + Sync + 'static {
    /// Where journal and faults of this stand-in are.
    fn stage(&self) -> &Stage;

    /// What the request is for.
    fn endpoint(&self, request: &Received) -> Endpoint;

    /// The honest answer.
    fn answer(&self, endpoint: Endpoint, request: Received) -> impl Future<Output = Reply> + Send;

    /// The answer that demands a (new) nonce.
    fn demand_nonce(&self, endpoint: Endpoint) -> Reply;
}

/// A port of the loopback interface, and whoever answers there.
pub(crate) struct Server<S: Service> {
    address: SocketAddr,
    service: Arc<S>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// The connection is closed instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped")]
struct Dropped;

/// Takes a free port of the loopback interface, or the given one.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

impl<S: Service> Server<S> {
    pub(crate) fn start(listener: TcpListener, service: Arc<S>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&service)));
        Ok(Self {
            address,
            service,
            accepting: Mutex::new(Some(accepting)),
        })
    }

    /// Closes the port and every connection. Returns when connecting is refused.
    pub(crate) async fn stop(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // It was cancelled, which is what the join reports.
            let _ = accepting.await;
        }
    }

    /// Opens the same port again.
    pub(crate) async fn resume(&self) -> io::Result<()> {
        let listener = bind(self.address.port()).await?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&self.service)));
        *lock(&self.accepting) = Some(accepting);
        Ok(())
    }
}

impl<S: Service> Drop for Server<S> {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
        self.service.stage().rethrow();
    }
}

/// Connections are children of this task: aborting it closes them all.
async fn accept<S: Service>(listener: TcpListener, service: Arc<S>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, Arc::clone(&service)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<S: Service>(stream: TcpStream, service: Arc<S>) {
    // Only latency suffers when this fails.
    let _ = stream.set_nodelay(true);
    let respond = service_fn(move |request| respond(Arc::clone(&service), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), respond);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection to the sandbox ended early");
    }
}

async fn respond<S: Service>(
    service: Arc<S>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let received = receive(request).await?;
    let endpoint = service.endpoint(&received);
    let stage = service.stage();
    stage.journal.record(endpoint, || received.for_journal());
    let status = Arc::clone(&received.status);
    let reply = act(&service, endpoint, received).await?;
    status.get_or_init(|| reply.status);
    Ok(reply.into_response())
}

async fn act<S: Service>(
    service: &Arc<S>,
    endpoint: Endpoint,
    received: Received,
) -> Result<Reply, Dropped> {
    match service.stage().faults.take(endpoint) {
        None => answer(service, endpoint, received).await,
        Some(Fault::Answer(reply)) => Ok(reply),
        Some(Fault::DemandNonce) => Ok(service.demand_nonce(endpoint)),
        Some(Fault::Rewrite(rewrite)) => {
            let reply = answer(service, endpoint, received).await?;
            Ok(rewrite.apply(reply))
        }
        Some(Fault::Disturb(When::Before, disturbance)) => {
            disturb(disturbance).await?;
            answer(service, endpoint, received).await
        }
        Some(Fault::Disturb(When::After, disturbance)) => {
            let reply = answer(service, endpoint, received).await?;
            if disturbance.loses_answer() {
                service.stage().lost.record(endpoint, || reply.clone());
            }
            disturb(disturbance).await?;
            Ok(reply)
        }
    }
}

/// In a task of its own: like a real server, it goes on when the client hangs up.
async fn answer<S: Service>(
    service: &Arc<S>,
    endpoint: Endpoint,
    received: Received,
) -> Result<Reply, Dropped> {
    let task = Arc::clone(service);
    let answered = tokio::spawn(async move { task.answer(endpoint, received).await }).await;
    answered.map_err(|error| {
        if let Ok(payload) = error.try_into_panic() {
            service.stage().record_panic(payload);
        }
        Dropped
    })
}

async fn disturb(disturbance: Disturbance) -> Result<(), Dropped> {
    match disturbance {
        Disturbance::Drop => return Err(Dropped),
        Disturbance::Hang => std::future::pending().await,
        Disturbance::Delay(by) => tokio::time::sleep(by).await,
        Disturbance::Hold(gate) => gate.pass().await,
    }
    Ok(())
}

async fn receive(request: Request<Incoming>) -> Result<Received, Dropped> {
    let (head, body) = request.into_parts();
    let body = collect(body, MAX_BODY).await.map_err(|_| Dropped)?;
    Ok(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        status: Arc::new(OnceLock::new()),
        looked_at: OnceLock::new(),
    })
}

#[cfg(test)]
mod tests {
    use aip_base::{Http as _, HttpError, Limits};

    use super::*;
    use crate::plain_http::PlainHttp;

    #[derive(Default)]
    struct Defective(Stage);

    impl Service for Defective {
        fn stage(&self) -> &Stage {
            &self.0
        }

        fn endpoint(&self, _: &Received) -> Endpoint {
            Endpoint::Other
        }

        async fn answer(&self, _: Endpoint, _: Received) -> Reply {
            panic!("the stand-in is defective")
        }

        fn demand_nonce(&self, _: Endpoint) -> Reply {
            Reply::text(http::StatusCode::OK, "")
        }
    }

    #[tokio::test]
    #[should_panic(expected = "the stand-in is defective")]
    async fn a_panic_in_a_stand_in_fails_the_test_that_uses_it() {
        let listener = bind(0).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = Server::start(listener, Arc::new(Defective::default())).unwrap();
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let answer = PlainHttp::default().fetch(request, Limits::DOCUMENT).await;
        assert!(matches!(answer, Err(HttpError::Broken(_))));
        drop(server);
    }
}
