//! The connector: a checked URL becomes addresses once, only public ones stay, and exactly those
//! are dialled. There is no second look-up that could answer differently (DNS rebinding).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aip_base::DnsError;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::Resolve;
use crate::address::is_public;
use crate::policy::{CheckedUrl, GuardRefusal, Policy, Route, check_uri};

/// How many addresses of one host are tried.
const MAX_ADDRESSES: usize = 4;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Addresses that may be dialled. Only [`addresses_of`] makes them.
#[derive(Debug, PartialEq, Eq)]
struct CheckedAddresses(Vec<SocketAddr>);

/// Opens TCP connections to checked addresses.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    pub(crate) policy: Arc<Policy>,
    pub(crate) resolver: Arc<dyn Resolve>,
}

/// Gives the whole of a connection, TLS included, a time limit.
#[derive(Clone)]
pub(crate) struct WithTimeout<C> {
    pub(crate) inner: C,
    pub(crate) timeout: Duration,
}

/// The URL, looked up once and filtered. Only the development settings lead to other addresses
/// than public ones.
async fn addresses_of(
    url: &CheckedUrl,
    resolver: &dyn Resolve,
) -> Result<CheckedAddresses, BoxError> {
    let found = match url.route() {
        Route::Fixed(address) => return Ok(CheckedAddresses(vec![address])),
        Route::Resolve => resolver.addresses(url.host()).await?,
    };
    if found.is_empty() {
        return Err(DnsError::NoRecord.into());
    }
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found
        .into_iter()
        .filter(|ip| is_public(*ip))
        .partition(IpAddr::is_ipv4);
    // In turns, so that a machine without a working IPv6 (or IPv4) loses one try, not all.
    let mut families = [v4.into_iter(), v6.into_iter()];
    let mut addresses = Vec::new();
    while addresses.len() < MAX_ADDRESSES {
        let before = addresses.len();
        for family in &mut families {
            addresses.extend(family.next().map(|ip| SocketAddr::new(ip, url.port())));
        }
        if addresses.len() == before {
            break;
        }
    }
    if addresses.is_empty() {
        return Err(GuardRefusal::NoPublicAddress(url.host().to_owned()).into());
    }
    Ok(CheckedAddresses(addresses))
}

/// The first connection that `dial` manages to open, each try within `per_address`.
async fn first_connection<T, F>(
    addresses: &CheckedAddresses,
    per_address: Duration,
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &addresses.0 {
        match tokio::time::timeout(per_address, dial(*address)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        /// Leaves time for a second address within the usual connect timeout of 5 s.
        const PER_ADDRESS: Duration = Duration::from_secs(2);
        let Self { policy, resolver } = self.clone();
        Box::pin(async move {
            let url = check_uri(&uri, &policy)?;
            let addresses = addresses_of(&url, &*resolver).await?;
            let stream = first_connection(&addresses, PER_ADDRESS, TcpStream::connect).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

impl<C> Service<Uri> for WithTimeout<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(uri));
        Box::pin(async move {
            connecting
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use url::Url;

    use super::*;
    use crate::check_url;

    /// Answers each look-up with the next entry of its script.
    struct Script(Mutex<Vec<Vec<&'static str>>>);

    #[async_trait]
    impl Resolve for Script {
        async fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, DnsError> {
            let answer = self.0.lock().unwrap().remove(0);
            Ok(answer.into_iter().map(|ip| ip.parse().unwrap()).collect())
        }
    }

    async fn resolve(script: &Script) -> Result<CheckedAddresses, BoxError> {
        let url = Url::parse("https://pds.org/").unwrap();
        addresses_of(&check_url(&url, &Policy::default()).unwrap(), script).await
    }

    fn script(answers: &[&[&'static str]]) -> Script {
        Script(Mutex::new(
            answers.iter().map(|answer| answer.to_vec()).collect(),
        ))
    }

    #[tokio::test]
    async fn a_name_that_only_leads_inside_is_refused() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "::1",
            "fd00:ec2::254",
        ] {
            let error = resolve(&script(&[&[address]])).await.unwrap_err();
            let refusal = error.downcast_ref::<GuardRefusal>();
            assert_eq!(
                refusal,
                Some(&GuardRefusal::NoPublicAddress("pds.org".into())),
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn private_addresses_among_public_ones_are_dropped() {
        let answers = script(&[&["10.0.0.1", "1.1.1.1", "::ffff:10.0.0.1", "2606:4700::1111"]]);
        let expected = ["1.1.1.1:443", "[2606:4700::1111]:443"].map(|a| a.parse().unwrap());
        assert_eq!(
            resolve(&answers).await.unwrap(),
            CheckedAddresses(expected.into())
        );
    }

    #[tokio::test]
    async fn dns_rebinding_finds_no_second_look_up() {
        // The second answer is the attack; every dial uses the first one.
        let answers = script(&[&["1.1.1.1", "1.0.0.1"], &["127.0.0.1"]]);
        let addresses = resolve(&answers).await.unwrap();
        let dialled = Mutex::new(Vec::new());
        let outcome: io::Result<()> =
            first_connection(&addresses, Duration::from_secs(1), |address| {
                dialled.lock().unwrap().push(address.to_string());
                std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()))
            })
            .await;
        assert_eq!(
            outcome.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(*dialled.lock().unwrap(), ["1.1.1.1:443", "1.0.0.1:443"]);
        assert_eq!(
            answers.0.lock().unwrap().len(),
            1,
            "the attack's answer was never asked for"
        );
    }

    #[tokio::test]
    async fn a_long_list_of_addresses_is_cut() {
        let many = ["1.1.1.1"; 50];
        assert_eq!(
            resolve(&script(&[&many])).await.unwrap().0.len(),
            MAX_ADDRESSES
        );
    }
}
