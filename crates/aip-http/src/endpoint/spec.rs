//! What is said of each endpoint. Router, preflights, `Allow`, discovery and reference read it.

/// A method that an endpoint takes. `GET` brings `HEAD` with it, and every endpoint `OPTIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `GET` and `HEAD`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
}

/// Whether scripts of other origins may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cors {
    /// From any origin, always without cookies.
    AnyOrigin,
    /// No: people come here by navigation only.
    SameOrigin,
}

/// Who may keep a successful answer. Errors are never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Nobody.
    NoStore,
    /// Everybody, for some minutes.
    Minutes(u32),
    /// Everybody, for ever: the name changes with the content.
    Immutable,
    /// The caller itself, if it asks each time whether the answer still holds (RFC 9111 §5.2.2):
    /// what a PDS says to one account is for nobody else, whatever the PDS says of caching.
    Private,
}

/// What an error looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// A page for people.
    Page,
    /// RFC 6749 §5.2: `error` and `error_description`.
    OAuth,
    /// AT Protocol XRPC: `error` and `message`.
    Xrpc,
}

/// What may be sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a body is not read.
    Nothing,
    /// A form of at most 64 KiB.
    Form,
    /// JSON of at most 64 KiB.
    Json,
    /// Anything; it streams through.
    Stream,
}

/// The most bytes of a form or of JSON.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;

/// All that the rest derives from.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about an endpoint"
)]
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The path, in the router's notation.
    pub path: &'static str,
    /// The methods.
    pub verbs: &'static [Verb],
    /// Scripts of other origins.
    pub cors: Cors,
    /// Who may keep the answer.
    pub cache: CachePolicy,
    /// What errors look like.
    pub errors: ErrorFormat,
    /// What is read of a request.
    pub payload: Payload,
    /// Whether answering a `GET` changes or asks nothing, here or elsewhere. Otherwise a `HEAD` is
    /// answered without looking at it: it has no effect (RFC 9110 §9.2.1).
    pub inert: bool,
    /// Whether clients authenticate here, so that those who guess are slowed down.
    pub clients: bool,
    /// Whether the parameters of requests name a client, whose document may have to be read first.
    pub names_client: bool,
    /// Whether it is one of the paths of AIP v1, which are mounted with `compat.v1` alone.
    pub is_of_v1: bool,
    /// Whether the gateway or ingress of a deployment leads here. What is not public is answered by
    /// this listener all the same, to those who reach a Pod.
    pub public: bool,
    /// The member of the discovery document that holds the URL of this endpoint.
    pub metadata: Option<&'static str>,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Where it is specified.
    pub standard: &'static str,
}

impl Spec {
    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for verb in self.verbs {
            methods.extend(match verb {
                Verb::Get => ["GET", "HEAD"].as_slice(),
                Verb::Post => ["POST"].as_slice(),
                Verb::Put => ["PUT"].as_slice(),
                Verb::Delete => ["DELETE"].as_slice(),
            });
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }

    /// Whether `method` is among the methods, `OPTIONS` aside.
    pub(crate) fn allows_method(&self, method: &http::Method) -> bool {
        self.verbs.iter().any(|verb| match verb {
            Verb::Get => method == http::Method::GET || method == http::Method::HEAD,
            Verb::Post => method == http::Method::POST,
            Verb::Put => method == http::Method::PUT,
            Verb::Delete => method == http::Method::DELETE,
        })
    }
}
