//! AIP below a path of a host that it shares with others.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::app::{REDIRECT, Tokens};
use crate::browser::{Page, parameter};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(an_app_signs_a_person_in_below_a_path);

const PATH: &str = "/sign-in";

/// Whatever a proxy does with the path, the browser, the app and the PDS see it.
async fn an_app_signs_a_person_in_below_a_path(world: &World) {
    let base = format!("{BASE}{PATH}");
    let configured = base.clone();
    world
        .restart_configured(move |config| config.external_base = configured.parse().unwrap())
        .await;
    let app = world.app().await.with_dpop();
    let is_below = |page: &Page, id: &str| {
        let action = page.form(id).action;
        assert!(action.starts_with("/sign-in/"), "{action}");
    };
    // With the path the proxy leaves it there, without it the proxy took it away.
    for before in [PATH, ""] {
        let browser = world.browser();
        let pending = app.begin_authorization(&[("prompt", "consent")]);
        let url = pending.url.replace(BASE, &format!("{BASE}{before}"));
        let login = browser.open(&url).await;
        is_below(&login, "login");
        let at_pds = browser
            .sign_in_as(&login, world.alice().handle.as_str())
            .await;
        let callback = browser.at_pds(&at_pds, world.alice()).await;
        assert!(callback.as_str().starts_with(&base), "{callback}");
        let consent = browser.open(callback.as_str()).await;
        is_below(&consent, "consent");
        let back = browser.allow(&consent).await;
        assert_eq!(parameter(&back, "iss"), Some(base.clone()));

        // The proof is about the address that the app knows.
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &parameter(&back, "code").unwrap()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &pending.verifier),
        ];
        let tokens = Tokens::of(&app.post(&format!("{PATH}/oauth/token"), &form).await);
        let claims = verified_claims(world, tokens.id_token()).await;
        assert_eq!(claims["iss"], base.as_str());
        let (userinfo, access) = ("/oauth/userinfo", tokens.access.as_str());
        let (get, post) = (Method::GET, Method::POST);
        let who = format!("{PATH}{userinfo}");
        let who = app.call(&get, &who, access, &[], Bytes::new()).await;
        assert_eq!(who.ok()["sub"], world.alice().did.as_str());
        let other = app.call(&get, userinfo, access, &[], Bytes::new()).await;
        other.expect(401, "invalid_dpop_proof");

        let record = json!({
            "repo": world.alice().did.as_str(),
            "collection": "app.bsky.feed.post",
            "record": { "$type": "app.bsky.feed.post", "text": "hello", "createdAt": "2026-01-01T00:00:00Z" },
        });
        let create = format!("{PATH}/xrpc/com.atproto.repo.createRecord");
        let json = [("content-type", "application/json")];
        let body = record.to_string().into();
        app.call(&post, &create, access, &json, body).await.ok();

        let account = browser.open(&format!("{base}/account")).await;
        let text = account.answer.text();
        assert!(text.contains("Example App") && text.contains("/sign-in/account"));
        assert!(!text.contains("=\"/account"), "{text}");
    }

    // Also where the proxy took it away from what apps post.
    let app = world.app().await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "none")];
    for path in ["/oauth/token", "/sign-in/oauth/token"] {
        app.post(path, &form).await.expect(400, "invalid_grant");
    }

    // PDSs know AIP by a document below the path.
    let document = world.get("/sign-in/oauth-client-metadata.json").await.ok();
    let id = format!("{base}/oauth-client-metadata.json");
    assert_eq!(document["client_id"], id);
    assert_eq!(
        document["redirect_uris"],
        json!([format!("{base}/oauth/atp/callback")])
    );
}
