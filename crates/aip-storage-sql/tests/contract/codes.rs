//! Redeeming a code.

use std::sync::Arc;

use aip_storage::grant::{CodeRedemption, RedeemCode, RevokeReason};
use aip_storage::upstream::{EndReason, UpstreamState};

use crate::world::{
    MINUTE, NOW, SECOND, World, alice, at_once, code_of, code_of_mut, new_hash, new_tokens,
    redemption_of,
};

super::on_both_engines_and_behind_a_pooler!(
    a_good_code_gives_the_tokens_and_what_the_request_said,
    a_replayed_code_ends_the_grant_and_its_tokens,
    a_spent_code_without_its_bindings_ends_nothing,
    of_parallel_exchanges_exactly_one_wins,
    a_wrong_binding_neither_spends_the_code_nor_stores_anything,
    a_verifier_without_a_challenge_is_refused,
    a_code_is_worthless_after_its_minute,
    a_stranger_can_neither_use_nor_kill_a_code,
    a_code_of_a_revoked_grant_is_worthless,
    a_code_bound_to_a_key_is_redeemed_by_that_key_alone,
    the_key_of_the_redemption_becomes_the_key_of_the_grant,
);

async fn a_good_code_gives_the_tokens_and_what_the_request_said(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let redemption = redemption_of(&approval);

    let outcome = world.storage.redeem_code(&redemption).await.unwrap();

    let RedeemCode::Redeemed(redeemed) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(redeemed.grant.id, approval.grant.id);
    assert_eq!(redeemed.grant.subject, alice());
    assert_eq!(redeemed.nonce.as_deref(), Some("nonce"));
    let now = redemption.now;
    let access = world
        .storage
        .access_token(&redemption.tokens.access, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(access.scope, approval.grant.scope);
    assert_eq!(access.issued_at, now);
    assert_eq!(access.expires_at, redemption.tokens.access_expires_at);
    assert!(
        world
            .storage
            .refresh_token(&redemption.tokens.refresh, now)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_replayed_code_ends_the_grant_and_its_tokens(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let first = redemption_of(&approval);
    assert!(matches!(
        world.storage.redeem_code(&first).await.unwrap(),
        RedeemCode::Redeemed(_)
    ));

    // Later than the code lives: a replay is recognised all the same.
    let replay = CodeRedemption {
        tokens: new_tokens(),
        now: NOW + 10 * MINUTE,
        ..first.clone()
    };
    let outcome = world.storage.redeem_code(&replay).await.unwrap();

    let RedeemCode::AlreadySpent(grant) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(grant.revoked.unwrap().reason, RevokeReason::CodeReplayed);
    let now = replay.now;
    for tokens in [&first.tokens, &replay.tokens] {
        assert!(
            world
                .storage
                .access_token(&tokens.access, now)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            world
                .storage
                .refresh_token(&tokens.refresh, now)
                .await
                .unwrap()
                .is_none()
        );
    }
    let session = approval.grant.upstream_session;
    let session = world
        .storage
        .upstream_session(session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.state, UpstreamState::Ended(EndReason::GrantRevoked));
}

async fn a_spent_code_without_its_bindings_ends_nothing(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let first = redemption_of(&approval);
    let spent = world.storage.redeem_code(&first).await.unwrap();
    assert!(matches!(spent, RedeemCode::Redeemed(_)));
    let replay = CodeRedemption {
        tokens: new_tokens(),
        ..first.clone()
    };
    for wrong in [
        CodeRedemption {
            challenge: None,
            ..replay.clone()
        },
        CodeRedemption {
            challenge: Some("another".to_owned()),
            ..replay.clone()
        },
        CodeRedemption {
            redirect_uri: Some("https://evil.example".to_owned()),
            ..replay.clone()
        },
    ] {
        let outcome = world.storage.redeem_code(&wrong).await.unwrap();
        assert!(matches!(outcome, RedeemCode::Refused), "{outcome:?}");
    }
    let access = world.storage.access_token(&first.tokens.access, first.now);
    assert!(access.await.unwrap().is_some(), "the grant lives");
    let without_redirect = CodeRedemption {
        redirect_uri: None,
        ..replay
    };
    let outcome = world.storage.redeem_code(&without_redirect).await.unwrap();
    assert!(
        matches!(outcome, RedeemCode::AlreadySpent(_)),
        "{outcome:?}"
    );
}

async fn of_parallel_exchanges_exactly_one_wins(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;

    let outcomes = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        let redemption = redemption_of(&approval);
        async move { storage.redeem_code(&redemption).await.unwrap() }
    })
    .await;

    let won = outcomes
        .iter()
        .filter(|it| matches!(it, RedeemCode::Redeemed(_)))
        .count();
    let lost = outcomes
        .iter()
        .filter(|it| matches!(it, RedeemCode::AlreadySpent(_)))
        .count();
    assert_eq!((won, lost), (1, 7), "{outcomes:?}");
}

async fn a_wrong_binding_neither_spends_the_code_nor_stores_anything(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let right = redemption_of(&approval);
    let mut other_redirect = right.clone();
    other_redirect.redirect_uri = Some("https://app.example/cb/".to_owned());
    let wrong_verifier = CodeRedemption {
        challenge: Some("other".to_owned()),
        ..right.clone()
    };
    let no_verifier = CodeRedemption {
        challenge: None,
        ..right.clone()
    };
    let unknown = CodeRedemption {
        code: new_hash(),
        ..right.clone()
    };

    for wrong in [other_redirect, wrong_verifier, no_verifier, unknown] {
        let outcome = world.storage.redeem_code(&wrong).await.unwrap();
        assert!(
            matches!(outcome, RedeemCode::Refused),
            "{wrong:?}: {outcome:?}"
        );
        let stored = world
            .storage
            .access_token(&wrong.tokens.access, wrong.now)
            .await
            .unwrap();
        assert!(stored.is_none());
    }
    assert!(matches!(
        world.storage.redeem_code(&right).await.unwrap(),
        RedeemCode::Redeemed(_)
    ));
}

async fn a_verifier_without_a_challenge_is_refused(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    code_of_mut(&mut approval).code_challenge = None;
    world.storage.approve(&approval).await.unwrap();
    let right = redemption_of(&approval);
    let downgrade = CodeRedemption {
        challenge: Some("any".to_owned()),
        ..right.clone()
    };

    let outcome = world.storage.redeem_code(&downgrade).await.unwrap();
    assert!(matches!(outcome, RedeemCode::Refused), "{outcome:?}");
    let outcome = world.storage.redeem_code(&right).await.unwrap();
    assert!(matches!(outcome, RedeemCode::Redeemed(_)), "{outcome:?}");
}

async fn a_code_is_worthless_after_its_minute(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;

    let late = CodeRedemption {
        now: code_of(&approval).expires_at,
        ..redemption_of(&approval)
    };

    let outcome = world.storage.redeem_code(&late).await.unwrap();
    assert!(matches!(outcome, RedeemCode::Refused), "{outcome:?}");
}

async fn a_stranger_can_neither_use_nor_kill_a_code(world: World) {
    let client = world.client("app").await;
    let stranger = world.client("stranger").await;
    let approval = world.approved(&client, &alice()).await;
    let right = redemption_of(&approval);
    let foreign = CodeRedemption {
        client_id: stranger,
        tokens: new_tokens(),
        ..right.clone()
    };

    let before = world.storage.redeem_code(&foreign).await.unwrap();
    let own = world.storage.redeem_code(&right).await.unwrap();
    let after = world.storage.redeem_code(&foreign).await.unwrap();

    assert!(matches!(before, RedeemCode::Refused), "{before:?}");
    assert!(matches!(own, RedeemCode::Redeemed(_)), "{own:?}");
    assert!(matches!(after, RedeemCode::Refused), "{after:?}");
    assert!(
        world
            .storage
            .access_token(&right.tokens.access, right.now)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_code_of_a_revoked_grant_is_worthless(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let id = approval.grant.id;
    world
        .storage
        .revoke_grant(id, RevokeReason::ByPerson, NOW + SECOND)
        .await
        .unwrap();

    let outcome = world
        .storage
        .redeem_code(&redemption_of(&approval))
        .await
        .unwrap();

    assert!(matches!(outcome, RedeemCode::Refused), "{outcome:?}");
}

async fn a_code_bound_to_a_key_is_redeemed_by_that_key_alone(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    code_of_mut(&mut approval).dpop_jkt = Some("key".to_owned());
    world.storage.approve(&approval).await.unwrap();
    let right = redemption_of(&approval);

    for other in [None, Some("other".to_owned())] {
        let wrong = CodeRedemption {
            dpop_jkt: other,
            ..right.clone()
        };
        let outcome = world.storage.redeem_code(&wrong).await.unwrap();
        assert!(matches!(outcome, RedeemCode::Refused), "{outcome:?}");
    }
    let outcome = world.storage.redeem_code(&right).await.unwrap();
    assert!(matches!(outcome, RedeemCode::Redeemed(_)), "{outcome:?}");
}

async fn the_key_of_the_redemption_becomes_the_key_of_the_grant(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let key = Some("key".to_owned());
    let redemption = CodeRedemption {
        dpop_jkt: key.clone(),
        ..redemption_of(&approval)
    };

    let outcome = world.storage.redeem_code(&redemption).await.unwrap();

    let RedeemCode::Redeemed(redeemed) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(redeemed.grant.dpop_jkt, key);
    let now = redemption.now;
    let access = world
        .storage
        .access_token(&redemption.tokens.access, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(access.grant.dpop_jkt, key);
}
