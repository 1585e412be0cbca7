//! Apps that nobody registered, whose `client_id` is the address of a document
//! (draft-ietf-oauth-client-id-metadata-document-02).

use std::time::Duration;

use aip::app::AppConfig;
use aip_base::Clock as _;
use aip_jose::{Alg, JwkSet, SigningKey};
use aip_oauth::registration::RegistrationError;
use aip_storage::client::ClientAuthMethod;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, REDIRECT, SCOPE, Tokens};
use crate::browser::Browser;
use crate::html::Form;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_that_nobody_registered_signs_a_person_in,
    what_nobody_allowed_is_not_kept,
    a_changed_document_takes_effect,
    headers_say_how_long_a_document_holds,
    an_outage_is_survived_and_a_withdrawal_is_not,
    what_was_withdrawn_does_not_come_back_while_its_site_is_down,
    a_document_that_cannot_be_read_holds_for_a_day,
    a_withdrawn_app_gets_nothing_for_its_tokens,
    an_app_whose_document_is_gone_is_told_of_no_sign_out,
    an_app_whose_document_was_not_read_for_days_is_told_of_a_sign_out,
    an_app_with_keys_in_its_document_proves_itself,
    another_replica_goes_on_with_a_sign_in,
    where_documents_are_not_taken_nobody_reads_them,
    an_app_of_the_operators_may_have_an_address_as_its_id,
    who_names_many_apps_is_held_off_and_others_are_not,
    no_more_apps_are_kept_than_may_be,
    an_app_that_nobody_uses_any_more_is_forgotten,
);

pub(crate) const ID: &str = "https://app.example.org/client.json";
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Starts AIP anew, where documents are taken.
pub(crate) async fn take_documents(
    world: &World,
    change: impl Fn(&mut AppConfig) + Send + Sync + 'static,
) {
    let configured = move |config: &mut AppConfig| {
        config.max_document_clients = Some(100);
        // As the binary has it (`aip::settings`).
        let scopes = format!(
            "openid profile email offline_access {}",
            config.scopes_supported
        );
        config.scopes_supported = scopes.parse().unwrap();
        change(config);
    };
    world.restart_configured(configured).await;
}

pub(crate) fn document(id: &str) -> Value {
    json!({
        "client_id": id,
        "client_name": "Example App",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        "scope": SCOPE,
    })
}

/// The document with another member; `null` takes it away.
pub(crate) fn with(member: &str, value: Value) -> Value {
    let mut document = document(ID);
    let members = document.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
    document
}

pub(crate) fn put(world: &World, document: &Value) {
    let id = document["client_id"].as_str().unwrap();
    world
        .hosted
        .put_with(id, 200, &[JSON], document.to_string());
}

/// The ids of the clients that are kept.
async fn kept(world: &World) -> Vec<String> {
    world.texts("SELECT id FROM clients ORDER BY id").await
}

pub(crate) async fn open(world: &World, app: &App<'_>) -> Answer {
    world
        .browser()
        .open(&app.begin_authorization(&[]).url)
        .await
        .answer
}

