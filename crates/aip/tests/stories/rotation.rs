//! Refresh tokens are rotated, with a grace for apps that repeat themselves.

use std::time::Duration;

use crate::app::Tokens;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    within_the_grace_the_same_successor_and_after_it_the_end_of_the_family,
    an_app_with_a_secret_has_all_of_its_grace,
    parallel_refreshes_stay_one_family,
    a_repeat_within_the_grace_is_no_way_to_a_wider_scope,
);

async fn within_the_grace_the_same_successor_and_after_it_the_end_of_the_family(world: &World) {
    let app = world.public_app().await;
    let first = app.sign_in(&world.browser(), world.alice()).await;
    let second = Tokens::of(&app.refresh(&first.refresh).await);
    assert_ne!(first.refresh, second.refresh);
    // The app has no secret and its tokens have no key: a thief could repeat them as well.
    world.pass(Duration::from_secs(9));
    let repeated = Tokens::of(&app.refresh(&first.refresh).await);
    assert_eq!(repeated.refresh, second.refresh);

    world.pass(Duration::from_secs(2));
    for token in [&first.refresh, &second.refresh] {
        app.refresh(token).await.expect(400, "invalid_grant");
    }
}

async fn an_app_with_a_secret_has_all_of_its_grace(world: &World) {
    let app = world.app().await;
    let first = app.sign_in(&world.browser(), world.alice()).await;
    let second = Tokens::of(&app.refresh(&first.refresh).await);
    world.pass(Duration::from_secs(29));
    let repeated = Tokens::of(&app.refresh(&first.refresh).await);
    assert_eq!(repeated.refresh, second.refresh);
    world.pass(Duration::from_secs(2));
    app.refresh(&first.refresh)
        .await
        .expect(400, "invalid_grant");
}

async fn parallel_refreshes_stay_one_family(world: &World) {
    let app = world.public_app().await;
    let token = app.sign_in(&world.browser(), world.alice()).await.refresh;
    let (one, other) = tokio::join!(app.refresh(&token), app.refresh(&token));
    assert_eq!(Tokens::of(&one).refresh, Tokens::of(&other).refresh);
}

async fn a_repeat_within_the_grace_is_no_way_to_a_wider_scope(world: &World) {
    let app = world.public_app().await;
    let spent = app.sign_in(&world.browser(), world.alice()).await.refresh;
    let successor = Tokens::of(&app.refresh(&spent).await).refresh;
    app.narrow(&spent, "openid email transition:generic")
        .await
        .expect(400, "invalid_scope");

    let repeated = Tokens::of(&app.narrow(&spent, "openid").await);
    assert_eq!(repeated.answer["scope"], "openid");
    assert_eq!(repeated.refresh, successor);
}
