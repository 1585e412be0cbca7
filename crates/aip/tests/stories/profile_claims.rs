//! What userinfo and `id_token`s tell of the profile that an account shows: from its own record, for those
//! who may know it, and never at the cost of an answer.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use aip_sandbox::{Endpoint, PdsOptions, When};
use serde_json::{Value, json};

use crate::app::{App, SCOPE, Tokens};
use crate::app_passwords::{call, own_session};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{World, until};

on_both_engines!(
    the_profile_is_reported_as_its_owner_wrote_it,
    the_profile_is_for_those_who_may_know_it,
    a_name_that_is_no_name_is_not_told,
    a_pds_that_does_not_tell_costs_the_profile_alone,
    a_code_is_answered_before_its_app_gives_up_and_nothing_that_was_read_is_lost,
    a_host_that_an_account_has_left_does_not_name_it,
);

const GET_RECORD: Endpoint = Endpoint::Method("com.atproto.repo.getRecord");
const CID: &str = "bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy";

/// Alice writes her profile, with her own session at her PDS.
async fn write_profile(world: &World, profile: Value) {
    let token = own_session(world).await;
    let mut record = profile;
    record["$type"] = json!("app.bsky.actor.profile");
    let input = json!({
        "repo": world.alice().did.as_str(),
        "collection": "app.bsky.actor.profile",
        "rkey": "self",
        "record": record,
        "validate": false,
    });
    call(world, "com.atproto.repo.putRecord", Some(&token), &input).await;
    world.pds().forget_requests();
}

fn with_picture(name: &Value) -> Value {
    json!({
        "displayName": name,
        "avatar": {
            "$type": "blob", "ref": { "$link": CID }, "mimeType": "image/png", "size": 3,
        },
    })
}

fn reads(world: &World) -> usize {
    world.pds().requests_to(GET_RECORD).len()
}

/// What is told of alice without a profile.
fn plain(world: &World) -> Value {
    let alice = world.alice();
    json!({
        "sub": alice.did.as_str(),
        "did": alice.did.as_str(),
        "preferred_username": alice.handle.as_str(),
        "name": alice.handle.as_str(),
        "pds_endpoint": world.pds().origin(),
    })
}

async fn the_profile_is_reported_as_its_owner_wrote_it(world: &World) {
    write_profile(world, with_picture(&json!("Alice 👩🏽‍🚀"))).await;
    let app = App::register(world, |settings: &mut ClientSettings| {
        settings.claims_in_id_token = true;
    });
    let app = app.await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let did = world.alice().did.as_str();
    let mut expected = plain(world);
    expected["name"] = json!("Alice 👩🏽‍🚀");
    expected["profile"] = json!(format!("https://bsky.app/profile/{did}"));
    let encoded = did.replace(':', "%3A");
    let blob = format!("xrpc/com.atproto.sync.getBlob?did={encoded}&cid={CID}");
    expected["picture"] = json!(format!("{}/{blob}", world.pds().origin()));
    for _ in 0..3 {
        assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);
    }
    let other = world.app().await;
    let others = other.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(other.userinfo(&others.access).await.ok(), expected);
    assert_eq!(reads(world), 1, "for all apps, and kept");
    let requests = world.pds().requests_to(GET_RECORD);
    let headers = &requests[0].headers;
    assert!(!headers.contains_key("authorization"), "as anybody may");

    let claims = verified_claims(world, tokens.id_token()).await;
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&claims[name], value, "{name}");
    }
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    let supported = discovery["claims_supported"].as_array().unwrap();
    for name in expected.as_object().unwrap().keys() {
        assert!(supported.contains(&json!(name)), "{name}");
    }

    // It is read again after a while, and told as it is then.
    write_profile(world, json!({ "displayName": "Alice II" })).await;
    assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);
    world.pass(Duration::from_mins(10));
    expected["name"] = json!("Alice II");
    expected.as_object_mut().unwrap().remove("picture");
    assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);
}

