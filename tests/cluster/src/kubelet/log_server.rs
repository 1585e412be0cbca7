//! The kubelet's own server, from which the API server fetches logs.
//! `/containerLogs/{namespace}/{pod}/{container}` of
//! <https://kubernetes.io/docs/reference/node/kubelet-endpoints/>

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::logs::{Line, Log, Logs};
use super::time;
use crate::pki::Identity;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What `kubectl logs` can ask for.
#[derive(Default)]
struct LogQuery {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<usize>,
}

/// Listens on a free port of loopback; the task serves for ever.
pub(crate) async fn serve(
    identity: &Identity,
    logs: Logs,
) -> std::io::Result<(u16, impl Future<Output = ()> + use<>)> {
    let tls = TlsAcceptor::from(Arc::new(configuration(identity)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let accept = async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            tokio::spawn(connection(tls.clone(), stream, logs.clone()));
        }
    };
    Ok((port, accept))
}

fn configuration(identity: &Identity) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("our own certificate is valid")],
            key.expect("our own key is valid"),
        )
        .expect("the key belongs to the certificate")
}

async fn connection(tls: TlsAcceptor, stream: TcpStream, logs: Logs) {
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let answer = answer(&request, &logs);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A reader that goes away in the middle is no event.
    let _gone = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, logs: &Logs) -> Response<Body> {
    let query = LogQuery::parse(request.uri().query().unwrap_or_default());
    let path: Vec<&str> = request.uri().path().split('/').collect();
    let log = match path.as_slice() {
        ["", "containerLogs", namespace, pod, container] => {
            logs.get(namespace, pod, container, query.previous)
        }
        _ => None,
    };
    let (status, body) = match log {
        Some(log) => (
            StatusCode::OK,
            StreamBody::new(query.read(log).map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync(),
        ),
        None => (
            StatusCode::NOT_FOUND,
            Full::from("the container has no such log").boxed_unsync(),
        ),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl LogQuery {
    fn parse(query: &str) -> Self {
        let pairs: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let flag = |name| pairs.get(name) == Some(&"true");
        let number = |name| pairs.get(name)?.parse::<usize>().ok();
        let ago = number("sinceSeconds").and_then(|seconds| i64::try_from(seconds).ok());
        let since = ago.and_then(|seconds| {
            time::now()
                .checked_sub(SignedDuration::from_secs(seconds))
                .ok()
        });
        let instant = pairs
            .get("sinceTime")
            .and_then(|time| time.replace("%3A", ":").parse().ok());
        Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            tail: number("tailLines"),
            since: since.or(instant),
            limit: number("limitBytes"),
        }
    }

    /// What there is, and with `follow` what comes until the container has ended.
    fn read(self, log: Log) -> impl Stream<Item = Bytes> {
        let (mut ended, mut lines, next) = log.read(0);
        lines.retain(|line| self.since.is_none_or(|since| line.at >= since));
        if let Some(tail) = self.tail {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        ended |= !self.follow;
        let first = (!lines.is_empty()).then(|| self.text(&lines));
        let changes = log.changes();
        let rest = stream::unfold((log, changes, next, ended, self), async |state| {
            let (log, mut changes, next, ended, query) = state;
            if ended {
                return None;
            }
            loop {
                changes.borrow_and_update();
                let (ended, lines, after) = log.read(next);
                if ended || !lines.is_empty() {
                    let text = query.text(&lines);
                    return Some((text, (log, changes, after, ended, query)));
                }
                changes.changed().await.ok()?;
            }
        });
        stream::iter(first)
            .chain(rest)
            .filter(|text| std::future::ready(!text.is_empty()))
    }

    fn text(&self, lines: &[Line]) -> Bytes {
        let mut text = Vec::new();
        for line in lines {
            if self.timestamps {
                text.extend_from_slice(format!("{} ", line.at).as_bytes());
            }
            text.extend_from_slice(&line.text);
        }
        text.truncate(self.limit.unwrap_or(usize::MAX));
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Log {
        let logs = Logs::default();
        let log = logs.open("ns", "pod", "web");
        for line in text.split_inclusive('\n') {
            log.push(line.into());
        }
        log
    }

    async fn read(query: &str, log: &Log) -> String {
        let chunks: Vec<Bytes> = LogQuery::parse(query).read(log.clone()).collect().await;
        String::from_utf8(chunks.concat()).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_cut_as_asked() {
        let log = log("one\ntwo\nthree");
        assert_eq!(read("", &log).await, "one\ntwo\nthree");
        assert_eq!(read("tailLines=2", &log).await, "two\nthree");
        assert_eq!(read("tailLines=2&limitBytes=5", &log).await, "two\nt");
        assert_eq!(read("sinceTime=2999-01-01T00%3A00%3A00Z", &log).await, "");
        assert_eq!(read("sinceSeconds=60", &log).await, "one\ntwo\nthree");
        let stamped = read("timestamps=true&tailLines=1", &log).await;
        assert!(stamped.ends_with("Z three"), "{stamped}");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_its_container_has_ended() {
        let log = log("one\n");
        let all = read("follow=true", &log);
        let more = async {
            log.push(b"two\n".to_vec());
            log.end();
        };
        assert_eq!(tokio::join!(all, more).0, "one\ntwo\n");
    }

    #[test]
    fn the_log_before_the_last_restart_is_kept() {
        let logs = Logs::default();
        logs.open("ns", "pod", "web").push(b"first".to_vec());
        assert!(logs.get("ns", "pod", "web", true).is_none());
        logs.open("ns", "pod", "web").push(b"second".to_vec());
        let tail = |previous| {
            logs.get("ns", "pod", "web", previous)
                .map(|log| log.tail(1))
        };
        assert_eq!(tail(false).as_deref(), Some("second"));
        assert_eq!(tail(true).as_deref(), Some("first"));
        logs.forget("ns", "pod");
        assert!(tail(false).is_none());
    }
}
