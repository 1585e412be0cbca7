//! The grants that an app is registered for, and the bound tokens that it is registered with.

use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_storage::client::{ClientAuthMethod, ClientId, GrantType, GrantTypes};

use crate::app::App;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_grant_that_an_app_is_not_registered_for_is_refused,
    an_app_without_the_grant_gets_no_refresh_token,
    grants_that_nobody_could_use_are_not_registered,
    an_app_of_bound_tokens_gets_none_without_a_proof,
);

fn grants(settings: &mut ClientSettings, grants: &[GrantType]) {
    settings.grant_types = GrantTypes::try_from(grants.to_vec()).unwrap();
}

async fn a_grant_that_an_app_is_not_registered_for_is_refused(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let mut settings = App::settings();
    grants(&mut settings, &[GrantType::ClientCredentials]);
    settings.redirect_uris = vec![crate::app::REDIRECT.parse().unwrap()];
    let server = world.aip().app.server.clone();
    server.update_client(&app.id, settings).await.unwrap();

    let before = world.state().await;
    let pending = app.begin_authorization(&[]);
    let page = world.browser().open(&pending.url).await;
    pending.refused(&page.away(), "unauthorized_client");
    let refused = app.refresh(&tokens.refresh).await;
    refused
        .expect(400, "unauthorized_client")
        .logged("not registered for the grant type `refresh_token`");
    let refused = app.redeem(&pending, "any").await;
    refused.expect(400, "unauthorized_client");
    assert_eq!(world.state().await, before);

    let other = world.app().await;
    let form = [("grant_type", "client_credentials")];
    let refused = other.token(&form).await;
    refused.expect(400, "unauthorized_client");
    for unsupported in ["password", "implicit", "AUTHORIZATION_CODE"] {
        let refused = other.token(&[("grant_type", unsupported)]).await;
        refused
            .expect(400, "unsupported_grant_type")
            .logged("must be one of `authorization_code`");
    }
}

async fn an_app_without_the_grant_gets_no_refresh_token(world: &World) {
    let app = App::register(world, |settings| {
        grants(settings, &[GrantType::AuthorizationCode]);
    });
    let app = app.await;
    let pending = app.begin_authorization(&[]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let answer = app.redeem(&pending, &code).await.ok();
    assert_eq!(answer.get("refresh_token"), None);
    let access = answer["access_token"].as_str().unwrap();
    app.userinfo(access).await.ok();

    // The grant ends with the access token: nothing keeps its session at the PDS.
    world.pass(std::time::Duration::from_hours(2));
    let storage = world.aip().app.server.storage.clone();
    let now = aip_base::Clock::now(&*world.clock);
    assert_eq!(storage.end_expired_grants(now, now, 10).await.unwrap(), 1);
}

async fn grants_that_nobody_could_use_are_not_registered(world: &World) {
    let server = world.aip().app.server.clone();
    let refusal = async |change: &dyn Fn(&mut ClientSettings)| {
        let mut settings = App::settings();
        change(&mut settings);
        server.register_client(None, settings).await.err().unwrap()
    };
    let refused = refusal(&|it| {
        grants(it, &[GrantType::ClientCredentials]);
        it.auth_method = ClientAuthMethod::None;
    })
    .await;
    assert!(matches!(refused, RegistrationError::PublicWithCredentials));
    let refused = refusal(&|it| grants(it, &[GrantType::RefreshToken])).await;
    assert!(matches!(refused, RegistrationError::RefreshAlone));
    let alone = [GrantType::ClientCredentials, GrantType::TokenExchange];
    let refused = refusal(&|it| grants(it, &alone)).await;
    assert!(matches!(refused, RegistrationError::ExchangeAlone));
    let reserved = ClientId::of_delegations();
    let refused = server.register_client(Some(reserved), App::settings());
    assert!(matches!(refused.await, Err(RegistrationError::Exists(_))));
    let refused = refusal(&|it| it.auth_method = ClientAuthMethod::PrivateKeyJwt).await;
    assert!(matches!(refused, RegistrationError::NoClientKeys));
    let refused = refusal(&|it| it.redirect_uris.clear()).await;
    assert!(matches!(refused, RegistrationError::RedirectCount(0)));
    assert_eq!(world.dump().await.count("clients"), 0);
}

async fn an_app_of_bound_tokens_gets_none_without_a_proof(world: &World) {
    let app = App::register(world, |it| it.dpop_bound_access_tokens = true).await;
    let pending = app.begin_authorization(&[]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let before = world.state().await;
    let refused = app.redeem(&pending, &code).await;
    refused
        .expect(400, "invalid_request")
        .logged("there must be a DPoP proof");
    assert_eq!(world.state().await, before);

    let bound = app.with_dpop();
    let tokens = crate::app::Tokens::of(&bound.redeem(&pending, &code).await);
    assert_eq!(tokens.answer["token_type"], "DPoP");
    let refused = bound.without_key().refresh(&tokens.refresh).await;
    refused.expect(400, "invalid_request");
    bound.refresh(&tokens.refresh).await.ok();
}