async fn an_app_that_nobody_registered_signs_a_person_in(world: &World) {
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    let member = "client_id_metadata_document_supported";
    assert_eq!(discovery[member], Value::Null);
    take_documents(world, |_| {}).await;
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(discovery[member], true);

    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let browser = world.browser();
    // As libraries do (RFC 8707), of a server that does not know the app yet.
    let pending = app.begin_authorization(&[("resource", BASE)]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let page = consent.answer.text();
    for shown in [
        "Example App",
        "The website <code>app.example.org</code>",
        ID,
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(kept(world).await.is_empty());
    let back = browser.allow(&consent).await;
    assert_eq!(kept(world).await, [ID]);
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    let told = app.userinfo(&renewed.access).await.ok();
    assert_eq!(told["sub"], world.alice().did.as_str());
    let client = &world.aip().app.server.storage.list_clients().await.unwrap()[0];
    assert!(client.from_document && !client.registered_itself);
    assert!(!client.settings.first_party && client.settings.require_pkce);

    // The person is asked once per browser, and the document was read once.
    let pending = app.begin_authorization(&[]);
    pending.code(&browser.open(&pending.url).await.away());
    assert_eq!(world.hosted.reads(ID), 1);
    assert_eq!(app.revoke(&renewed.refresh).await.status, 200);

    // It is not the operator's to change.
    let server = world.aip().app.server.clone();
    let id = ID.parse().unwrap();
    let refused = server.update_client(&id, App::settings()).await;
    assert!(matches!(refused, Err(RegistrationError::FromDocument(_))));
    let now = world.clock.now();
    assert!(server.storage.delete_client(&id, now).await.unwrap());
}

async fn what_nobody_allowed_is_not_kept(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let before = world.state().await;
    let pending = app.begin_authorization(&[]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    assert_eq!(world.state().await, before);
    let consent = browser.sign_in(&login, world.alice()).await;
    pending.refused(&browser.deny(&consent).await, "access_denied");
    assert!(kept(world).await.is_empty());

    // Nothing but the grants of a person who signs in is there for it.
    let form = [("grant_type", "client_credentials"), ("client_id", ID)];
    let answer = app.post_as("/oauth/token", None, &form).await;
    answer.expect(400, "unauthorized_client");
    let introspected = app.post_as(
        "/oauth/introspect",
        None,
        &[("client_id", ID), ("token", "x")],
    );
    introspected.await.expect(401, "invalid_client");
    let pushed = app.begin_authorization(&[]);
    let query = url::Url::parse(&pushed.url).unwrap();
    let form: Vec<_> = query.query_pairs().into_owned().collect();
    let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = app.post_as("/oauth/par", None, &form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(kept(world).await.is_empty());
    let uri = answer.json()["request_uri"].as_str().unwrap().to_owned();
    let query = serde_urlencoded::to_string([("client_id", ID), ("request_uri", &uri)]).unwrap();
    let login = browser
        .open(&format!("{BASE}/oauth/authorize?{query}"))
        .await;
    let consent = browser.sign_in(&login, world.bob()).await;
    pushed.code(&browser.allow(&consent).await);
    assert_eq!(kept(world).await, [ID]);
}

async fn a_changed_document_takes_effect(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;

    let next = "https://app.example.org/next";
    let mut changed = with("redirect_uris", json!([next]));
    changed["client_name"] = json!("Renamed App");
    put(world, &changed);
    // As long as it holds, the first one counts.
    open(world, &app).await;
    assert_eq!(world.hosted.reads(ID), 1);
    world.pass(Duration::from_mins(10));
    let answer = open(world, &app).await;
    answer.expect_page(400, "an address that is not registered for it");
    assert_eq!(world.hosted.reads(ID), 2);
    let query = [("redirect_uri", next), ("prompt", "consent")];
    let login = world
        .browser()
        .open(&app.begin_authorization(&query).url)
        .await;
    assert!(login.answer.text().contains("Renamed App"));
    let client = &world.aip().app.server.storage.list_clients().await.unwrap()[0];
    assert_eq!(client.settings.name, "Renamed App");
    assert_eq!(client.settings.redirect_uris[0].as_str(), next);
    // What the person allowed in this browser, they allowed to an app of another name elsewhere.
    let again = app.begin_authorization(&[("redirect_uri", next)]);
    let again = browser.open(&again.url).await;
    assert!(again.stayed(), "{again:?}");
    assert!(again.answer.text().contains("Renamed App"));
    let consents = "SELECT client_id FROM consents";
    assert!(world.texts(consents).await.is_empty());

    // More of it, or less, changes nothing of that.
    put(world, &document(ID));
    world.pass(Duration::from_mins(10));
    app.sign_in(&world.browser(), world.alice()).await;
    // Nor does the order of its addresses.
    let both = [REDIRECT, "https://app.example.org/more"];
    put(world, &with("redirect_uris", json!(both)));
    world.pass(Duration::from_mins(10));
    app.sign_in(&world.browser(), world.alice()).await;
    let mut reordered = with("redirect_uris", json!([both[1], both[0]]));
    reordered["scope"] = json!("atproto openid profile");
    put(world, &reordered);
    world.pass(Duration::from_mins(10));
    open(world, &app).await;
    let client = &world.aip().app.server.storage.list_clients().await.unwrap()[0];
    assert!(!client.settings.scope.to_string().contains("repo:"));
    assert_eq!(world.texts(consents).await, [ID]);
}

async fn headers_say_how_long_a_document_holds(world: &World) {
    take_documents(world, |_| {}).await;
    for (number, (cache, holds)) in [
        ("max-age=300", 300),
        ("max-age=0", 60),
        ("no-store", 60),
        ("public, max-age=86400", 3600),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("https://app.example.org/{number}.json");
        let headers = [JSON, ("cache-control", cache)];
        let body = document(&id).to_string();
        world.hosted.put_with(&id, 200, &headers, body);
        let app = App::known(world, &id, None);
        open(world, &app).await;
        world.pass(Duration::from_secs(holds - 1));
        open(world, &app).await;
        assert_eq!(world.hosted.reads(&id), 1, "{cache}");
        world.pass(Duration::from_secs(1));
        open(world, &app).await;
        assert_eq!(world.hosted.reads(&id), 2, "{cache}");
    }
}

async fn an_outage_is_survived_and_a_withdrawal_is_not(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let mut tokens = app.sign_in(&world.browser(), world.alice()).await;
    for status in [500, 503, 429, 301, 403] {
        world.hosted.put(ID, status, String::new());
        world.pass(Duration::from_mins(61));
        assert_eq!(open(world, &app).await.status, 200, "{status}");
        tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    }
    // Nor does it matter to a process that never saw the document.
    world.restart().await;
    assert_eq!(open(world, &app).await.status, 200);
    tokens = Tokens::of(&app.refresh(&tokens.refresh).await);

    for (status, body) in [(404, String::new()), (200, "<html>".to_owned())] {
        world.hosted.put_with(ID, status, &[JSON], body);
        world.pass(Duration::from_mins(61));
        open(world, &app).await.expect_page(400, "can be used");
        let refused = app.refresh(&tokens.refresh).await;
        refused.expect(401, "invalid_client");
        // Nothing was ended by that.
        put(world, &document(ID));
        world.pass(Duration::from_secs(10));
        tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    }
}

async fn what_was_withdrawn_does_not_come_back_while_its_site_is_down(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let mut tokens = app.sign_in(&world.browser(), world.alice()).await;
    let is_refused = async |tokens: &Tokens| {
        open(world, &app).await.expect_page(400, "can be used");
        let refused = app.refresh(&tokens.refresh).await;
        refused.expect(401, "invalid_client");
    };
    for (status, body) in [(404, ""), (200, "<html>"), (410, "")] {
        world.hosted.put_with(ID, status, &[JSON], body.to_owned());
        world.pass(Duration::from_mins(61));
        is_refused(&tokens).await;
        for down in [503, 429] {
            world.hosted.put(ID, down, String::new());
            world.pass(Duration::from_secs(11));
            is_refused(&tokens).await;
            // Nor in a process that never saw the withdrawal.
            world.restart().await;
            is_refused(&tokens).await;
        }
        put(world, &document(ID));
        world.pass(Duration::from_secs(11));
        tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
        assert_eq!(open(world, &app).await.status, 200);
    }
}

async fn a_document_that_cannot_be_read_holds_for_a_day(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    // A day after it was last read, whenever somebody allowed the app something.
    world.pass(Duration::from_hours(20));
    assert_eq!(open(world, &app).await.status, 200);
    world.hosted.put(ID, 503, String::new());
    world.pass(Duration::from_hours(20));
    assert_eq!(open(world, &app).await.status, 200);
    world.restart().await;
    assert_eq!(open(world, &app).await.status, 200);
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    world.pass(Duration::from_hours(5));
    for _ in 0..2 {
        open(world, &app).await.expect_page(400, "can be used");
        let refused = app.refresh(&tokens.refresh).await;
        refused.expect(401, "invalid_client");
        // A new process has no day of its own.
        world.restart().await;
    }
    put(world, &document(ID));
    Tokens::of(&app.refresh(&tokens.refresh).await);

    // One that nobody has allowed anything holds no longer.
    let other = "https://app.example.org/other.json";
    put(world, &document(other));
    let app = App::known(world, other, None);
    assert_eq!(open(world, &app).await.status, 200);
    world.hosted.put(other, 503, String::new());
    world.pass(Duration::from_hours(23));
    assert_eq!(open(world, &app).await.status, 200);
    world.pass(Duration::from_hours(2));
    open(world, &app).await.expect_page(400, "can be used");
}

async fn a_withdrawn_app_gets_nothing_for_its_tokens(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let operators = world.app().await;
    let others = operators.sign_in(&world.browser(), world.alice()).await;
    let call = async |app: &App<'_>, access: &str| {
        let path = "/api/atprotocol/session";
        let session = app
            .call(&Method::GET, path, access, &[], Bytes::new())
            .await;
        let query = app.query(access, "com.atproto.server.getSession").await;
        [app.userinfo(access).await, session, query]
    };
    for (status, body) in [
        (404, String::new()),
        (410, String::new()),
        (200, "{}".to_owned()),
    ] {
        for answer in call(&app, &tokens.access).await {
            answer.ok();
        }
        world.hosted.put_with(ID, status, &[JSON], body);
        world.pass(Duration::from_mins(11));
        open(world, &app).await.expect_page(400, "can be used");
        for _ in 0..2 {
            for answer in call(&app, &tokens.access).await {
                answer.expect(401, "invalid_token").logged("is withdrawn");
            }
            let refused = app.refresh(&tokens.refresh).await;
            refused.expect(401, "invalid_client");
            for answer in call(&operators, &others.access).await {
                answer.ok();
            }
            // In a process that never saw the withdrawal, too.
            world.restart().await;
        }
        // Nothing was ended by that.
        put(world, &document(ID));
        world.pass(Duration::from_secs(11));
    }
    for answer in call(&app, &tokens.access).await {
        answer.ok();
    }
}

async fn an_app_whose_document_is_gone_is_told_of_no_sign_out(world: &World) {
    take_documents(world, |_| {}).await;
    let told_at = "https://app.example.org/signed-out";
    put(world, &with("backchannel_logout_uri", json!(told_at)));
    world.hosted.put(told_at, 200, String::new());
    let app = App::known(world, ID, None);
    let (first, second) = (world.browser(), world.browser());
    app.sign_in(&first, world.alice()).await;
    app.sign_in(&second, world.bob()).await;
    let sign_out = async |browser: &Browser<'_>| {
        let account = browser.open(&format!("{BASE}/account")).await;
        let form = Form::with_field(account.answer.text(), "action", "sign-out").unwrap();
        browser.submit(form, "sign-out-button").await;
        world.hosted.received(told_at).len()
    };
    assert_eq!(sign_out(&first).await, 1);
    world.hosted.put(ID, 404, String::new());
    world.pass(Duration::from_mins(10));
    open(world, &app).await.expect_page(400, "can be used");
    assert_eq!(sign_out(&second).await, 1);
    assert_eq!(world.dump().await.count("logout_deliveries"), 0);
}

async fn an_app_whose_document_was_not_read_for_days_is_told_of_a_sign_out(world: &World) {
    take_documents(world, |_| {}).await;
    let told_at = "https://app.example.org/signed-out";
    let right = with("backchannel_logout_uri", json!(told_at));
    put(world, &right);
    world.hosted.put(told_at, 200, String::new());
    let app = App::known(world, ID, None);
    let (first, second) = (world.browser(), world.browser());
    let tokens = app.sign_in(&first, world.alice()).await;
    app.sign_in(&second, world.bob()).await;

    world.pass(Duration::from_hours(50));
    let hint = serde_urlencoded::to_string([("id_token_hint", tokens.id_token())]).unwrap();
    let page = first.open(&format!("{BASE}/oauth/logout?{hint}")).await;
    assert_eq!(page.answer.status, 200, "{page:?}");
    assert_eq!(world.hosted.received(told_at).len(), 1);

    // While the site is away it is not known whether the app still wants to be told.
    world.hosted.put(ID, 503, String::new());
    world.pass(Duration::from_hours(50));
    let account = second.open(&format!("{BASE}/account")).await;
    let form = Form::with_field(account.answer.text(), "action", "sign-out").unwrap();
    second.submit(form, "sign-out-button").await;
    assert_eq!(world.hosted.received(told_at).len(), 1);
    assert_eq!(world.dump().await.count("logout_deliveries"), 1);
    put(world, &right);
    world.pass(Duration::from_mins(10));
    let server = &world.aip().app.server;
    assert!(server.deliver_due_logouts().await.unwrap());
    assert_eq!(world.hosted.received(told_at).len(), 2);
}

async fn an_app_with_keys_in_its_document_proves_itself(world: &World) {
    take_documents(world, |_| {}).await;
    let key = |kid: &str| SigningKey::generate(Alg::Es256, Some(kid.to_owned())).unwrap();
    let of = |key: &SigningKey| {
        let keys = JwkSet::new(vec![key.public().clone()]);
        let mut document = with("token_endpoint_auth_method", json!("private_key_jwt"));
        document["jwks"] = serde_json::from_str(&keys.to_json()).unwrap();
        document
    };
    let (old, new) = (key("old"), key("new"));
    put(world, &of(&old));
    let named = || {
        let mut app = App::known(world, ID, None);
        app.method = ClientAuthMethod::PrivateKeyJwt;
        app
    };
    let new_document = of(&new);
    let (app, renewed) = (
        named().with_assertion_key(old),
        named().with_assertion_key(new),
    );
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);
    let refused = App::known(world, ID, None).refresh(&tokens.refresh).await;
    refused.expect(401, "invalid_client");

    // A process that has not seen the document reads it at the token endpoint, by the assertion alone.
    put(world, &new_document);
    world.pass(Duration::from_mins(10));
    let tokens = Tokens::of(&renewed.refresh(&tokens.refresh).await);
    let refused = app.refresh(&tokens.refresh).await;
    refused
        .expect(401, "invalid_client")
        .logged("no single key");
}

async fn another_replica_goes_on_with_a_sign_in(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    world.restart().await;
    let consent = browser.sign_in(&login, world.alice()).await;
    world.restart().await;
    let back = browser.allow(&consent).await;
    world.restart().await;
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(world.hosted.reads(ID), 4);
}

async fn where_documents_are_not_taken_nobody_reads_them(world: &World) {
    let bye = "https://app.example.org/bye";
    put(world, &with("post_logout_redirect_uris", json!([bye])));
    let app = App::known(world, ID, None);
    let answer = open(world, &app).await;
    answer.expect_page(400, "is not registered");
    assert_eq!(world.hosted.reads(ID), 0);
    take_documents(world, |_| {}).await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let query = [("client_id", ID), ("post_logout_redirect_uri", bye)];
    let query = serde_urlencoded::to_string(query).unwrap();
    let logout = format!("{BASE}/oauth/logout?{query}");
    assert!(browser.open(&logout).await.has_form("logout"));
    assert_eq!(world.hosted.reads(ID), 1);
    // What was kept while they were taken is worth nothing when they are not any more.
    world
        .restart_configured(|config| config.max_document_clients = None)
        .await;
    let answer = open(world, &app).await;
    answer.expect_page(400, "is not registered");
    let refused = app.refresh(&tokens.refresh).await;
    refused.expect(401, "invalid_client");
    let page = browser.open(&logout).await;
    page.answer.expect_page(400, "is not registered");
    assert_eq!(world.hosted.reads(ID), 1);
}

async fn an_app_of_the_operators_may_have_an_address_as_its_id(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let server = world.aip().app.server.clone();
    let mut settings = App::settings();
    settings.auth_method = ClientAuthMethod::None;
    "Registered".clone_into(&mut settings.name);
    let registered = server.register_client(Some(ID.parse().unwrap()), settings);
    registered.await.unwrap();
    let app = App::known(world, ID, None);
    let login = open(world, &app).await;
    assert!(login.text().contains("Registered"));
    app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(world.hosted.reads(ID), 0);
    let client = &server.storage.list_clients().await.unwrap()[0];
    assert!(!client.from_document);

    // Nor does its request cost a statement more than that of an app with another id.
    let plain = App::register(world, |_| {}).await;
    world.restart().await;
    let cost = async |app: &App<'_>| {
        let request = Request::get(app.begin_authorization(&[]).url);
        let answer = world.send(request.body(Bytes::new()).unwrap()).await;
        statements(world, &answer)
    };
    // What a process reads once is read by then.
    cost(&App::known(world, "nobody", None)).await;
    assert_eq!(cost(&app).await, cost(&plain).await);
}