async fn the_profile_is_for_those_who_may_know_it(world: &World) {
    write_profile(world, with_picture(&json!("Alice"))).await;
    let app = App::register(world, |settings: &mut ClientSettings| {
        settings.claims_in_id_token = true;
    });
    let app = app.await;
    let did = world.alice().did.as_str();
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), "atproto openid");
    let tokens = tokens.await;
    let expected = json!({ "sub": did, "did": did });
    assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);
    let claims = verified_claims(world, tokens.id_token()).await;
    for hidden in [
        "name",
        "profile",
        "picture",
        "pds_endpoint",
        "preferred_username",
    ] {
        assert!(claims.get(hidden).is_none(), "{hidden}: {claims}");
    }
    let wide = app.sign_in(&world.browser(), world.alice()).await;
    let narrow = Tokens::of(&app.narrow(&wide.refresh, "openid").await);
    let told = app.userinfo(&narrow.access).await.ok();
    assert_eq!(told, json!({ "sub": did }));
    assert_eq!(reads(world), 1, "for the wide one alone");

    // An app may ask for each of them by its name.
    let did = did.replace(':', "%3A");
    let blob = format!("xrpc/com.atproto.sync.getBlob?did={did}&cid={CID}");
    let picture = json!(format!("{}/{blob}", world.pds().origin()));
    let page = json!(format!("https://bsky.app/profile/{}", world.alice().did));
    for (name, value) in [("picture", picture), ("profile", page)] {
        let wish = json!({ "userinfo": { name: null }, "id_token": { name: null } }).to_string();
        let pending = app.begin_authorization(&[("scope", "openid"), ("claims", &wish)]);
        let browser = world.browser();
        let login = browser.open(&pending.url).await;
        let consent = browser.sign_in(&login, world.alice()).await;
        let code = pending.code(&browser.allow(&consent).await);
        let tokens = Tokens::of(&app.redeem(&pending, &code).await);
        let told = json!({ "sub": world.alice().did.as_str(), name: value });
        assert_eq!(app.userinfo(&tokens.access).await.ok(), told);
        let claims = verified_claims(world, tokens.id_token()).await;
        let others = ["name", "picture", "profile", "preferred_username", "did"];
        let present: Vec<_> = others
            .iter()
            .filter(|it| claims.get(it).is_some())
            .collect();
        assert_eq!(present, [&name], "{claims}");
        assert_eq!(claims[name], value);
    }

    // What the person is asked is what is told.
    let pending = app.begin_authorization(&[("prompt", "consent"), ("scope", SCOPE)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let words = "Your handle, your public name, picture and profile page";
    assert!(consent.answer.text().contains(words));
}

async fn a_name_that_is_no_name_is_not_told(world: &World) {
    let app = App::register(world, |settings: &mut ClientSettings| {
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let bobs = [
        world.bob().handle.as_str().to_owned(),
        format!("@{}", world.bob().handle),
        world.bob().handle.as_str().to_uppercase(),
        world.bob().did.to_string(),
    ];
    let bobs = bobs.iter().map(|name| json!(name));
    let others = [
        json!(""),
        json!("  "),
        json!(7),
        json!(["Alice"]),
        json!(null),
    ];
    for name in bobs.chain(others) {
        let profile = json!({ "displayName": name, "avatar": { "ref": { "$link": "../x" } } });
        write_profile(world, profile).await;
        world.pass(Duration::from_mins(11));
        let mut expected = plain(world);
        let page = format!("https://bsky.app/profile/{}", world.alice().did);
        expected["profile"] = json!(page);
        assert_eq!(app.userinfo(&tokens.access).await.ok(), expected, "{name}");
    }
}

async fn a_pds_that_does_not_tell_costs_the_profile_alone(world: &World) {
    write_profile(world, with_picture(&json!("Alice"))).await;
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let expected = plain(world);
    world.pds().always(GET_RECORD).is_unavailable();
    for _ in 0..3 {
        assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);
    }
    assert_eq!(reads(world), 1, "it is left alone for a minute");
    world.pass(Duration::from_mins(1));
    world.pds().heal(GET_RECORD);
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["name"], "Alice");

    // What was read once is told on while the PDS is away.
    world.pds().always(GET_RECORD).drops_response();
    world.pass(Duration::from_mins(10));
    assert_eq!(app.userinfo(&tokens.access).await.ok(), told);
}

async fn a_code_is_answered_before_its_app_gives_up_and_nothing_that_was_read_is_lost(
    world: &World,
) {
    write_profile(world, with_picture(&json!("Alice"))).await;
    let app = App::register(world, |settings: &mut ClientSettings| {
        settings.claims_in_id_token = true;
    });
    let app = app.await;
    // The token endpoint waits for it for a while, and not for as long as it may take.
    let gate = world.pds().next(GET_RECORD).holds(When::After);
    let given_up = async {
        let line = "claims not read in time";
        until(line, async || world.log().contains(line)).await;
        // At once: the read itself is given up, too, a second later.
        gate.open();
    };
    let browser = world.browser();
    let scope = format!("{SCOPE} email");
    let signed_in = app.sign_in_for(&browser, world.alice(), &scope);
    let (tokens, ()) = tokio::join!(signed_in, given_up);
    let claims = verified_claims(world, tokens.id_token()).await;
    let expected = plain(world);
    for name in ["name", "preferred_username", "pds_endpoint"] {
        assert_eq!(claims[name], expected[name], "{name}");
    }
    assert!(claims["picture"].is_null());
    let email = "alice-test@mail.test";
    assert_eq!(claims["email"], email, "a slow profile costs nothing else");
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["name"], "Alice");
    assert_eq!(reads(world), 1, "it was read for the code");
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    let claims = verified_claims(world, renewed.id_token()).await;
    assert_eq!(claims["picture"], told["picture"]);
}

async fn a_host_that_an_account_has_left_does_not_name_it(world: &World) {
    write_profile(world, with_picture(&json!("Alice"))).await;
    let scope = "openid profile atproto";
    let mut apps = Vec::new();
    for authentication_only in [false, true] {
        let app = App::register(world, |settings: &mut ClientSettings| {
            settings.scope = scope.parse().unwrap();
            settings.authentication_only = authentication_only;
            settings.access_token_ttl = Duration::from_hours(24);
        });
        let app = app.await;
        let browser = world.browser();
        let tokens = app.sign_in_for(&browser, world.alice(), scope).await;
        let told = app.userinfo(&tokens.access).await.ok();
        assert_eq!(told["name"], "Alice");
        apps.push((app, tokens));
    }
    let new_home = world.sandbox.another_pds(PdsOptions::default());
    let new_home = new_home.await.unwrap();
    new_home.adopt(world.pds(), &world.alice().did).unwrap();
    let asked = reads(world);
    // DID documents are taken to be as they were for an hour.
    world.pass(Duration::from_mins(61));
    for (app, tokens) in &apps {
        let told = app.userinfo(&tokens.access).await.ok();
        assert_eq!(told, plain(world));
    }
    assert_eq!(reads(world), asked, "the old host is not asked");
}
