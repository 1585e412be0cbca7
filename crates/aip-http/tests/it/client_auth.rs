//! What is told of a token request before its code or token is looked at: where an app may put its
//! secret, and which grants there are.

use aip_oauth::registration::ClientSettings;
use aip_storage::client::ClientAuthMethod;
use http::header::AUTHORIZATION;

use crate::support::app::basic;
use crate::support::{Answer, World, form_request, settings};

async fn revoke(world: &World, authorization: Option<String>, form: &[(&str, &str)]) -> Answer {
    let mut form = form.to_vec();
    form.push(("token", "x"));
    let headers: Vec<_> = authorization
        .map(|it| (AUTHORIZATION, it))
        .into_iter()
        .collect();
    world
        .send(form_request("/oauth/revoke", &form, &headers))
        .await
}

#[tokio::test]
async fn the_body_will_do_for_apps_that_registered_it() {
    let world = World::new().await;
    let app = world
        .app_with(ClientSettings {
            auth_method: ClientAuthMethod::SecretPost,
            auth_method_pinned: true,
            ..settings()
        })
        .await;
    let secret = app.secret.clone().unwrap();
    let form = [("client_id", app.id.as_str()), ("client_secret", &secret)];
    assert_eq!(revoke(&world, None, &form).await.status, 200);
    let answer = revoke(&world, Some(basic(&app.id, &secret)), &[]).await;
    answer.expect_error(401, "invalid_client");
    assert!(
        answer.body.contains("client_secret_post"),
        "the app is told"
    );
    let wrong = revoke(&world, Some(basic(&app.id, "wrong")), &[]).await;
    wrong.expect_error(401, "invalid_client");
    assert!(
        !wrong.body.contains("client_secret_post"),
        "a stranger is not"
    );
}

#[tokio::test]
async fn a_secret_is_taken_by_basic_and_in_the_body_alike() {
    let world = World::new().await;
    for auth_method in [ClientAuthMethod::SecretBasic, ClientAuthMethod::SecretPost] {
        let app = world
            .app_with(ClientSettings {
                auth_method,
                ..settings()
            })
            .await;
        let secret = app.secret.clone().unwrap();
        let form = [("client_id", app.id.as_str()), ("client_secret", &secret)];
        assert_eq!(revoke(&world, None, &form).await.status, 200);
        let in_header = Some(basic(&app.id, &secret));
        assert_eq!(revoke(&world, in_header, &[]).await.status, 200);
    }
}

#[tokio::test]
async fn other_grant_types_are_unsupported() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    for grant_type in [
        "password",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "implicit",
    ] {
        let answer = app.token(&[("grant_type", grant_type)]).await;
        answer.expect_error(400, "unsupported_grant_type");
    }
    let answer = app.token(&[("scope", "openid")]).await;
    answer.expect_error(400, "invalid_request");
}
