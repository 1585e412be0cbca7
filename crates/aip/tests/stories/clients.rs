//! Clients as operators register and change them, and what PDSs are told about all of them.

use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_storage::client::{ApplicationType, ClientAuthMethod, RedirectUri};
use aip_storage::delegation::DelegationPreset;
use serde_json::Value;
use strum::IntoEnumIterator as _;

use crate::app::{App, REDIRECT, basic_credential};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    however_many_apps_there_are_each_may_ask_for_what_it_registered,
    the_document_for_pdss_follows_every_change_of_a_client,
    what_nobody_could_use_is_not_registered,
    everything_about_an_app_can_be_changed,
);

/// The scopes that AIP names in its document for PDSs.
async fn document_scopes(world: &World) -> Vec<String> {
    let document = world.get("/oauth-client-metadata.json").await.ok();
    let scopes = document["scope"].as_str().unwrap();
    scopes.split(' ').map(str::to_owned).collect()
}

async fn however_many_apps_there_are_each_may_ask_for_what_it_registered(world: &World) {
    let mut last = None;
    for n in 0..200 {
        let scope = format!("atproto openid repo:com.example.app{n}.record");
        let app = App::register(world, |settings| settings.scope = scope.parse().unwrap());
        last = Some((app.await, scope));
    }
    let named = document_scopes(world).await;
    for n in [0, 125, 126, 199] {
        assert!(
            named.contains(&format!("repo:com.example.app{n}.record")),
            "{n}"
        );
    }
    // A PDS compares word for word.
    let (app, scope) = last.unwrap();
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), &scope)
        .await;
    assert_eq!(tokens.answer["scope"], scope);
}

async fn the_document_for_pdss_follows_every_change_of_a_client(world: &World) {
    let scoped = |scope: &'static str| {
        move |settings: &mut ClientSettings| settings.scope = scope.parse().unwrap()
    };
    let first = "repo:com.example.first.record";
    let other = "repo:com.example.other.record";
    let has = async |scope: &str| document_scopes(world).await.contains(&scope.to_owned());
    assert!(!has(first).await);
    // What an owner may delegate is not a client's to register.
    for preset in DelegationPreset::iter() {
        for scope in preset.scope().iter() {
            assert!(has(&scope.to_string()).await, "{scope}");
        }
    }
    let app = App::register(world, scoped("atproto repo:com.example.first.record")).await;
    assert!(has(first).await);

    world.pass(std::time::Duration::from_secs(1));
    let server = world.aip().app.server.clone();
    let mut settings = App::settings();
    settings.scope = format!("atproto {other}").parse().unwrap();
    server.update_client(&app.id, settings).await.unwrap();
    assert!(has(other).await && !has(first).await);

    // As long as no client changes, they are not read again: what is changed behind AIP's back
    // does not show.
    let changed = world.texts("UPDATE clients SET scope = 'atproto' RETURNING id");
    assert_eq!(changed.await.len(), 1);
    assert!(has(other).await);

    let now = aip_base::Clock::now(&*world.clock);
    server.storage.delete_client(&app.id, now).await.unwrap();
    assert!(!has(other).await);
}

