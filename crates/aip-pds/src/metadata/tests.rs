//! Tables of metadata documents that must not be accepted.

use std::sync::Arc;

use aip_atproto::Origin;
use serde_json::{Value, json};

use super::{AuthServer, MetadataCheck, MetadataError};
use crate::testing::{AUTH, Answer, PDS, World, answer, json, resource_metadata, server_metadata};
use crate::trace::Trace;

const RESOURCE: &str = "https://pds.org/.well-known/oauth-protected-resource";
const SERVER: &str = "https://auth.org/.well-known/oauth-authorization-server";

async fn server_of_pds(world: &World) -> Result<Arc<AuthServer>, MetadataError> {
    world
        .client
        .server_of_pds(&Origin::parse(PDS).unwrap(), &mut Trace::default())
        .await
}

async fn with_resource(respond: impl Fn() -> Answer + Send + 'static) -> MetadataError {
    let world = World::with_alice();
    world.network.now(RESOURCE, respond);
    server_of_pds(&world).await.unwrap_err()
}

/// The error for server metadata of which `member` was changed to `value` (null: removed).
async fn with_server(member: &str, value: Value) -> Result<Arc<AuthServer>, MetadataError> {
    let world = World::with_alice();
    let mut document = server_metadata(AUTH);
    document[member] = value;
    world.network.now(SERVER, json(&document));
    server_of_pds(&world).await
}

