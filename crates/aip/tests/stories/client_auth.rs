//! Apps that cannot prove who they are: all refused alike, and nothing is spent.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;

use crate::app::basic_credential;
use crate::on_both_engines;
use crate::world::{World, until};

on_both_engines!(
    wrong_credentials_are_refused_with_a_challenge_and_cost_nothing,
    a_nearly_right_secret_is_refused_like_any_other,
    a_secret_replaced_by_another_process_works_at_once_and_ends_the_old_one_soon,
);

async fn wrong_credentials_are_refused_with_a_challenge_and_cost_nothing(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let (id, secret) = (app.id.as_str(), app.secret.as_deref().unwrap());
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*tokens.refresh),
    ];
    let before = world.state().await;
    let basic = |secret: &str| Some(basic_credential(id, secret));
    let cases = [
        (basic("wrong"), vec![], "secret is wrong"),
        (basic(""), vec![], "secret is wrong"),
        (
            basic(secret),
            vec![("client_id", "another")],
            "more than one",
        ),
        (
            None,
            vec![("client_id", id), ("client_secret", "wrong")],
            "secret is wrong",
        ),
        (None, vec![("client_id", id)], "registered"),
        (None, vec![], "does not name"),
        (Some("Basic !".to_owned()), vec![], "malformed"),
        (
            Some(basic_credential("nobody", secret)),
            vec![],
            "no such client",
        ),
    ];
    for (authorization, extra, logged) in cases {
        let form = [refresh.as_slice(), &extra].concat();
        let answer = app
            .post_as("/oauth/token", authorization.as_deref(), &form)
            .await;
        answer.expect(401, "invalid_client").logged(logged);
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"aip\"");
        assert_eq!(
            answer.json()["error_description"],
            "client authentication failed"
        );
    }
    // RFC 6749 §5.2: several at once make a malformed request, right or wrong.
    for (in_header, in_body) in [(secret, secret), (secret, "x"), ("x", secret)] {
        let form = [refresh.as_slice(), &[("client_secret", in_body)]].concat();
        let answer = app
            .post_as("/oauth/token", basic(in_header).as_deref(), &form)
            .await;
        answer.expect(400, "invalid_request");
        let words = answer.json()["error_description"].to_string();
        assert!(
            words.contains("more than one authentication method"),
            "{words}"
        );
    }
    assert_eq!(world.state().await, before);

    // RFC 6749 §2.3.1: what is percent-encoded is decoded.
    let encoded = secret.bytes().fold(String::new(), |mut encoded, it| {
        write!(encoded, "%{it:02X}").unwrap();
        encoded
    });
    let joined = STANDARD.encode(format!("{id}:{encoded}"));
    let authorization = format!("basic {joined}");
    let answer = app
        .post_as("/oauth/token", Some(&authorization), &refresh)
        .await;
    world.secrets.learn_tokens(&answer.ok());
}

async fn a_nearly_right_secret_is_refused_like_any_other(world: &World) {
    let app = world.app().await;
    let secret = app.secret.clone().unwrap();
    let mut nearly = secret.clone();
    nearly.replace_range(
        secret.len() - 1..,
        if secret.ends_with('x') { "y" } else { "x" },
    );
    let random = aip_base::random_token::<32>(&aip_base::SystemRng);
    let mut seen = Vec::new();
    for secret in [&*nearly, &*random, "a"] {
        let credential = basic_credential(app.id.as_str(), secret);
        let form = [("grant_type", "refresh_token"), ("refresh_token", "any")];
        let answer = app.post_as("/oauth/token", Some(&credential), &form).await;
        answer
            .expect(401, "invalid_client")
            .logged("the client secret is wrong");
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        seen.push((answer.status, headers, answer.text().to_owned()));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    // What is compared is a keyed hash, in which no prefix of the secret shows.
    let hasher = world.aip().app.server.hasher.clone();
    let [right, wrong] = [&secret, &nearly].map(|it| *hasher.hash(it).as_bytes());
    assert_ne!(right[..4], wrong[..4]);
}

async fn a_secret_replaced_by_another_process_works_at_once_and_ends_the_old_one_soon(
    world: &World,
) {
    let app = world.app().await;
    let form = [("token", "any")];
    let introspect = async |secret: &str| {
        let credential = basic_credential(app.id.as_str(), secret);
        let answer = app.post_as("/oauth/introspect", Some(&credential), &form);
        answer.await.status
    };
    let old = app.secret.as_deref().unwrap();
    assert_eq!(introspect(old).await, 200);

    let elsewhere = world.replica().await;
    let (server, id) = (elsewhere.app.server.clone(), app.id.clone());
    let replace = elsewhere.run(async move { server.rotate_client_secret(&id).await });
    let new = replace.await.unwrap().unwrap();
    let new = new.expose_secret();
    world.secrets.learn("client secret", new);

    assert_eq!(introspect(new).await, 200);
    until("the old secret is refused", async || {
        introspect(old).await == 401
    })
    .await;
}
