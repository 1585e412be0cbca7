//! A client that writes bytes and reads bytes, so that it can also send what no library would.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Like [`Self::send`]; `false` if the server has closed.
    pub(crate) async fn try_send(&mut self, bytes: &str) -> bool {
        let sent = self.0.write_all(bytes.as_bytes());
        let sent = tokio::time::timeout(DEADLINE, sent).await;
        sent.expect("the server reads or closes").is_ok()
    }

    /// Everything until the server closes.
    pub(crate) async fn read_to_end(&mut self) -> String {
        String::from_utf8(self.read_bytes_to_end().await).unwrap()
    }

    /// Like [`Self::read_to_end`], for what is no text.
    pub(crate) async fn read_bytes_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        // A server that closes before it has read everything resets the connection.
        let _ = tokio::time::timeout(DEADLINE, read)
            .await
            .expect("the server closes the connection");
        bytes
    }

    /// Reads until `end` has come.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let read = async {
            while !text.contains(end) {
                let mut bytes = [0; 1024];
                let count = self.0.read(&mut bytes).await.unwrap();
                assert!(count > 0, "closed after {text:?}");
                text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
        };
        let outcome = tokio::time::timeout(DEADLINE, read).await;
        assert!(outcome.is_ok(), "{end:?} does not come");
        text
    }
}

/// Sends `request` on a new connection and returns everything until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut client = Client::connect(address).await;
    client.send(request).await;
    client.read_to_end().await
}
