//! Rotation of refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use aip_storage::grant::{RevokeReason, Rotate, Rotation};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, at_once, new_hash, new_tokens, redemption_of,
    repeated, rotation_of, scope,
};

super::on_both_engines_and_behind_a_pooler!(
    a_rotation_gives_new_tokens_and_spends_the_old_one,
    a_repeat_within_the_grace_gets_the_same_successor,
    a_repeat_after_the_grace_ends_the_family,
    a_repeat_after_the_successor_was_used_ends_the_family,
    a_repeat_that_names_another_successor_ends_the_family,
    parallel_rotations_make_one_family,
    without_a_grace_every_repeat_ends_the_family,
    a_refresh_works_after_the_access_token_expired,
    another_client_can_neither_use_nor_kill_a_token,
    another_key_is_refused_and_changes_nothing,
    a_token_that_is_not_rotated_stays_good_and_lives_anew,
    a_confidential_client_refreshes_with_any_key_and_not_without,
    a_narrower_scope_does_not_stick,
    an_expired_token_is_refused_and_ends_nothing,
    a_token_of_an_ended_grant_says_why_it_ended,
);

async fn a_rotation_gives_new_tokens_and_spends_the_old_one(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let rotation = rotation_of(&client, &tokens);

    let outcome = world.storage.rotate_refresh_token(&rotation).await.unwrap();

    let Rotate::Rotated(rotated) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rotated.id, grant.id);
    let (now, new) = (rotation.now, &rotation.tokens);
    for (token, spent) in [(&tokens.refresh, true), (&new.refresh, false)] {
        let found = world.storage.refresh_token(token, now).await.unwrap();
        assert_eq!(found.unwrap().spent, spent);
    }
    assert!(
        world
            .storage
            .access_token(&new.access, now)
            .await
            .unwrap()
            .is_some()
    );
    // The app may still use the access token it has.
    assert!(
        world
            .storage
            .access_token(&tokens.access, now)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_repeat_within_the_grace_gets_the_same_successor(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let second = Rotation {
        now: first.now + 29 * SECOND,
        ..repeated(&first)
    };
    world.storage.rotate_refresh_token(&first).await.unwrap();

    let outcome = world.storage.rotate_refresh_token(&second).await.unwrap();

    assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
    for tokens in [&first.tokens, &second.tokens] {
        assert!(
            world
                .storage
                .access_token(&tokens.access, second.now)
                .await
                .unwrap()
                .is_some()
        );
    }
    let successor = rotation_of(&client, &first.tokens);
    let outcome = world
        .storage
        .rotate_refresh_token(&successor)
        .await
        .unwrap();
    assert!(
        matches!(outcome, Rotate::Rotated(_)),
        "the one successor is live: {outcome:?}"
    );
}

async fn a_repeat_after_the_grace_ends_the_family(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let late = Rotation {
        now: first.now + 30 * SECOND,
        ..repeated(&first)
    };
    world.storage.rotate_refresh_token(&first).await.unwrap();

    let outcome = world.storage.rotate_refresh_token(&late).await.unwrap();

    assert_replayed(&world, &outcome, &first, &late).await;
}

async fn a_repeat_after_the_successor_was_used_ends_the_family(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let next = rotation_of(&client, &first.tokens);
    world.storage.rotate_refresh_token(&first).await.unwrap();
    world.storage.rotate_refresh_token(&next).await.unwrap();

    let again = repeated(&first);
    let outcome = world.storage.rotate_refresh_token(&again).await.unwrap();

    assert_replayed(&world, &outcome, &next, &again).await;
}

async fn a_repeat_that_names_another_successor_ends_the_family(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let other = rotation_of(&client, &tokens);
    world.storage.rotate_refresh_token(&first).await.unwrap();

    let outcome = world.storage.rotate_refresh_token(&other).await.unwrap();

    assert_replayed(&world, &outcome, &first, &other).await;
}

async fn parallel_rotations_make_one_family(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);

    let outcomes = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        let rotation = repeated(&first);
        async move {
            let outcome = storage.rotate_refresh_token(&rotation).await.unwrap();
            (outcome, rotation.tokens.access)
        }
    })
    .await;

    for (outcome, access) in &outcomes {
        assert!(
            matches!(outcome, Rotate::Rotated(it) if it.id == grant.id),
            "{outcome:?}"
        );
        assert!(
            world
                .storage
                .access_token(access, first.now)
                .await
                .unwrap()
                .is_some()
        );
    }
    let successor = &first.tokens.refresh;
    assert!(
        world
            .storage
            .refresh_token(successor, first.now)
            .await
            .unwrap()
            .is_some()
    );
}

