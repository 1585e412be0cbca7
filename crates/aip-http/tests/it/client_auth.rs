//! Apps prove who they are, with the secret they have, where their library puts it.

use aip_oauth::registration::ClientSettings;
use aip_storage::client::ClientAuthMethod;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
async fn d2_row42_every_wrong_credential_is_401_with_a_challenge() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    let (id, secret) = (app.id.as_str(), app.secret.clone().unwrap());
    let secret = secret.as_str();
    let refused = [
        revoke(&world, Some(basic(id, "wrong")), &[]).await,
        revoke(&world, Some(basic(id, "")), &[]).await,
        revoke(&world, Some(basic("nobody", secret)), &[]).await,
        revoke(
            &world,
            Some(basic(id, secret)),
            &[("client_secret", secret)],
        )
        .await,
        revoke(&world, Some(basic(id, secret)), &[("client_id", "another")]).await,
        revoke(
            &world,
            None,
            &[("client_id", id), ("client_secret", "wrong")],
        )
        .await,
        revoke(&world, None, &[("client_id", id)]).await,
        revoke(&world, None, &[]).await,
        revoke(&world, Some("Basic !!!".to_owned()), &[]).await,
    ];
    for (number, answer) in refused.iter().enumerate() {
        assert_eq!(answer.status, 401, "{number}: {}", answer.body);
        answer.expect_error(401, "invalid_client");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"aip\"");
    }
    let right = revoke(&world, Some(basic(id, secret)), &[]).await;
    assert_eq!(right.status, 200, "{}", right.body);
}

#[tokio::test]
async fn d2_row42_a_percent_encoded_basic_credential_is_decoded() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    // "%61" is an "a": whoever encodes more than must be encoded means the same.
    let encoded = |text: &str| text.replace('a', "%61").replace('_', "%5F");
    let secret = app.secret.clone().unwrap();
    let everything = format!("{}:{}", encoded(&app.id), encoded(&secret));
    let credential = format!("basic {}", STANDARD.encode(everything));
    let answer = revoke(&world, Some(credential), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn d2_row42_the_body_will_do_for_apps_that_registered_it() {
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
async fn d2_row42_a_secret_is_taken_by_basic_and_in_the_body_alike() {
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
async fn d2_row43_nothing_in_the_answer_tells_a_nearly_right_secret_from_an_unknown_app() {
    let world = World::new().await;
    let app = world.confidential_app().await;
    let mut nearly = app.secret.clone().unwrap();
    nearly.pop();
    let nearly = revoke(&world, Some(basic(&app.id, &nearly)), &[]).await;
    let unknown = revoke(&world, Some(basic("nobody", "nothing")), &[]).await;
    assert_eq!(nearly.body, unknown.body);
    assert_eq!(nearly.status, unknown.status);
}
