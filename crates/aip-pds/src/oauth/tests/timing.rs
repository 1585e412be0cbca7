//! How long an answer is waited for, and from when on the life of what it brings counts.

use aip_base::Clock as _;

use super::*;

/// A token response that comes `after` its request was sent, and gives a life of `seconds`.
fn late(world: &World, after: Duration, seconds: u64) {
    let clock = Arc::clone(&world.clock);
    let mut body = tokens();
    body["expires_in"] = seconds.into();
    world.network.on(TOKEN, move || {
        clock.advance(after);
        answer(200, &body.to_string(), &[])
    });
}

#[tokio::test]
async fn a_life_counts_from_when_the_tokens_were_asked_for() {
    let world = World::with_alice();
    late(&world, Duration::from_secs(40), 60);
    let asked_at = world.clock.now();
    let tokens = refresh(&world).await.unwrap();
    assert_eq!(tokens.asked_at, asked_at);
    assert_eq!(tokens.expires_at, asked_at + Duration::from_mins(1));
    assert_eq!(tokens.usable_until(), asked_at + Duration::from_secs(54));

    let asked_at = world.clock.now();
    let signed_in = complete(&world, None).await.unwrap();
    assert_eq!(signed_in.tokens.asked_at, asked_at);
    assert_eq!(
        signed_in.tokens.expires_at,
        asked_at + Duration::from_mins(1)
    );
}

#[tokio::test]
async fn the_request_that_was_answered_counts_and_not_the_one_before_the_nonce() {
    let world = World::with_alice();
    let clock = Arc::clone(&world.clock);
    world.network.on(TOKEN, move || {
        clock.advance(Duration::from_secs(10));
        challenge("n-1")()
    });
    late(&world, Duration::ZERO, 60);
    let begun = world.clock.now();
    let tokens = refresh(&world).await.unwrap();
    assert_eq!(tokens.asked_at, begun + Duration::from_secs(10));
}

#[tokio::test]
async fn a_life_of_nothing_is_a_token_to_be_refreshed_before_its_use() {
    let world = World::with_alice();
    late(&world, Duration::ZERO, 0);
    let tokens = refresh(&world).await.unwrap();
    assert_eq!(tokens.expires_at, tokens.asked_at);
    let signed_in = complete(&world, None).await.unwrap();
    assert_eq!(signed_in.tokens.expires_at, signed_in.tokens.asked_at);
    assert!(world.network.to(REVOKE).is_empty());
}

/// RFC 6749 §6 and the reference PDS: whoever sends a refresh token twice has lost the session. So
/// nobody gives up on the first answer as long as one can come.
#[tokio::test(start_paused = true)]
async fn the_answer_to_a_refresh_is_waited_for_while_a_server_can_give_one() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let proven = proven(&world).await;
    for seconds in [16, 40, 140] {
        world.network.takes(Duration::from_secs(seconds));
        refresh_proven(&world, &proven).await.unwrap();
    }
    assert_eq!(world.network.to(TOKEN).len(), 3, "each was sent once");
    world.network.takes(Duration::from_mins(4));
    let error = refresh_proven(&world, &proven).await.unwrap_err();
    assert!(matches!(error, RefreshError::MayHaveArrived(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_code_is_waited_for_while_a_person_waits() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let server = server(&world).await;
    let (keys, code) = (keys(), SecretString::from("code-1"));
    let wait = async |seconds| {
        world.network.takes(Duration::from_secs(seconds));
        world
            .client
            .post(
                &keys,
                &server,
                &server.token_endpoint,
                &[("code", code.expose_secret())],
                crate::request::CODE_EXCHANGE_TIMEOUT,
            )
            .await
    };
    assert!(wait(40).await.is_ok());
    assert!(matches!(
        wait(70).await,
        Err(ExchangeError::MayHaveArrived(_))
    ));
}

/// What is waited for says nothing good about its server meanwhile: others are kept from it.
#[tokio::test(start_paused = true)]
async fn a_server_that_lets_refreshes_wait_is_left_alone_by_others_at_once() {
    let world = World::with_alice();
    world.network.on(TOKEN, json(&tokens()));
    let proven = proven(&world).await;
    world.network.takes(Duration::from_secs(100));
    let refreshed = || refresh_proven(&world, &proven);
    let waiting = async {
        tokio::join!(
            refreshed(),
            refreshed(),
            refreshed(),
            refreshed(),
            refreshed()
        )
    };
    tokio::pin!(waiting);
    let origin = Origin::parse(AUTH).unwrap();
    let early = tokio::time::timeout(Duration::from_secs(14), &mut waiting).await;
    assert!(early.is_err() && world.client.origins().refresh_wait(&origin).is_none());
    let later = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(later.is_err() && world.client.origins().refresh_wait(&origin).is_some());
    let (first, .., last) = waiting.await;
    assert!(first.is_ok() && last.is_ok());
}