async fn who_names_many_apps_is_held_off_and_others_are_not(world: &World) {
    take_documents(world, |config| config.rate_limits = true).await;
    put(world, &document(ID));
    let ask = async |id: &str, network: &str| {
        let app = App::known(world, id, None);
        let request =
            Request::get(app.begin_authorization(&[]).url).header("x-forwarded-for", network);
        world.send(request.body(Bytes::new()).unwrap()).await
    };
    // Names forty apps that nobody has used yet, and counts the refusals.
    let flood = async |name: &str| {
        let mut refused = 0;
        for number in 0..40 {
            let id = format!("https://app.example.org/{name}-{number}.json");
            let body = document(&id).to_string();
            world.hosted.put_with(&id, 200, &[JSON], body);
            let answer = ask(&id, "203.0.113.9").await;
            if answer.status == 429 {
                refused += 1;
                assert_eq!(world.hosted.reads(&id), 0);
                answer.header("retry-after");
            }
        }
        refused
    };
    assert_eq!(flood("first").await, 20);
    assert_ne!(ask(ID, "198.51.100.7").await.status, 429);
    // What is known already needs no place, be it fresh or not.
    assert_ne!(ask(ID, "203.0.113.9").await.status, 429);
    world.pass(Duration::from_mins(11));
    assert_eq!(flood("second").await, 20);
    assert_ne!(ask(ID, "203.0.113.9").await.status, 429);
    assert_eq!(world.hosted.reads(ID), 1, "it was not read again");
    assert_ne!(ask(ID, "198.51.100.7").await.status, 429);
    assert_eq!(world.hosted.reads(ID), 2);
    assert!(kept(world).await.is_empty());
}

