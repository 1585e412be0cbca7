//! What the document of an app that nobody registered may say, and at which addresses it may be
//! (draft-ietf-oauth-client-id-metadata-document-02 §3, §4).

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{App, SCOPE};
use crate::client_documents::{ID, JSON, document, open, put, take_documents, with};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    documents_that_are_not_right_are_refused_and_nothing_is_stored,
    an_address_that_is_none_is_never_asked,
);

#[allow(
    clippy::too_many_lines,
    reason = "it is a table, and a table is read in one piece"
)]
async fn documents_that_are_not_right_are_refused_and_nothing_is_stored(world: &World) {
    take_documents(world, |_| {}).await;
    let app = App::known(world, ID, None);
    let before = world.state().await;
    let right = document(ID).to_string();
    let large = with(
        "client_uri",
        json!(format!("https://app.example.org/{}", "x".repeat(5000))),
    );
    let huge = with("x", json!("x".repeat(1024 * 1024)));
    let html = [("content-type", "text/html")];
    let gzip = [JSON, ("content-encoding", "gzip")];
    let elsewhere = [JSON, ("location", "https://app.example.org/other.json")];
    let json = &[JSON][..];
    let other = "https://app.example.org/other.json";
    let symmetric = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]});
    for (status, headers, body, why) in [
        (301, &elsewhere[..], right.clone(), "status 301"),
        (302, &elsewhere, right.clone(), "status 302"),
        (201, json, right.clone(), "status 201"),
        (404, json, right.clone(), "status 404"),
        (500, json, right.clone(), "status 500"),
        (200, &html, right.clone(), "Content-Type"),
        (200, &[], right.clone(), "Content-Type"),
        (200, &gzip, right.clone(), "compressed"),
        (200, json, large.to_string(), "larger than"),
        (200, json, huge.to_string(), "larger than"),
        (200, json, "<html>".to_owned(), "no JSON object"),
        (200, json, "[".repeat(5000), "no JSON object"),
        (200, json, document(other).to_string(), "byte for byte"),
        (
            200,
            json,
            with("client_id", Value::Null).to_string(),
            "no `client_id`",
        ),
        (
            200,
            json,
            with("client_secret", json!("x")).to_string(),
            "`client_secret` has no place",
        ),
        (
            200,
            json,
            with("client_secret_expires_at", json!(0)).to_string(),
            "`client_secret_expires_at` has no place",
        ),
        (
            200,
            json,
            with("token_endpoint_auth_method", json!("client_secret_basic")).to_string(),
            "must be `none` or `private_key_jwt`",
        ),
        (
            200,
            json,
            with("token_endpoint_auth_method", json!("private_key_jwt")).to_string(),
            "needs `jwks`",
        ),
        (
            200,
            json,
            with("jwks", symmetric).to_string(),
            "carries private members",
        ),
        (
            200,
            json,
            with("redirect_uris", Value::Null).to_string(),
            "redirect URIs; this one has 0",
        ),
        (
            200,
            json,
            with("redirect_uris", json!(["https://evil.example/cb"])).to_string(),
            "https://evil.example/cb does not belong to app.example.org",
        ),
        (
            200,
            json,
            with("redirect_uris", json!(["com.example.other:/cb"])).to_string(),
            "com.example.other:/cb does not belong to app.example.org",
        ),
        (
            200,
            json,
            with("redirect_uris", json!(["javascript:alert(1)"])).to_string(),
            "web clients use https",
        ),
        (
            200,
            json,
            with(
                "post_logout_redirect_uris",
                json!(["https://evil.example/"]),
            )
            .to_string(),
            "https://evil.example/ does not belong to app.example.org",
        ),
        (
            200,
            json,
            with(
                "backchannel_logout_uri",
                json!("https://evil.example/signed-out"),
            )
            .to_string(),
            "`backchannel_logout_uri` is of the origin",
        ),
        (
            200,
            json,
            with(
                "backchannel_logout_uri",
                json!("https://app.example.org:8443/signed-out"),
            )
            .to_string(),
            "`backchannel_logout_uri` is of the origin",
        ),
        (
            200,
            json,
            with("grant_types", json!(["refresh_token"])).to_string(),
            "`grant_types` lacks `authorization_code`",
        ),
        (
            200,
            json,
            with("grant_types", json!(["implicit"])).to_string(),
            "grant types are one or more of",
        ),
        (
            200,
            json,
            with("response_types", json!(["token"])).to_string(),
            "come together",
        ),
        (
            200,
            json,
            with("scope", json!("rpc:*?aud=did:web:x.example")).to_string(),
            "names nothing that an app without registration may have here",
        ),
        (
            200,
            json,
            with("client_name", json!("x".repeat(101))).to_string(),
            "name has 1 to 100 characters",
        ),
        (
            200,
            json,
            with("client_name", json!("Ex\u{202e}ample")).to_string(),
            "name has 1 to 100 characters",
        ),
        (
            200,
            json,
            with("software_statement", json!("x")).to_string(),
            "takes no software statements",
        ),
    ] {
        world.hosted.put_with(ID, status, headers, body);
        let answer = open(world, &app).await;
        answer.expect_page(400, "says nothing of itself that can be used");
        answer.logged(why);
        assert!(answer.text().contains("The document at the client_id"));
        // An error is not kept, but the site is left alone for a moment.
        let reads = world.hosted.reads(ID);
        open(world, &app).await.expect_page(400, "can be used");
        assert_eq!(world.hosted.reads(ID), reads);
        world.pass(Duration::from_secs(10));
    }
    assert_eq!(world.state().await, before);
    // What is for other servers is left out.
    let mut for_all = document(ID);
    for_all["grant_types"] = json!(["authorization_code", "implicit", "refresh_token"]);
    for_all["response_types"] = json!(["code", "code id_token"]);
    for_all["scope"] = json!(format!("{SCOPE} aip:credentials unknown"));
    put(world, &for_all);
    assert_eq!(open(world, &app).await.status, 200);
}

