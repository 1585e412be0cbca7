//! An answer of AIP, and what a story claims about it: what the caller saw and what the log knew.

use aip_base::Fetched;
use aip_testkit::logs::Captured;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use url::Url;

/// An answer of AIP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How long the body is.
    pub(crate) length: usize,
    text: String,
    /// Where the log stood when the request was sent.
    log_from: usize,
}

impl Answer {
    pub(crate) fn new(fetched: Fetched, log_from: usize) -> Self {
        Self {
            status: fetched.status,
            headers: fetched.headers,
            length: fetched.body.len(),
            text: String::from_utf8_lossy(&fetched.body).into_owned(),
            log_from,
        }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("{} and no JSON: {}", self.status, self.text))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// A header that must be there once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values
            .next()
            .unwrap_or_else(|| panic!("no {name}: {self:?}"));
        assert!(values.next().is_none(), "{name} is repeated: {self:?}");
        value.to_str().unwrap()
    }

    /// What the caller saw: this status and this OAuth or XRPC error.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, error: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.json()["error"], error, "{}", self.text);
        self
    }

    /// What the person saw: an error page with these words, and no way on.
    #[track_caller]
    pub(crate) fn expect_page(&self, status: u16, words: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.header("content-type").starts_with("text/html"));
        assert!(self.text.contains(words), "{}", self.text);
        assert!(!self.headers.contains_key("location"), "{self:?}");
        self
    }

    /// What the log knew: a line of this request has these words.
    #[track_caller]
    pub(crate) fn logged(&self, words: &str) -> &Self {
        let id = self.header("x-request-id");
        let log = Captured::begin().since(self.log_from);
        let lines: Vec<_> = log.lines().filter(|line| line.contains(id)).collect();
        assert!(!lines.is_empty(), "no line for request {id}");
        let knew = lines.iter().any(|line| line.contains(words));
        assert!(knew, "{}", lines.join("\n"));
        self
    }

    /// Where the browser is sent.
    #[track_caller]
    pub(crate) fn location(&self, base: &Url) -> Option<Url> {
        self.headers
            .get("location")
            .map(|it| base.join(it.to_str().unwrap()).unwrap())
    }
}