async fn no_more_apps_are_kept_than_may_be(world: &World) {
    take_documents(world, |config| config.max_document_clients = Some(1)).await;
    let second = "https://app.example.org/second.json";
    put(world, &document(ID));
    put(world, &document(second));
    let app = App::known(world, ID, None);
    app.sign_in(&world.browser(), world.alice()).await;
    let other = App::known(world, second, None);
    let browser = world.browser();
    let pending = other.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.bob()).await;
    let back = browser.allow(&consent).await;
    pending.refused(&back, "temporarily_unavailable");
    let full = "no further clients with a metadata document";
    let log = world.log();
    let mut lines = log.lines().filter(|line| line.contains(full));
    assert!(lines.any(|line| line.contains(second)), "{log}");
    assert_eq!(kept(world).await, [ID]);
    // The app that is kept goes on.
    app.sign_in(&world.browser(), world.bob()).await;
}

async fn an_app_that_nobody_uses_any_more_is_forgotten(world: &World) {
    take_documents(world, |_| {}).await;
    put(world, &document(ID));
    let app = App::known(world, ID, None);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let storage = world.aip().app.server.storage.clone();
    let forget = async || {
        let now = world.clock.now();
        let before = now - Duration::from_hours(30 * 24);
        storage
            .delete_unused_document_clients(before, now, 10)
            .await
            .unwrap()
    };
    world.pass(Duration::from_hours(40 * 24));
    assert_eq!(forget().await, 0, "somebody allows it something");
    assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
    // Grants that ended are kept for a while, for the account page and the log.
    world.pass(Duration::from_hours(400 * 24));
    while storage
        .purge_expired(world.clock.now(), 500)
        .await
        .unwrap()
        .more
    {}
    assert_eq!(forget().await, 1);
    assert!(kept(world).await.is_empty());
    // It comes back as it came.
    app.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(kept(world).await, [ID]);
    assert_eq!(forget().await, 0);
}