async fn an_address_that_is_none_is_never_asked(world: &World) {
    take_documents(world, |_| {}).await;
    let before = world.state().await;
    for (id, why) in [
        ("http://app.example.org/client.json", "no https URL"),
        ("https://app.example.org", "not written as URLs are"),
        ("https://127.0.0.1/client.json", "no host of the Internet"),
        ("https://[::1]/client.json", "no host of the Internet"),
        ("https://2130706433/client.json", "no host of the Internet"),
        ("https://localhost/client.json", "no host of the Internet"),
        ("https://app.example.org:8443/client.json", "has a port"),
        (
            "https://app.example.org:443/client.json",
            "not written as URLs are",
        ),
        ("https://app.example.org/client.json#x", "has a fragment"),
        ("https://me:x@app.example.org/client.json", "has a user"),
        (
            "https://app.example.org/x/../client.json",
            "not written as URLs are",
        ),
        (
            "https://app.example.org/%2e/client.json",
            "not written as URLs are",
        ),
        (
            "https://App.example.org/client.json",
            "not written as URLs are",
        ),
        (
            "HTTPS://app.example.org/client.json",
            "not written as URLs are",
        ),
    ] {
        world
            .hosted
            .put_with(id, 200, &[JSON], document(id).to_string());
        let app = App::known(world, id, None);
        let answer = open(world, &app).await;
        answer.expect_page(400, "can be used").logged(why);
        assert_eq!(world.hosted.reads(id), 0, "{id}");
    }
    // Where the guard forbids nobody is asked, either.
    let inside = App::known(world, "https://app.internal/client.json", None);
    let answer = open(world, &inside).await;
    answer
        .expect_page(400, "can be used")
        .logged("outbound guard");
    assert_eq!(world.state().await, before);
}
