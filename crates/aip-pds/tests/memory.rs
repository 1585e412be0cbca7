//! What strangers can make AIP remember is bounded in bytes. A program of its own, so that its
//! memory is that of this test.
#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Issuer, Origin};
use aip_base::{Body, Clock, DnsError, DnsTxt, Http, HttpError, SystemClock, SystemRng, full};
use aip_pds::{Freshness, MemoryNonces, PdsClient, Resolver, ResolverConfig, Trace};
use async_trait::async_trait;
use http::{Request, Response};
use serde_json::json;

/// How many servers of strangers there are.
const SERVERS: usize = 4096;
/// What the whole program may take.
const MAX_PROGRAM_BYTES: usize = 64 * 1024 * 1024;

/// A network in which every host is an authorization server, and every DID has a document, with as
/// much in it as is read at all.
struct Hostile {
    /// The list in each document, as JSON.
    list: String,
}

impl Hostile {
    fn new(list: usize) -> Self {
        let entry = |number: usize| format!("https://{number:0>200}.pds.example");
        let entries: Vec<String> = (0..list / 225).map(entry).collect();
        let list = json!(entries).to_string();
        Self { list }
    }

    fn document(&self, request: &Request<Body>) -> String {
        let uri = request.uri();
        let (host, path, list) = (uri.host().unwrap_or_default(), uri.path(), &self.list);
        if let Some(did) = path.strip_prefix("/did:") {
            return format!(r#"{{"id":"did:{did}","alsoKnownAs":{list}}}"#);
        }
        let endpoint = |name: &str| format!("https://{host}/{name}?{}", "x".repeat(1900));
        // An issuer that is another becomes the words of an error.
        let lie = if host.starts_with("liar") {
            "x".repeat(5000)
        } else {
            String::new()
        };
        let rest = json!({
            "issuer": format!("https://{host}{lie}"),
            "authorization_endpoint": endpoint("authorize"),
            "token_endpoint": endpoint("token"),
            "pushed_authorization_request_endpoint": endpoint("par"),
            "revocation_endpoint": endpoint("revoke"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["atproto"],
            "dpop_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": true,
            "require_pushed_authorization_requests": true,
            "client_id_metadata_document_supported": true,
        });
        let rest = rest.to_string();
        let open = rest.trim_end_matches('}');
        format!(r#"{open},"protected_resources":{list}}}"#)
    }
}

#[async_trait]
impl Http for Hostile {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        let body = self.document(&request);
        let json = Response::builder().header("content-type", "application/json");
        Ok(json.body(full(body)).unwrap())
    }
}

struct NoDns;

#[async_trait]
impl DnsTxt for NoDns {
    async fn txt(&self, _: &str) -> Result<Vec<String>, DnsError> {
        Err(DnsError::NoRecord)
    }
}

fn client(list: usize) -> PdsClient {
    let http: Arc<dyn Http> = Arc::new(Hostile::new(list));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = ResolverConfig {
        plc: vec![Origin::parse("https://plc.example").unwrap()],
        ..ResolverConfig::default()
    };
    let resolver = Resolver::new(
        Arc::clone(&http),
        Arc::new(NoDns),
        Arc::clone(&clock),
        config,
    );
    let nonces = Arc::new(MemoryNonces::new(100, Arc::clone(&clock)));
    PdsClient::new(http, clock, Arc::new(SystemRng), nonces, Arc::new(resolver))
}

/// The resident memory of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

#[tokio::test]
async fn four_thousand_hostile_servers_and_as_many_accounts_fit_into_64_mb() {
    let before = resident();
    let mut trace = Trace::default();
    let mut kept = Vec::new();
    // Documents of half a megabyte are not read at all; those of the size that is read are cut to
    // what is used.
    for list in [480 * 1024, 50 * 1024] {
        let client = client(list);
        let mut accepted = 0;
        for number in 0..SERVERS {
            let host = if number % 4 == 0 { "liar" } else { "server" };
            let issuer = Issuer::parse(&format!("https://{host}{number}.example")).unwrap();
            trace.steps.clear();
            accepted += usize::from(client.server(&issuer, &mut trace).await.is_ok());
            let told = trace.steps.iter().map(|step| step.to_string().len()).max();
            assert!(told.unwrap_or_default() < 1000, "{told:?}");
            let digits = format!("{number:o}");
            let name: String = digits
                .bytes()
                .map(|it| char::from(it - b'0' + b'b'))
                .collect();
            let did = format!("did:plc:{name:a>24}");
            let did = Did::parse(&did).unwrap();
            let document = client
                .resolver()
                .document(&did, Freshness::Cached, &mut trace);
            drop(document.await);
        }
        let expected = if list > 64 * 1024 { 0 } else { SERVERS * 3 / 4 };
        assert_eq!(accepted, expected);
        kept.push(client);
    }
    let after = resident();
    println!("{} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(after < MAX_PROGRAM_BYTES, "{} KiB", after / 1024);
}
