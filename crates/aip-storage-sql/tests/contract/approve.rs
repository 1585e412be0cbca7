//! The yes of a person.

use std::sync::Arc;

use aip_storage::grant::{Approval, Approve, RevokeReason};
use aip_storage::upstream::{EndReason, UpstreamState};

use crate::world::{HOUR, NOW, SECOND, World, alice, at_once, code_of_mut, scope};

super::on_both_engines_and_behind_a_pooler!(
    a_yes_spends_the_request_and_remembers_the_consent,
    a_later_consent_is_added_to_the_earlier_ones,
    consents_that_fit_in_no_set_leave_the_latest,
    a_request_is_approved_once_however_many_ask,
    a_request_that_comes_again_while_it_is_answered_gives_no_second_grant,
    another_browser_or_client_cannot_approve,
    an_expired_request_cannot_be_approved,
    a_session_that_has_ended_serves_no_grant,
    a_session_never_ends_under_a_grant_that_is_being_given,
);

async fn a_yes_spends_the_request_and_remembers_the_consent(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let Approval {
        request,
        browser,
        grant,
        ..
    } = &approval;

    assert!(
        world
            .storage
            .request(request, *browser, NOW)
            .await
            .unwrap()
            .is_none()
    );
    let consent = world
        .storage
        .consent(*browser, &client, &alice())
        .await
        .unwrap();
    assert_eq!(consent, Some(grant.scope.clone()));
    let elsewhere = world.browser().await;
    assert_eq!(
        world
            .storage
            .consent(elsewhere, &client, &alice())
            .await
            .unwrap(),
        None
    );
    let grants = world.storage.grants_of(&alice()).await.unwrap();
    assert_eq!(
        grants.iter().map(|it| it.id).collect::<Vec<_>>(),
        [grant.id]
    );
}

async fn a_later_consent_is_added_to_the_earlier_ones(world: World) {
    let client = world.client("app").await;
    let first = world.approved(&client, &alice()).await;
    let session = first.grant.upstream_session;
    let mut second = world.pending(&client, &alice(), session).await;
    second.browser = first.browser;
    second.request = world.request(&client, first.browser).await.token;
    second.grant.scope = scope("atproto transition:generic");

    assert_eq!(
        world.storage.approve(&second).await.unwrap(),
        Approve::Approved
    );

    let consent = world
        .storage
        .consent(first.browser, &client, &alice())
        .await
        .unwrap();
    assert_eq!(consent, Some(second.grant.scope), "it holds both");

    // A narrower one takes nothing away.
    let mut third = world.pending(&client, &alice(), session).await;
    third.browser = first.browser;
    third.request = world.request(&client, first.browser).await.token;
    third.grant.scope = scope("atproto blob:image/*");
    world.storage.approve(&third).await.unwrap();
    let alice = alice();
    let consent = world.storage.consent(first.browser, &client, &alice);
    assert_eq!(
        consent.await.unwrap(),
        Some(scope("atproto blob:image/* transition:generic"))
    );
}

async fn consents_that_fit_in_no_set_leave_the_latest(world: World) {
    let client = world.client("app").await;
    let many = |name: &str| {
        let scopes: Vec<_> = (0..100)
            .map(|n| format!("repo:com.example.{name}{n}.record"))
            .collect();
        scope(&scopes.join(" "))
    };
    let mut first = world
        .pending(&client, &alice(), world.session(&client, &alice()).await.id)
        .await;
    first.grant.scope = many("a");
    world.storage.approve(&first).await.unwrap();
    let mut second = world
        .pending(&client, &alice(), first.grant.upstream_session)
        .await;
    second.browser = first.browser;
    second.request = world.request(&client, first.browser).await.token;
    second.grant.scope = many("b");
    let outcome = world.storage.approve(&second).await.unwrap();
    assert_eq!(outcome, Approve::Approved);
    let alice = alice();
    let consent = world.storage.consent(first.browser, &client, &alice);
    assert_eq!(consent.await.unwrap(), Some(second.grant.scope));
}

async fn a_request_is_approved_once_however_many_ask(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let approval = world.pending(&client, &alice(), session.id).await;

    let outcomes = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        let mut approval = approval.clone();
        approval.grant.id = crate::world::new_id();
        code_of_mut(&mut approval).hash = crate::world::new_hash();
        async move { storage.approve(&approval).await.unwrap() }
    })
    .await;

    assert_eq!(
        outcomes
            .iter()
            .filter(|it| **it == Approve::Approved)
            .count(),
        1
    );
    assert_eq!(world.storage.grants_of(&alice()).await.unwrap().len(), 1);
}