fn check_of(error: MetadataError) -> MetadataCheck {
    match error {
        MetadataError::Check { check, .. } => check,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_pds_leads_to_its_authorization_server() {
    let server = server_of_pds(&World::with_alice()).await.unwrap();
    assert_eq!(server.issuer.as_str(), AUTH);
    assert_eq!(
        server.token_endpoint.as_str(),
        "https://auth.org/oauth/token"
    );
}

#[tokio::test]
async fn what_a_document_says_is_cut_before_it_is_in_an_error() {
    let long = format!("https://auth.org/{}", "x".repeat(40_000));
    let endpoint = with_server("token_endpoint", json!(long))
        .await
        .unwrap_err();
    assert!(
        endpoint.to_string().contains("longer than 2048 bytes"),
        "{endpoint}"
    );
    for error in [
        endpoint,
        with_server("issuer", json!(long)).await.unwrap_err(),
        with_server("scopes_supported", json!(long))
            .await
            .unwrap_err(),
        with_resource(json(&resource_metadata(&long, AUTH))).await,
        with_resource(json(&resource_metadata(PDS, &long))).await,
        with_resource(|| answer(200, "{}", &[("content-encoding", "gzip")])).await,
    ] {
        let message = error.to_string();
        assert!(
            message.len() < 500,
            "{} bytes: {}",
            message.len(),
            &message[..300]
        );
    }
    let zipped = with_resource(|| answer(200, "{}", &[("content-encoding", "gzip")])).await;
    assert!(
        zipped.to_string().contains("Content-Encoding: gzip"),
        "{zipped}"
    );
}

#[tokio::test]
async fn wrong_resource_metadata_is_refused() {
    use MetadataCheck as C;
    let two = json!({ "resource": PDS, "authorization_servers": [AUTH, "https://other.org"] });
    for (document, check) in [
        (two, C::ServerCount(2)),
        (json!({ "resource": PDS }), C::ServerCount(0)),
        (
            resource_metadata(PDS, "http://auth.org"),
            C::Server("http://auth.org".into()),
        ),
        (
            resource_metadata(PDS, "https://auth.org/as"),
            C::Server("https://auth.org/as".into()),
        ),
        (
            resource_metadata(PDS, "https://auth.org/"),
            C::Server("https://auth.org/".into()),
        ),
        (
            resource_metadata(PDS, "https://auth.org:443"),
            C::Server("https://auth.org:443".into()),
        ),
        (
            resource_metadata("https://other.org", AUTH),
            C::Resource("https://other.org".into()),
        ),
    ] {
        let error = with_resource(json(&document)).await;
        assert!(!error.is_transient());
        assert_eq!(check_of(error), check, "{document}");
    }
}

#[tokio::test]
async fn redirects_other_statuses_and_pages_are_not_metadata() {
    let body = resource_metadata(PDS, AUTH).to_string();
    for status in [201, 203, 301, 302, 307, 403, 404, 500, 503] {
        let body = body.clone();
        let location = [("location", "https://elsewhere.org/")];
        let error = with_resource(move || answer(status, &body, &location)).await;
        assert_eq!(
            error,
            MetadataError::Status {
                url: RESOURCE.to_owned(),
                status
            }
        );
        assert!(error.is_transient());
    }
    let html = [("content-type", "text/html")];
    let error = with_resource(move || answer(200, &body, &html)).await;
    assert!(matches!(error, MetadataError::Malformed { .. }), "{error}");
    let page = with_resource(|| answer(200, "<html>", &[])).await;
    assert!(matches!(page, MetadataError::Malformed { .. }), "{page}");
}

#[tokio::test]
async fn hostile_json_is_an_error_and_nothing_more() {
    let duplicate_member =
        format!(r#"{{"resource":"{PDS}","resource":"{PDS}","authorization_servers":["{AUTH}"]}}"#);
    let deep = "[".repeat(100_000);
    let huge = format!(r#"{{"resource":{}}}"#, "9".repeat(10_000));
    for body in [
        duplicate_member,
        deep,
        huge,
        "\u{0}".to_owned(),
        String::new(),
        "null".to_owned(),
    ] {
        let error = with_resource(move || answer(200, &body, &[])).await;
        assert!(matches!(error, MetadataError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_pds_without_resource_metadata_may_be_its_own_server() {
    let world = World::with_alice();
    world.network.now(RESOURCE, || answer(404, "", &[]));
    world.network.on(
        &format!("{PDS}/.well-known/oauth-authorization-server"),
        json(&server_metadata(PDS)),
    );
    assert_eq!(server_of_pds(&world).await.unwrap().issuer.as_str(), PDS);
}

#[tokio::test]
async fn an_issuer_other_than_the_origin_is_refused() {
    for issuer in [
        "https://evil.org",
        "https://auth.org/",
        "https://AUTH.org",
        "http://auth.org",
    ] {
        let error = with_server("issuer", issuer.into()).await.unwrap_err();
        assert_eq!(check_of(error), MetadataCheck::Issuer(issuer.to_owned()));
    }
}

#[tokio::test]
async fn endpoints_that_lead_inside_or_are_not_https_are_refused() {
    let members = [
        "authorization_endpoint",
        "token_endpoint",
        "pushed_authorization_request_endpoint",
        "revocation_endpoint",
    ];
    for field in members {
        for (url, reason) in [
            ("http://auth.org/x", "it is not https"),
            ("javascript:alert(1)", "it is not https"),
            ("https://127.0.0.1/x", "its host is not a public name"),
            (
                "https://169.254.169.254/latest",
                "its host is not a public name",
            ),
            ("https://[::1]/x", "its host is not a public name"),
            ("https://2130706433/x", "its host is not a public name"),
            ("https://localhost/x", "its host is not a public name"),
            ("https://user:pw@auth.org/x", "it contains credentials"),
            ("https://auth.org/x#y", "it contains a fragment"),
            ("/oauth/x", "not a URL"),
        ] {
            let error = with_server(field, url.into()).await.unwrap_err();
            assert_eq!(
                check_of(error),
                MetadataCheck::Endpoint { field, reason },
                "{url}"
            );
        }
    }
    for field in &members[..3] {
        let error = with_server(field, Value::Null).await.unwrap_err();
        let reason = "it is missing";
        assert_eq!(check_of(error), MetadataCheck::Endpoint { field, reason });
    }
    let without_revocation = with_server("revocation_endpoint", Value::Null)
        .await
        .unwrap();
    assert_eq!(without_revocation.revocation_endpoint, None);
}

#[tokio::test]
async fn every_capability_of_the_profile_is_required() {
    for (field, lacking) in [
        ("response_types_supported", json!(["token"])),
        ("grant_types_supported", json!(["authorization_code"])),
        ("grant_types_supported", json!(["refresh_token"])),
        ("code_challenge_methods_supported", json!(["plain"])),
        ("token_endpoint_auth_methods_supported", json!(["none"])),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            json!(["RS256"]),
        ),
        ("scopes_supported", json!(["transition:generic"])),
        ("dpop_signing_alg_values_supported", json!([])),
    ] {
        for value in [lacking, Value::Null] {
            let check = check_of(with_server(field, value.clone()).await.unwrap_err());
            let lacks =
                matches!(check, MetadataCheck::Lacks { field: found, .. } if found == field);
            assert!(lacks, "{field}: {value}: {check}");
        }
    }
    let with_none = json!(["ES256", "none"]);
    let field = "token_endpoint_auth_signing_alg_values_supported";
    let check = check_of(with_server(field, with_none).await.unwrap_err());
    assert_eq!(
        check,
        MetadataCheck::Contains {
            field,
            value: "none"
        }
    );
    for field in [
        "authorization_response_iss_parameter_supported",
        "require_pushed_authorization_requests",
        "client_id_metadata_document_supported",
    ] {
        for value in [json!(false), Value::Null] {
            let check = check_of(with_server(field, value).await.unwrap_err());
            assert_eq!(check, MetadataCheck::WrongBoolean(field));
        }
    }
    let check = check_of(
        with_server("require_request_uri_registration", false.into())
            .await
            .unwrap_err(),
    );
    assert_eq!(
        check,
        MetadataCheck::WrongBoolean("require_request_uri_registration")
    );
}

#[tokio::test]
async fn a_server_that_lists_its_resources_must_list_the_pds() {
    let listed = json!(["https://x.org", PDS]);
    assert!(with_server("protected_resources", listed).await.is_ok());
    let check = check_of(
        with_server("protected_resources", json!(["https://x.org"]))
            .await
            .unwrap_err(),
    );
    assert_eq!(check, MetadataCheck::NotServed(PDS.to_owned()));
}

#[tokio::test]
async fn in_development_a_plain_http_loopback_server_is_usable_and_stays_on_loopback() {
    let pds = "http://localhost:2583";
    let metadata = format!("{pds}/.well-known/oauth-authorization-server");
    let origin = Origin::parse(pds).unwrap();
    let world = World::new();
    world.network.on(
        &format!("{pds}/.well-known/oauth-protected-resource"),
        json(&resource_metadata(pds, pds)),
    );
    world.network.on(&metadata, json(&server_metadata(pds)));
    let server = world
        .client
        .server_of_pds(&origin, &mut Trace::default())
        .await
        .unwrap();
    assert_eq!(server.issuer.as_str(), pds);

    let mut document = server_metadata(pds);
    document["token_endpoint"] = "http://auth.org/oauth/token".into();
    let world_with_leak = World::new();
    world_with_leak.network.on(
        &format!("{pds}/.well-known/oauth-protected-resource"),
        json(&resource_metadata(pds, pds)),
    );
    world_with_leak.network.on(&metadata, json(&document));
    let error = world_with_leak
        .client
        .server_of_pds(&origin, &mut Trace::default())
        .await
        .unwrap_err();
    let field = "token_endpoint";
    assert_eq!(
        check_of(error),
        MetadataCheck::Endpoint {
            field,
            reason: "it is not https"
        }
    );
}
