//! The real `aip` behind a Gateway: it answers every public path, and the Gateway everything else.

use cluster::{Gateway, NO_ROUTE, get_with};
use http::header::HOST;
use http::{HeaderValue, StatusCode};

use super::aip_project::AipProject;
use crate::endpoints::{endpoint_paths, public_paths};

/// A name of this machine: with another one `aip` would not talk to the stand-ins on it.
const HOST_NAME: &str = "localhost";

/// Public paths with something in place of what varies.
fn public() -> Vec<String> {
    let all = public_paths().into_iter();
    all.map(|public| {
        let below = if public.is_prefix { "/something" } else { "" };
        format!("{}{below}", public.path)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_public_path_answers_behind_a_gateway_and_everything_else_is_not_found() {
    let aip_project = AipProject::new("public", 1).await;
    let gateway = Gateway::start(&aip_project.project.client, "public-edge", None).await;
    let base = format!("http://{}", aip_project.balancer.address());
    aip_project
        .project
        .edit(&base, &format!("http://{HOST_NAME}:8443"));
    aip_project.project.edit(
        "    service: {type: cluster_ip}\n",
        "    trusted_proxies: [127.0.0.0/8]\n    edge:\n      kind: gateway\n      gateway: {name: public-edge, \
         namespace: public-edge, section: https}\n",
    );
    aip_project.up().await.exits(0);
    let ask = async |path: &str| {
        let host = [(HOST, HeaderValue::from_static(HOST_NAME))];
        let answer = get_with(gateway.address("https"), path, &host).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    // Only `aip` numbers requests.
    let is_of_aip =
        |answer: &http::Response<bytes::Bytes>| answer.headers().contains_key("x-request-id");

    let public = public();
    assert!(public.len() > 15, "{public:?}");
    for path in &public {
        let answer = ask(path).await;
        assert!(is_of_aip(&answer), "{path}: {answer:?}");
    }
    for path in [
        "/",
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
    ] {
        assert_eq!(ask(path).await.status(), StatusCode::OK, "{path}");
    }

    let mut private = endpoint_paths();
    private.retain(|path| !public.contains(path));
    assert!(
        private.contains(&"/internal/ready".to_owned()),
        "{private:?}"
    );
    let more = [
        "/metrics",
        "/admin",
        "/admin/clients",
        "/internal",
        "/internal/",
        "//internal/ready",
        "/%69nternal/ready",
        "/xrpc/../internal/ready",
        "/xrpc/%2e%2e/internal/ready",
        "/static/..%2finternal/ready",
        "/internal/ready?/oauth/token",
        "/oauth/token/",
        "/oauth/tokens",
        "/oauth",
        "/xrpcs/a",
        "/.well-known/",
        "/no-such-path",
    ];
    private.extend(more.map(str::to_owned));
    for path in private {
        let answer = ask(&path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!is_of_aip(&answer), "{path}: {answer:?}");
        assert_eq!(answer.body(), NO_ROUTE, "{path}");
    }
}