async fn without_a_grace_every_repeat_ends_the_family(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = Rotation {
        grace: Duration::ZERO,
        ..rotation_of(&client, &tokens)
    };
    world.storage.rotate_refresh_token(&first).await.unwrap();

    let again = repeated(&first);
    let outcome = world.storage.rotate_refresh_token(&again).await.unwrap();

    assert_replayed(&world, &outcome, &first, &again).await;
}

async fn a_refresh_works_after_the_access_token_expired(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let later = Rotation {
        now: NOW + 2 * HOUR,
        ..rotation_of(&client, &tokens)
    };
    assert!(
        world
            .storage
            .access_token(&tokens.access, later.now)
            .await
            .unwrap()
            .is_none()
    );
    world.storage.purge_expired(later.now, 100).await.unwrap();

    let outcome = world.storage.rotate_refresh_token(&later).await.unwrap();

    assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
}

async fn another_client_can_neither_use_nor_kill_a_token(world: World) {
    let client = world.client("app").await;
    let stranger = world.client("stranger").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let foreign = Rotation {
        client_id: stranger,
        tokens: new_tokens(),
        ..first.clone()
    };

    let before = world.storage.rotate_refresh_token(&foreign).await.unwrap();
    world.storage.rotate_refresh_token(&first).await.unwrap();
    let after = world.storage.rotate_refresh_token(&foreign).await.unwrap();

    assert!(matches!(before, Rotate::Refused), "{before:?}");
    assert!(matches!(after, Rotate::Refused), "{after:?}");
    let successor = &first.tokens.refresh;
    assert!(
        world
            .storage
            .refresh_token(successor, first.now)
            .await
            .unwrap()
            .is_some()
    );
    let stolen = &foreign.tokens.access;
    assert!(
        world
            .storage
            .access_token(stolen, first.now)
            .await
            .unwrap()
            .is_none()
    );
}

async fn another_key_is_refused_and_changes_nothing(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let mut redemption = redemption_of(&approval);
    redemption.dpop_jkt = Some("key".to_owned());
    world.storage.redeem_code(&redemption).await.unwrap();
    let right = Rotation {
        dpop_jkt: redemption.dpop_jkt.clone(),
        ..rotation_of(&client, &redemption.tokens)
    };

    for other in [None, Some("other".to_owned())] {
        let wrong = Rotation {
            dpop_jkt: other,
            ..repeated(&right)
        };
        let outcome = world.storage.rotate_refresh_token(&wrong).await.unwrap();
        assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");
    }
    let outcome = world.storage.rotate_refresh_token(&right).await.unwrap();
    assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
    // Nor does another key end the family by a replay.
    let wrong = Rotation {
        dpop_jkt: None,
        tokens: new_tokens(),
        ..right.clone()
    };
    let outcome = world.storage.rotate_refresh_token(&wrong).await.unwrap();
    assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");
}

async fn a_token_that_is_not_rotated_stays_good_and_lives_anew(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let mut used = Rotation {
        rotates: false,
        ..rotation_of(&client, &tokens)
    };
    used.tokens.refresh = used.refresh;
    let mut access = Vec::new();
    for days in [0, 29, 58] {
        used.now = NOW + MINUTE + days * DAY;
        used.tokens.access = new_hash();
        used.tokens.access_expires_at = used.now + HOUR;
        used.tokens.refresh_expires_at = used.now + 30 * DAY;
        let outcome = world.storage.rotate_refresh_token(&used).await.unwrap();
        assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
        access.push(used.tokens.access);
    }
    let found = world.storage.refresh_token(&used.refresh, used.now).await;
    assert!(!found.unwrap().unwrap().spent);
    for (n, token) in access.iter().enumerate() {
        let live = world.storage.access_token(token, used.now).await.unwrap();
        assert_eq!(live.is_some(), n == 2);
    }
    used.now = used.tokens.refresh_expires_at;
    let outcome = world.storage.rotate_refresh_token(&used).await.unwrap();
    assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");
}

