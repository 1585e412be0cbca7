//! What is said about the server is what it does.

use aip_http::Endpoint;
use serde_json::Value;
use strum::IntoEnumIterator as _;

use crate::support::{ISSUER, World};

#[tokio::test]
async fn both_discovery_documents_are_one() {
    let world = World::new().await;
    let openid = world.get("/.well-known/openid-configuration").await;
    let oauth = world.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(openid.json(), oauth.json());
    assert_eq!(openid.json()["issuer"], ISSUER);
    assert_eq!(openid.header("content-type"), "application/json");
    assert_eq!(openid.header("cache-control"), "public, max-age=300");
}

#[tokio::test]
async fn what_is_advertised_is_mounted_and_answers() {
    let world = World::new().await;
    let document = world.get("/.well-known/openid-configuration").await.json();
    let urls = document
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| {
            let url = value.as_str()?;
            (name.ends_with("_endpoint") || name.ends_with("_uri")).then_some(url)
        });
    let mut count = 0;
    for url in urls {
        count += 1;
        let path = url.strip_prefix(ISSUER).unwrap();
        let answers = [world.get(path).await, world.post(path, &[]).await];
        assert!(answers.iter().all(|it| it.status != 404), "{path}");
        assert!(answers.iter().any(|it| it.status != 405), "{path}");
    }
    assert_eq!(count, 9);
}

#[tokio::test]
async fn what_is_mounted_is_advertised() {
    let world = World::new().await;
    let document = world.get("/.well-known/openid-configuration").await.json();
    for endpoint in Endpoint::iter() {
        let spec = endpoint.spec();
        if let Some(name) = spec.metadata {
            assert_eq!(
                document[name],
                format!("{ISSUER}{}", spec.path),
                "{endpoint:?}"
            );
        }
    }
}

/// The stories `client_registration` have it switched on.
#[tokio::test]
async fn registration_is_not_advertised_where_it_is_switched_off() {
    let world = World::new().await;
    let document = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["registration_endpoint"], Value::Null);
    let answer = world.post("/oauth/clients/register", &[]).await;
    answer.expect_error(404, "not_found");
}

#[tokio::test]
async fn every_advertised_method_of_authentication_and_grant_works_and_no_other() {
    let world = World::new().await;
    let document = world.get("/.well-known/openid-configuration").await.json();
    let list =
        |name: &str| -> Vec<String> { serde_json::from_value(document[name].clone()).unwrap() };
    // The stories `client_auth`, `private_key_jwt`, `client_credentials`, `tokens`, `rotation`, `dpop`,
    // `par` and `delegation` exercise each of these.
    assert_eq!(
        list("token_endpoint_auth_methods_supported"),
        [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
            "none"
        ]
    );
    assert_eq!(
        list("introspection_endpoint_auth_methods_supported"),
        [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
        ]
    );
    for endpoint in ["token", "revocation", "introspection"] {
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        assert_eq!(list(&name), ["ES256", "RS256", "PS256", "EdDSA"]);
    }
    assert_eq!(
        list("dpop_signing_alg_values_supported"),
        ["ES256", "ES256K", "RS256", "PS256", "EdDSA"]
    );
    assert_eq!(
        list("grant_types_supported"),
        [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code",
            "urn:ietf:params:oauth:grant-type:token-exchange"
        ]
    );
    assert_eq!(list("response_types_supported"), ["code"]);
    assert_eq!(list("response_modes_supported"), ["query", "form_post"]);
    assert_eq!(list("code_challenge_methods_supported"), ["S256"]);
    for answer in ["id_token", "userinfo", "introspection"] {
        let name = format!("{answer}_signing_alg_values_supported");
        assert_eq!(list(&name), ["RS256", "ES256"]);
    }
    assert_eq!(list("subject_types_supported"), ["public", "pairwise"]);
    assert_eq!(
        document["authorization_response_iss_parameter_supported"],
        true
    );
    assert_eq!(document["request_parameter_supported"], false);
    assert_eq!(document["claims_parameter_supported"], true);
    assert_eq!(document["require_pushed_authorization_requests"], false);
    assert_eq!(document["op_policy_uri"], Value::Null);
}

#[tokio::test]
async fn the_resource_is_the_issuer_and_names_it_as_its_server() {
    let world = World::new().await;
    let document = world
        .get("/.well-known/oauth-protected-resource")
        .await
        .json();
    assert_eq!(document["resource"], ISSUER);
    assert_eq!(
        document["authorization_servers"],
        serde_json::json!([ISSUER])
    );
}

#[tokio::test]
async fn published_keys_are_public_and_apart_by_purpose() {
    let world = World::new().await;
    let towards_apps = world.get("/.well-known/jwks.json").await.json();
    let towards_pds = world.get("/oauth/upstream/jwks.json").await.json();
    let mut kids = Vec::new();
    for set in [&towards_apps, &towards_pds] {
        let keys = set["keys"].as_array().unwrap();
        assert!(!keys.is_empty());
        for key in keys {
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert_eq!(key[private], Value::Null, "{private}");
            }
            kids.push(key["kid"].as_str().unwrap().to_owned());
        }
    }
    let count = kids.len();
    kids.sort();
    kids.dedup();
    assert_eq!(kids.len(), count, "no key is in both sets");
}

#[test]
fn the_reference_page_in_the_docs_is_fresh() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/endpoints.md"
    );
    let fresh = aip_http::reference_markdown();
    if std::fs::read_to_string(path).unwrap_or_default() != fresh {
        std::fs::write(path, fresh).unwrap();
        panic!("docs/reference/endpoints.md was stale and is written anew: look at it, keep it");
    }
}

#[test]
fn the_reference_lists_every_endpoint() {
    let page = aip_http::reference_markdown();
    for endpoint in Endpoint::iter() {
        assert!(page.contains(&format!("| `{}` |", endpoint.spec().path)));
    }
}

#[tokio::test]
async fn the_openapi_document_that_is_served_has_every_public_path() {
    let world = World::new().await;
    let answer = world.get("/openapi.yaml").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/yaml");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let servers = format!("servers:\n  - url: '{ISSUER}'\n");
    assert!(answer.body.contains(&servers), "{}", answer.body);
    for endpoint in Endpoint::iter() {
        let spec = endpoint.spec();
        let is_described = answer.body.contains(&format!("\n  {}:\n", spec.path));
        assert_eq!(is_described, spec.public, "{endpoint:?}");
    }
}
