//! The scope `aip:credentials`: an app that holds the tokens and keys of its sessions, as apps of AIP v2
//! do. Who gets them, what exactly, and who never does.

use std::time::Duration;

use aip_jose::{Alg, JwkSet, SigningKey};
use aip_oauth::client_registration::RegistrationMode;
use aip_sandbox::Person;
use aip_sessions::AppPasswords;
use aip_storage::audit::AuditKind;
use bytes::Bytes;
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, SCOPE, Tokens};
use crate::app_passwords::make_password;
use crate::client_registration::{initial_token, may_register, metadata, register, send, told};
use crate::html::Form;
use crate::keeping::STALE;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_with_the_scope_gets_the_body_of_version_2,
    the_session_of_an_app_password_is_handed_out_as_bearer,
    without_the_scope_nothing_is_handed_out,
    what_is_taken_back_is_not_handed_out_any_more,
    what_cannot_be_written_down_is_not_handed_out,
    each_token_is_written_down_once_for_each_grant,
    the_operators_own_app_needs_the_persons_yes_too,
    a_client_cannot_give_itself_the_scope,
    the_scope_is_for_a_client_that_proves_itself_as_before,
    a_question_that_makes_no_sense_is_refused,
    an_app_that_asks_all_the_time_is_slowed_down,
);

const CREDENTIALS: &str = "aip:credentials";

/// The members of the answer that AIP v2.2.2 gave, and of the key in it.
const MEMBERS: [&str; 9] = [
    "access_token",
    "did",
    "dpop_jwk",
    "dpop_key",
    "expires_at",
    "handle",
    "pds_endpoint",
    "scopes",
    "token_type",
];
const KEY_MEMBERS: [&str; 8] = ["alg", "crv", "d", "kid", "kty", "use", "x", "y"];

/// An app that the operator gave the scope.
async fn trusted_app(world: &World) -> App<'_> {
    let app = App::register(world, |settings| {
        settings.scope = format!("{SCOPE} {CREDENTIALS}").parse().unwrap();
        settings.access_token_ttl = Duration::from_hours(24);
    });
    app.await
}

async fn sign_in(app: &App<'_>, person: &Person) -> Tokens {
    let scope = format!("{SCOPE} {CREDENTIALS}");
    app.sign_in_for(&app.world.browser(), person, &scope).await
}

async fn ask(app: &App<'_>, access: &str, query: &str) -> Answer {
    let path = format!("/api/atprotocol/session{query}");
    let answer = app.call(&Method::GET, &path, access, &[], Bytes::new());
    let answer = answer.await;
    if answer.status.is_success() {
        let told = answer.json();
        app.world.secrets.learn_tokens(&told);
        for secret in [&told["dpop_key"], &told["dpop_jwk"]["d"]] {
            app.world
                .secrets
                .learn("a DPoP key", secret.as_str().unwrap_or_default());
        }
    }
    answer
}

fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<_> = object.as_object().unwrap().keys().collect();
    members.sort();
    members.into_iter().map(String::as_str).collect()
}

/// The answer holds no credential.
#[track_caller]
fn has_none(answer: &Answer) {
    let told = answer.ok();
    let expected = [
        "did",
        "expires_at",
        "handle",
        "pds_endpoint",
        "scopes",
        "state",
    ];
    assert_eq!(members(&told), expected);
}

async fn handed_out(world: &World) -> usize {
    world.audit(AuditKind::CredentialsHandedOut).await.len()
}