async fn a_confidential_client_refreshes_with_any_key_and_not_without(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let mut redemption = redemption_of(&approval);
    redemption.dpop_jkt = Some("key".to_owned());
    world.storage.redeem_code(&redemption).await.unwrap();
    let without = Rotation {
        any_key: true,
        ..rotation_of(&client, &redemption.tokens)
    };
    let outcome = world.storage.rotate_refresh_token(&without).await.unwrap();
    assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");

    let other = Rotation {
        dpop_jkt: Some("other".to_owned()),
        ..without.clone()
    };
    let third = Rotation {
        dpop_jkt: Some("third".to_owned()),
        ..repeated(&other)
    };
    let before = redemption.tokens.access;
    let bound = [
        (before, "key"),
        (other.tokens.access, "other"),
        (third.tokens.access, "third"),
    ];
    // The third is a repeat within the grace.
    for rotation in [&other, &third] {
        let outcome = world.storage.rotate_refresh_token(rotation).await.unwrap();
        assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
    }
    for (access, key) in bound {
        let found = world.storage.access_token(&access, other.now).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.dpop_jkt.as_deref(), Some(key));
    }
}

async fn a_narrower_scope_does_not_stick(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    approval.grant.scope = scope("atproto transition:generic");
    world.storage.approve(&approval).await.unwrap();
    let redemption = redemption_of(&approval);
    world.storage.redeem_code(&redemption).await.unwrap();
    let mut narrow = rotation_of(&client, &redemption.tokens);
    narrow.tokens.access_scope = Some(scope("atproto"));
    let wide = rotation_of(&client, &narrow.tokens);

    world.storage.rotate_refresh_token(&narrow).await.unwrap();
    world.storage.rotate_refresh_token(&wide).await.unwrap();

    let now = narrow.now;
    let narrowed = world
        .storage
        .access_token(&narrow.tokens.access, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(narrowed.scope, scope("atproto"));
    let whole = world
        .storage
        .access_token(&wide.tokens.access, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(whole.scope, approval.grant.scope);
}

async fn an_expired_token_is_refused_and_ends_nothing(world: World) {
    let client = world.client("app").await;
    let (_, tokens) = world.redeemed(&client, &alice()).await;
    let first = rotation_of(&client, &tokens);
    let mut next = rotation_of(&client, &first.tokens);
    next.tokens.refresh_expires_at = NOW + 60 * DAY;
    next.now = NOW + 29 * DAY;
    world.storage.rotate_refresh_token(&first).await.unwrap();
    world.storage.rotate_refresh_token(&next).await.unwrap();

    let late = Rotation {
        now: tokens.refresh_expires_at,
        ..repeated(&first)
    };
    let outcome = world.storage.rotate_refresh_token(&late).await.unwrap();

    assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");
    assert!(
        world
            .storage
            .refresh_token(&next.tokens.refresh, late.now)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_token_of_an_ended_grant_says_why_it_ended(world: World) {
    let client = world.client("app").await;
    let (grant, tokens) = world.redeemed(&client, &alice()).await;
    world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByPerson, NOW + SECOND)
        .await
        .unwrap();

    let rotation = rotation_of(&client, &tokens);
    let outcome = world.storage.rotate_refresh_token(&rotation).await.unwrap();

    let Rotate::Ended(grant) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(grant.revoked.unwrap().reason, RevokeReason::ByPerson);
    let unknown = Rotation {
        refresh: new_hash(),
        ..rotation
    };
    let outcome = world.storage.rotate_refresh_token(&unknown).await.unwrap();
    assert!(matches!(outcome, Rotate::Refused), "{outcome:?}");
}

/// The family is over: what `live` had got is dead, and what `replay` asked for was not stored.
async fn assert_replayed(world: &World, outcome: &Rotate, live: &Rotation, replay: &Rotation) {
    let Rotate::Replayed(grant) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        grant.revoked.as_ref().unwrap().reason,
        RevokeReason::RefreshReplayed
    );
    let now = live.now;
    assert!(
        world
            .storage
            .refresh_token(&live.tokens.refresh, now)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .access_token(&live.tokens.access, now)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .access_token(&replay.tokens.access, now)
            .await
            .unwrap()
            .is_none()
    );
    let outcome = world.storage.rotate_refresh_token(live).await.unwrap();
    assert!(matches!(outcome, Rotate::Ended(_)), "{outcome:?}");
}
