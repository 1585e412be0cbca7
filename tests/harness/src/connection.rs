//! One kept-alive HTTP/1.1 connection, as cheap as can be: the load generator shares the machine
//! with the server, so what it spends is missing there.
//!
//! It knows what AIP answers: bodies with a `Content-Length` (RFC 9112 §6.3) and no others.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, in the buffer of its connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status of the answer.
    pub status: u16,
    fields: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

/// Where the parts of an answer are.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    status: u16,
    fields: std::ops::Range<usize>,
    body: std::ops::Range<usize>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // A request is one write: waiting for more of it would be idle time in the figures.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends a request and waits for the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let frame = loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
            if let Some(frame) = Frame::parse(&self.buffer)?
                && frame.body.end <= self.buffer.len()
            {
                break frame;
            }
        };
        ensure!(
            frame.body.end == self.buffer.len(),
            "there is more than the answer"
        );
        Ok(Answer {
            status: frame.status,
            fields: std::str::from_utf8(&self.buffer[frame.fields])?,
            body: &self.buffer[frame.body],
        })
    }
}

impl Frame {
    /// `None` until the whole head is there.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut windows = bytes.windows(END_OF_HEAD.len());
        let Some(end) = windows.position(|window| window == END_OF_HEAD) else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("no status line: {line}"))?;
        let mut length = 0;
        for (name, value) in pairs(fields) {
            if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("the answer has no Content-Length");
            }
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse()?;
            }
        }
        let body = end + END_OF_HEAD.len();
        Ok(Some(Self {
            status,
            fields: end - fields.len()..end,
            body: body..body + length,
        }))
    }
}

impl<'a> Answer<'a> {
    /// The values of a header field.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        pairs(self.fields)
            .filter(move |(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> Result<&'a str> {
        Ok(std::str::from_utf8(self.body)?)
    }

    /// Makes any other status an error that shows the answer.
    pub fn expect(&self, status: u16) -> Result<&Self> {
        if self.status == status {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(self.body);
        bail!("{} instead of {status}: {text}", self.status)
    }
}

fn pairs(fields: &str) -> impl Iterator<Item = (&str, &str)> {
    fields
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

/// A `GET`, ready to be sent. `fields` are lines that end in `\r\n`.
pub fn get(host: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n").into_bytes()
}

/// A `POST` of a form, ready to be sent. `fields` are lines that end in `\r\n`.
pub fn post(host: &str, target: &str, fields: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers every request with the next of these pieces, each its own packet.
    async fn server(answers: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for pieces in answers {
                let mut request = [0; 1024];
                assert_ne!(stream.read(&mut request).await.unwrap(), 0);
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_follow_each_other_on_one_connection() {
        let address = server(vec![
            vec![
                "HTTP/1.1 200 OK\r\nContent-Le",
                "ngth: 5\r\nX: y\r\n\r\nhe",
                "llo",
            ],
            vec!["HTTP/1.1 303 See Other\r\nlocation: /a\r\ncontent-length: 0\r\n\r\n"],
        ])
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        let first = connection.exchange(&get("h", "/", "")).await.unwrap();
        assert_eq!((first.status, first.text().unwrap()), (200, "hello"));
        assert_eq!(first.values("x").collect::<Vec<_>>(), ["y"]);
        first.expect(204).unwrap_err();
        let second = connection.exchange(&post("h", "/", "", "a=b")).await;
        let second = second.unwrap();
        assert_eq!(second.status, 303);
        assert_eq!(second.values("Location").next(), Some("/a"));
        let gone = connection.exchange(&get("h", "/", "")).await;
        gone.unwrap_err();
    }

    #[test]
    fn what_it_does_not_understand_is_an_error_and_no_wrong_figure() {
        Frame::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap_err();
        Frame::parse(b"garbage\r\n\r\n").unwrap_err();
        assert_eq!(Frame::parse(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
    }
}