async fn a_request_that_comes_again_while_it_is_answered_gives_no_second_grant(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let first = world.pending(&client, &alice(), session.id).await;
    let storage = &world.storage;
    assert_eq!(storage.approve(&first).await.unwrap(), Approve::Approved);
    // As if it had been stored by a click that did not see the answer to the other one.
    let mut again = crate::world::new_request(&client, first.browser);
    again.token = first.request;
    assert!(!storage.put_request(&again).await.unwrap());
    world.raw("DELETE FROM answered_requests").await;
    assert!(storage.put_request(&again).await.unwrap());
    let mut second = first.clone();
    second.grant.id = crate::world::new_id();
    second.event.id = crate::world::new_id();
    code_of_mut(&mut second).hash = crate::world::new_hash();
    assert_eq!(storage.approve(&second).await.unwrap(), Approve::Approved);
    world
        .raw(
            "INSERT INTO authorization_requests
                  (token, browser_id, client_id, params, expires_at)
              SELECT token, browser_id, client_id,
                  '{\"redirect_uri\":\"https://app.example/cb\",\"scope\":\"\",\"asked\":\"\"}',
                  expires_at + 1000000000
              FROM answered_requests",
        )
        .await;
    let mut third = second.clone();
    third.grant.id = crate::world::new_id();
    code_of_mut(&mut third).hash = crate::world::new_hash();
    assert_eq!(storage.approve(&third).await.unwrap(), Approve::RequestGone);
    let refused = storage.refuse_request(&first.request, first.browser, "access_denied", NOW);
    assert!(refused.await.unwrap().is_none());
}

async fn another_browser_or_client_cannot_approve(world: World) {
    let client = world.client("app").await;
    let other = world.client("other").await;
    let session = world.session(&client, &alice()).await;
    let approval = world.pending(&client, &alice(), session.id).await;
    let elsewhere = Approval {
        browser: world.browser().await,
        ..approval.clone()
    };
    let mut foreign = approval.clone();
    foreign.grant.client_id = other;

    for wrong in [elsewhere, foreign] {
        assert_eq!(
            world.storage.approve(&wrong).await.unwrap(),
            Approve::RequestGone
        );
    }

    assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::Approved
    );
}

async fn an_expired_request_cannot_be_approved(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let mut approval = world.pending(&client, &alice(), session.id).await;
    approval.grant.created_at = NOW + HOUR;

    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::RequestGone
    );
}

async fn a_session_that_has_ended_serves_no_grant(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let approval = world.pending(&client, &alice(), session.id).await;
    world
        .storage
        .end_unused_session(session.id, EndReason::Abandoned, NOW)
        .await
        .unwrap();

    assert_eq!(
        world.storage.approve(&approval).await.unwrap(),
        Approve::RequestGone
    );

    assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
    let request = world
        .storage
        .request(&approval.request, approval.browser, NOW)
        .await
        .unwrap();
    assert!(request.is_none(), "the person has to begin again");
}

async fn a_session_never_ends_under_a_grant_that_is_being_given(world: World) {
    let client = world.client("app").await;
    for _ in 0..20 {
        let old = world.approved(&client, &alice()).await;
        let session = old.grant.upstream_session;
        let new = world.pending(&client, &alice(), session).await;

        let (given, ended) = (Arc::clone(&world.storage), Arc::clone(&world.storage));
        let id = new.grant.id;
        let giving = tokio::spawn(async move { given.approve(&new).await.unwrap() });
        let ending = tokio::spawn(async move {
            ended
                .revoke_grant(old.grant.id, RevokeReason::ByPerson, NOW + SECOND)
                .await
                .unwrap();
        });
        let outcome = giving.await.unwrap();
        ending.await.unwrap();

        let live = world
            .storage
            .grants_of(&alice())
            .await
            .unwrap()
            .iter()
            .any(|it| it.id == id);
        let state = world
            .storage
            .upstream_session(session)
            .await
            .unwrap()
            .unwrap()
            .state;
        assert_eq!(live, outcome == Approve::Approved);
        assert_eq!(live, state == UpstreamState::Active, "{state:?}");
    }
}