async fn what_nobody_could_use_is_not_registered(world: &World) {
    let server = world.aip().app.server.clone();
    let refusal = async |change: &dyn Fn(&mut ClientSettings)| {
        let mut settings = App::settings();
        change(&mut settings);
        match server.register_client(None, settings).await {
            Ok((client, _)) => panic!("registered: {client:?}"),
            Err(refusal) => refusal,
        }
    };
    for (scope, meant) in [
        (
            "openid,profile,atproto",
            "scopes are separated by spaces: `atproto openid profile`",
        ),
        ("atproto profiles", "`profiles` (did you mean `profile`?)"),
        (
            "atproto repo:psot",
            "did you mean `repo:app.bsky.feed.post`?",
        ),
        (
            "atproto rpc:app.bsky.feed.getTimeline",
            "did you mean `rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview`?",
        ),
        ("atproto payments", "`payments`"),
    ] {
        let refused = refusal(&|it| it.scope = scope.parse().unwrap()).await;
        assert!(matches!(refused, RegistrationError::UnknownScope(_)));
        assert!(refused.to_string().contains(meant), "{refused}");
    }
    for redirect in ["https://*.example.com/cb", "https://app.example.org/*"] {
        let refused = redirect.parse::<RedirectUri>().unwrap_err();
        assert!(refused.to_string().contains("`*`"), "{refused}");
    }
    for name in [
        "Bank\u{202e}gro.live",
        "A\u{200b}pp",
        "A\u{2028}pp",
        "\u{e000}",
        " ",
    ] {
        let refused = refusal(&|it| name.clone_into(&mut it.name)).await;
        assert!(matches!(refused, RegistrationError::Name(_)), "{refused}");
    }
    let day = std::time::Duration::from_hours(24);
    for (access, refresh) in [
        (day * 2, day),
        (day, day * 366),
        (std::time::Duration::ZERO, day),
        (std::time::Duration::MAX, std::time::Duration::MAX),
    ] {
        let refused = refusal(&|it| {
            (it.access_token_ttl, it.refresh_token_ttl) = (access, refresh);
        })
        .await;
        assert!(matches!(refused, RegistrationError::Ttl), "{refused}");
    }
    assert_eq!(world.dump().await.count("clients"), 0);
}

async fn everything_about_an_app_can_be_changed(world: &World) {
    let server = world.aip().app.server.clone();
    let app = world.public_app().await;
    let introspect = async |authorization: Option<String>, form: &[(&str, &str)]| {
        let answer = app.post_as("/oauth/introspect", authorization.as_deref(), form);
        answer.await
    };

    // It gets a secret, which works by either method.
    let mut settings = App::settings();
    settings.auth_method = ClientAuthMethod::SecretPost;
    "Renamed".clone_into(&mut settings.name);
    settings.application_type = ApplicationType::Native;
    settings.redirect_uris = [REDIRECT, "com.example.app:/cb"]
        .map(|it| it.parse().unwrap())
        .to_vec();
    let (client, secret) = server
        .update_client(&app.id, settings.clone())
        .await
        .unwrap();
    assert_eq!(client.settings.name, "Renamed");
    let secret = secrecy::ExposeSecret::expose_secret(&secret.unwrap()).to_owned();
    world.secrets.learn("a client secret", &secret);
    let id = app.id.as_str();
    let in_body = [
        ("token", "x"),
        ("client_id", id),
        ("client_secret", &*secret),
    ];
    let basic = || Some(basic_credential(id, &secret));
    assert_eq!(introspect(basic(), &[("token", "x")]).await.status, 200);
    assert_eq!(introspect(None, &in_body).await.status, 200);

    // Pinned, only one does, and whoever has the secret is told which.
    settings.auth_method_pinned = true;
    let (_, again) = server
        .update_client(&app.id, settings.clone())
        .await
        .unwrap();
    assert!(again.is_none(), "the secret stays");
    assert_eq!(introspect(None, &in_body).await.status, 200);
    let refused = introspect(basic(), &[("token", "x")]).await;
    refused.expect(401, "invalid_client");
    let told: Value = refused.json();
    assert!(
        told["error_description"]
            .as_str()
            .unwrap()
            .contains("client_secret_post")
    );

    // And it may lose its secret again.
    settings.auth_method = ClientAuthMethod::None;
    server.update_client(&app.id, settings).await.unwrap();
    introspect(None, &in_body)
        .await
        .expect(401, "invalid_client");
    let dump = world.texts("SELECT COUNT(*) || '' FROM clients WHERE secret_hash IS NOT NULL");
    assert_eq!(dump.await, ["0"]);
}