async fn an_app_with_the_scope_gets_the_body_of_version_2(world: &World) {
    let app = trusted_app(world).await;
    let scope = format!("{SCOPE} {CREDENTIALS}");
    let browser = world.browser();
    let pending = app.begin_authorization(&[("scope", &scope)]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let page = consent.answer.text();
    assert!(page.contains("private key of your account"), "{page}");
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert!(
        tokens.answer["scope"]
            .as_str()
            .unwrap()
            .contains(CREDENTIALS)
    );

    let answer = ask(&app, &tokens.access, "").await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.ok();
    assert_eq!(members(&told), MEMBERS);
    assert_eq!(members(&told["dpop_jwk"]), KEY_MEMBERS);
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(told["handle"], world.alice().handle.as_str());
    assert_eq!(told["token_type"], "dpop");
    assert_eq!(told["pds_endpoint"], world.pds().origin());
    let scopes = json!(["atproto", "repo:app.bsky.feed.post"]);
    assert_eq!(told["scopes"], scopes, "what the PDS granted");
    assert!(told["expires_at"].is_i64());

    // They are those that AIP itself calls with.
    let id = world.texts("SELECT id FROM upstream_sessions").await;
    let keeper = world.aip().app.keeper.clone();
    let active = keeper.active_session(id[0].parse().unwrap()).await.unwrap();
    assert_eq!(told["access_token"], active.access.expose_secret());
    let key = SigningKey::from_jwk_json(&told["dpop_jwk"].to_string()).unwrap();
    let did_key = key.to_private_did_key().unwrap();
    assert_eq!(told["dpop_key"], did_key.expose_secret());
    let public = key.public().to_multikey().unwrap();
    assert_eq!(told["dpop_jwk"]["kid"], format!("did:key:{public}"));
    let aip_pds::CallAuth::Dpop(keys) = &active.auth else {
        panic!("an OAuth session has a key");
    };
    assert_eq!(keys.dpop.public().thumbprint(), key.public().thumbprint());

    for query in [
        "?access_token_type=oauth_session",
        "?access_token_type=best",
        &format!("?sub={}", world.alice().did),
    ] {
        let again = ask(&app, &tokens.access, query).await.ok();
        assert_eq!(again["access_token"], told["access_token"], "{query}");
    }
    let events = world.audit(AuditKind::CredentialsHandedOut).await;
    assert_eq!(events.len(), 1, "one for each token");
    assert_eq!(events[0].did.as_ref(), Some(&world.alice().did));
    assert_eq!(events[0].client_id.as_ref(), Some(&app.id));
    assert!(events[0].detail.contains(&id[0]), "{}", events[0].detail);
    // It is between the app and AIP: a PDS is not asked for it.
    assert!(
        active
            .scope
            .iter()
            .all(|scope| scope.to_string() != CREDENTIALS)
    );
}

async fn the_session_of_an_app_password_is_handed_out_as_bearer(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    let query = "?access_token_type=app_password_session";
    ask(&app, &tokens.access, query)
        .await
        .expect(404, "session_not_found");
    let best = "?access_token_type=best";
    let dpop = ask(&app, &tokens.access, best).await.ok();
    assert_eq!(dpop["token_type"], "dpop");

    let password = make_password(world).await;
    let passwords = AppPasswords::new(world.aip().app.keeper.clone());
    let set = passwords.set(&app.id, &world.alice().did, &password).await;
    set.unwrap();
    for query in [query, best] {
        let told = ask(&app, &tokens.access, query).await.ok();
        assert_eq!(members(&told), MEMBERS, "{query}");
        assert_eq!(told["token_type"], "bearer");
        assert_eq!([&told["dpop_key"], &told["dpop_jwk"]], [&Value::Null; 2]);
        assert_ne!(told["access_token"], dpop["access_token"]);
    }
    let default = ask(&app, &tokens.access, "").await.ok();
    assert_eq!(default["token_type"], "dpop");

    // Another app of the same person has none of it.
    let other = trusted_app(world).await;
    let others = sign_in(&other, world.alice()).await;
    ask(&other, &others.access, query)
        .await
        .expect(404, "session_not_found");

    // The host does not take the password any more: the best that is left.
    passwords.remove(&app.id, &world.alice().did).await.unwrap();
    let told = ask(&app, &tokens.access, best).await.ok();
    assert_eq!(told["token_type"], "dpop");
    world.secrets.learn("an app password", &password);
}

async fn without_the_scope_nothing_is_handed_out(world: &World) {
    // The client may have it, and this sign-in did not ask for it.
    let app = trusted_app(world).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    has_none(&ask(&app, &tokens.access, "").await);

    // It asked, and this token is narrower.
    let wide = sign_in(&app, world.bob()).await;
    let narrow = Tokens::of(&app.narrow(&wide.refresh, SCOPE).await);
    has_none(&ask(&app, &narrow.access, "").await);

    // The client may not.
    let other = world.app().await;
    let scope = format!("{SCOPE} {CREDENTIALS}");
    let pending = other.begin_authorization(&[("scope", &scope)]);
    let away = world.browser().open(&pending.url).await.away();
    pending.refused(&away, "invalid_scope");
    let transition = format!("{SCOPE} transition:generic");
    let browser = world.browser();
    let all = other.sign_in_for(&browser, world.alice(), &transition);
    has_none(&ask(&other, &all.await.access, "").await);
    assert_eq!(handed_out(world).await, 0);
}

async fn what_is_taken_back_is_not_handed_out_any_more(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    ask(&app, &tokens.access, "").await.ok();

    // The operator takes the scope from the client: its grants keep it in name only.
    let server = world.aip().app.server.clone();
    let client = server.storage.client(&app.id).await.unwrap().unwrap();
    let mut settings = client.settings.clone();
    settings.scope = SCOPE.parse().unwrap();
    server.update_client(&app.id, settings).await.unwrap();
    has_none(&ask(&app, &tokens.access, "").await);
    let given = server.update_client(&app.id, client.settings);
    given.await.unwrap();
    ask(&app, &tokens.access, "").await.ok();
    assert_eq!(handed_out(world).await, 1);

    // The person takes it back: at once, at every replica.
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let page = browser.open(&format!("{BASE}/account")).await;
    let form = Form::with_field(page.answer.text(), "client_id", app.id.as_str()).unwrap();
    browser.submit(form, "revoke").await;
    ask(&app, &tokens.access, "")
        .await
        .expect(401, "invalid_token");
    assert_eq!(handed_out(world).await, 1);
}

async fn what_cannot_be_written_down_is_not_handed_out(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    let hide = "ALTER TABLE audit_events RENAME TO hidden_events";
    world.texts(hide).await;
    let answer = ask(&app, &tokens.access, "").await;
    let show = "ALTER TABLE hidden_events RENAME TO audit_events";
    world.texts(show).await;
    assert!(answer.status.is_server_error(), "{}", answer.status);
    assert!(!answer.text().contains("access_token"));
    assert_eq!(handed_out(world).await, 0);
    ask(&app, &tokens.access, "").await.ok();
    assert_eq!(handed_out(world).await, 1);
}

async fn each_token_is_written_down_once_for_each_grant(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    let mut tokens_seen = Vec::new();
    for refreshes in 0..3 {
        for _ in 0..3 {
            let told = ask(&app, &tokens.access, "").await.ok();
            tokens_seen.push(told["access_token"].clone());
        }
        assert_eq!(handed_out(world).await, refreshes + 1);
        world.pass(STALE);
    }
    tokens_seen.dedup();
    assert_eq!(tokens_seen.len(), 3, "the story is about three tokens");

    // Others get theirs, and so does the same person once more.
    let before = handed_out(world).await;
    for (person, events) in [(world.alice(), 1), (world.bob(), 2)] {
        let tokens = sign_in(&app, person).await;
        for _ in 0..3 {
            ask(&app, &tokens.access, "").await.ok();
        }
        assert_eq!(handed_out(world).await, before + events);
    }
    // Another process does not know what this one wrote down: once more rather than never.
    ask(&app, &tokens.access, "").await.ok();
    let before = handed_out(world).await;
    world.restart().await;
    ask(&app, &tokens.access, "").await.ok();
    assert_eq!(handed_out(world).await, before + 1);
}

async fn the_operators_own_app_needs_the_persons_yes_too(world: &World) {
    let wide = format!("{SCOPE} {CREDENTIALS}");
    let app = App::register(world, |settings| {
        settings.scope = wide.parse().unwrap();
        settings.first_party = true;
    });
    let app = app.await;
    let browser = world.browser();
    // For all else nobody is asked.
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let back = browser.sign_in(&login, world.alice()).await.away();
    let narrow = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    has_none(&ask(&app, &narrow.access, "").await);

    // An app that names no scope asks for all that it may have.
    for scope in [wide.as_str(), ""] {
        let silent = app.begin_authorization(&[("scope", scope), ("prompt", "none")]);
        let away = browser.open(&silent.url).await.away();
        silent.refused(&away, "consent_required");
        let asking = app.begin_authorization(&[("scope", scope), ("login_hint", "alice.test")]);
        let page = browser.open(&asking.url).await;
        assert!(page.has_form("consent"), "{scope}: {page:?}");
        let text = page.answer.text();
        assert!(text.contains("private key of your account"), "{text}");
        let denied = browser.deny(&page).await;
        asking.refused(&denied, "access_denied");
    }
    assert_eq!(handed_out(world).await, 0);

    // A yes is remembered, in that browser.
    let asking = app.begin_authorization(&[("scope", &wide), ("login_hint", "alice.test")]);
    let page = browser.open(&asking.url).await;
    let back = browser.allow(&page).await;
    let tokens = Tokens::of(&app.redeem(&asking, &asking.code(&back)).await);
    ask(&app, &tokens.access, "").await.ok();
    assert_eq!(handed_out(world).await, 1);
    let silent = app.begin_authorization(&[("scope", &wide), ("prompt", "none")]);
    silent.code(&browser.open(&silent.url).await.away());
    let other = world.browser();
    let login = other
        .open(&app.begin_authorization(&[("scope", &wide)]).url)
        .await;
    let page = other.sign_in(&login, world.alice()).await;
    assert!(page.has_form("consent"), "{page:?}");
}

/// What an app that registers itself says, with another way to prove who it is.
fn proving_itself(method: &str, keys: Option<&Value>) -> Value {
    let mut says = metadata();
    says["token_endpoint_auth_method"] = json!(method);
    if let Some(keys) = keys {
        says["jwks"] = keys.clone();
    }
    says
}

async fn the_scope_is_for_a_client_that_proves_itself_as_before(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let initial = initial_token(world, 2).await;
    let wide = format!("{SCOPE} {CREDENTIALS}");
    let [first, second] = [(); 2].map(|()| {
        let key = SigningKey::generate(Alg::Es256, None).unwrap();
        json!(JwkSet::new(vec![key.public().clone()]))
    });
    let none = proving_itself("none", None);
    let basic = proving_itself("client_secret_basic", None);
    let post = proving_itself("client_secret_post", None);
    let by_first = proving_itself("private_key_jwt", Some(&first));
    let by_second = proving_itself("private_key_jwt", Some(&second));
    for (says, others) in [
        (&basic, [&none, &post, &by_first]),
        (&by_first, [&none, &basic, &by_second]),
    ] {
        let registered = told(&register(world, Some(&initial), says).await);
        let server = world.aip().app.server.clone();
        let id = registered["client_id"].as_str().unwrap().parse().unwrap();
        let mut settings = server.storage.client(&id).await.unwrap().unwrap().settings;
        settings.scope = wide.parse().unwrap();
        server.update_client(&id, settings).await.unwrap();

        let url = registered["registration_client_uri"].as_str().unwrap();
        let put = async |token: &Value, says: &Value, scope: &str| {
            let mut change = says.clone();
            change["client_id"] = registered["client_id"].clone();
            change["scope"] = json!(scope);
            send(world, Method::PUT, url, token.as_str(), Some(&change)).await
        };
        let token = &registered["registration_access_token"];
        for other in others {
            let refused = put(token, other, &wide).await;
            refused.expect(400, "invalid_client_metadata");
            assert!(refused.text().contains(CREDENTIALS), "{}", refused.text());
        }
        let kept = put(token, says, &wide).await.ok();
        assert_eq!(kept["scope"], json!(wide));
        // Without the scope it may prove itself as it likes.
        let token = &kept["registration_access_token"];
        put(token, others[2], SCOPE).await.ok();
    }
}

async fn a_client_cannot_give_itself_the_scope(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let initial = Some(token.as_str());
    let mut asks = metadata();
    asks["scope"] = json!(format!("{SCOPE} {CREDENTIALS}"));
    register(world, initial, &asks)
        .await
        .expect(400, "invalid_client_metadata");
    asks["scope"] = json!(SCOPE);
    let registered = told(&register(world, initial, &asks).await);

    let url = registered["registration_client_uri"].as_str().unwrap();
    let put = async |token: &Value, scope: &str, name: &str| {
        let mut change = metadata();
        change["client_id"] = registered["client_id"].clone();
        change["client_name"] = json!(name);
        change["scope"] = json!(scope);
        send(world, Method::PUT, url, token.as_str(), Some(&change)).await
    };
    let token = &registered["registration_access_token"];
    let wide = format!("{SCOPE} {CREDENTIALS}");
    put(token, &wide, "Registered App")
        .await
        .expect(400, "invalid_client_metadata");

    // The operator gives it: it stays as long as the client is who it was.
    let server = world.aip().app.server.clone();
    let id = registered["client_id"].as_str().unwrap().parse().unwrap();
    let mut settings = server.storage.client(&id).await.unwrap().unwrap().settings;
    settings.scope = wide.parse().unwrap();
    server.update_client(&id, settings).await.unwrap();
    let kept = put(token, &wide, "Registered App").await.ok();
    assert_eq!(kept["scope"], json!(wide));
    let token = &kept["registration_access_token"];
    put(token, &wide, "Another App")
        .await
        .expect(400, "invalid_client_metadata");
    put(token, SCOPE, "Another App").await.ok();
}

async fn a_question_that_makes_no_sense_is_refused(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    let before = world.state().await;
    let of_bob = format!("?sub={}", world.bob().did);
    for query in [
        "?access_token_type=oauth",
        "?access_token_type=BEST",
        "?access_token_type=best&access_token_type=best",
        "?access_token_type=%00",
        "?sub=alice.test",
        &of_bob,
    ] {
        let answer = ask(&app, &tokens.access, query).await;
        answer.expect(400, "invalid_request");
    }
    assert_eq!(world.state().await, before, "nothing was written");
    assert!(world.get("/api/atprotocol/session").await.status == 401);
}

async fn an_app_that_asks_all_the_time_is_slowed_down(world: &World) {
    let app = trusted_app(world).await;
    let tokens = sign_in(&app, world.alice()).await;
    let others = sign_in(&app, world.bob()).await;
    for _ in 0..60 {
        ask(&app, &tokens.access, "").await.ok();
    }
    let answer = ask(&app, &tokens.access, "").await;
    answer.expect(429, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    ask(&app, &others.access, "").await.ok();
    assert_eq!(handed_out(world).await, 2, "one for each grant");
    world.pass(Duration::from_secs(1));
    ask(&app, &tokens.access, "").await.ok();
}
