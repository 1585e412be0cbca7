//! Requests in flight.

use std::sync::Arc;

use aip_base::RowId;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::request::{
    ANSWER_REPEATED_FOR, AuthorizationRequest, FlowBrowser, PushedRequest, RequestAnswer, SignedIn,
    TakeFlow, UpstreamFlow,
};
use aip_storage::upstream::EndReason;

use crate::world::{
    HOUR, NOW, SECOND, World, alice, at_once, bob, issuer, new_hash, new_id, new_request, scope,
    sealed,
};

super::on_both_engines!(
    a_request_comes_back_as_it_was_stored,
    a_request_is_seen_by_its_own_browser_alone_and_for_its_time,
    a_sign_in_is_noted_on_a_live_request_of_that_browser,
    a_refused_request_is_taken_once,
    a_flow_is_taken_once_however_many_ask,
    a_flow_stays_for_its_own_browser,
    a_flow_is_taken_with_a_cookie_of_its_sign_in,
    what_decides_about_a_request_is_read_with_it,
    an_expired_flow_is_unknown,
    a_browser_that_is_forgotten_takes_its_requests_and_flows_along,
    a_half_signed_in_request_is_not_read,
    a_request_of_a_token_that_is_there_is_not_stored_again,
    an_answer_is_known_for_a_minute_to_its_browser_alone,
    a_grant_is_no_answer_any_more_once_its_code_is_spent,
    a_request_moves_to_the_session_of_who_signed_in,
    a_session_that_a_waiting_request_needs_is_not_ended,
    a_pushed_request_is_begun_once_however_many_ask,
    a_pushed_request_is_its_clients_own_and_for_its_time,
    a_pushed_request_that_was_answered_at_once_is_gone,
);

const DENIED: &str = "access_denied";

/// A request that a client has pushed and no browser has begun.
async fn pushed(world: &World, client: &ClientId) -> AuthorizationRequest {
    let hash = new_hash();
    let request = AuthorizationRequest {
        token: hash,
        browser: None,
        pushed: Some(hash),
        ..new_request(client, new_id())
    };
    assert!(world.storage.put_request(&request).await.unwrap());
    request
}

/// The same as a browser begins it.
async fn begun_at(world: &World, request: &AuthorizationRequest) -> AuthorizationRequest {
    AuthorizationRequest {
        token: new_hash(),
        browser: Some(world.browser().await),
        expires_at: NOW + HOUR + HOUR,
        ..request.clone()
    }
}

async fn a_pushed_request_is_begun_once_however_many_ask(world: World) {
    let client = world.client("app").await;
    let request = pushed(&world, &client).await;
    let mut attempts = Vec::new();
    for _ in 0..50 {
        attempts.push(begun_at(&world, &request).await);
    }
    let attempts = Arc::new(attempts);

    let outcomes = at_once(50, |n| {
        let (storage, attempts) = (Arc::clone(&world.storage), Arc::clone(&attempts));
        async move {
            let begun = storage.begin_pushed_request(&attempts[n], NOW);
            begun.await.unwrap()
        }
    })
    .await;

    assert_eq!(outcomes.iter().filter(|begun| **begun).count(), 1);
    for (attempt, begun) in attempts.iter().zip(outcomes) {
        let browser = attempt.browser.unwrap();
        let open = world.storage.request(&attempt.token, browser, NOW).await;
        let open = open.unwrap().map(|it| it.request);
        assert_eq!(open.is_some(), begun);
        if let Some(open) = open {
            assert_eq!(format!("{open:?}"), format!("{attempt:?}"));
        }
    }
    let hash = request.pushed.unwrap();
    let found = world.storage.pushed_request(&hash, &client, NOW).await;
    let params = request.params;
    assert_eq!(
        found.unwrap(),
        Some(PushedRequest {
            params,
            begun: true
        })
    );
}

async fn a_pushed_request_is_its_clients_own_and_for_its_time(world: World) {
    let (client, other) = (world.client("app").await, world.client("other").await);
    let request = pushed(&world, &client).await;
    let hash = request.pushed.unwrap();
    let storage = &world.storage;
    let found = async |client, now| storage.pushed_request(&hash, client, now).await.unwrap();
    assert!(found(&client, NOW).await.is_some_and(|it| !it.begun));
    assert_eq!(found(&other, NOW).await, None);
    assert_eq!(found(&client, NOW + HOUR).await, None);

    let begun = begun_at(&world, &request).await;
    let others = AuthorizationRequest {
        client_id: other.clone(),
        ..begun.clone()
    };
    assert!(!storage.begin_pushed_request(&others, NOW).await.unwrap());
    let late = storage.begin_pushed_request(&begun, NOW + HOUR).await;
    assert!(!late.unwrap());
    assert!(storage.begin_pushed_request(&begun, NOW).await.unwrap());
    // It lives as long as any other request from then on.
    assert!(found(&client, NOW + HOUR).await.is_some_and(|it| it.begun));
    let denied = storage.refuse_request(&begun.token, begun.browser.unwrap(), DENIED, NOW);
    assert!(denied.await.unwrap().is_some());
    assert_eq!(found(&client, NOW).await, None);
}

async fn a_pushed_request_that_was_answered_at_once_is_gone(world: World) {
    let client = world.client("app").await;
    let (request, begun) = (pushed(&world, &client).await, pushed(&world, &client).await);
    let storage = &world.storage;
    let at_browser = begun_at(&world, &begun).await;
    assert!(
        storage
            .begin_pushed_request(&at_browser, NOW)
            .await
            .unwrap()
    );
    for (request, stays) in [(&request, false), (&begun, true)] {
        let hash = request.pushed.unwrap();
        storage.drop_pushed_request(&hash).await.unwrap();
        let found = storage.pushed_request(&hash, &client, NOW).await.unwrap();
        assert_eq!(found.is_some(), stays);
    }
}

async fn a_request_of_a_token_that_is_there_is_not_stored_again(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let request = world.request(&client, browser).await;
    let mut other = new_request(&client, world.browser().await);
    other.token = request.token;
    assert!(!world.storage.put_request(&other).await.unwrap());
    let storage = &world.storage;
    let refused = storage.refuse_request(&request.token, browser, DENIED, NOW);
    assert!(refused.await.unwrap().is_some());
    assert!(!storage.put_request(&request).await.unwrap());
    let found = storage.request(&request.token, browser, NOW).await;
    assert!(found.unwrap().is_none(), "what is answered stays answered");
}

async fn an_answer_is_known_for_a_minute_to_its_browser_alone(world: World) {
    let client = world.client("app").await;
    let session = world.session(&client, &alice()).await;
    let granted = world.pending(&client, &alice(), session.id).await;
    let storage = &world.storage;
    storage.approve(&granted).await.unwrap();
    let browser = world.browser().await;
    let denied = world.request(&client, browser).await.token;
    storage
        .refuse_request(&denied, browser, DENIED, NOW)
        .await
        .unwrap();

    let refusal = RequestAnswer::Refused(DENIED.to_owned());
    for (token, owner, answer) in [
        (
            granted.request,
            granted.browser,
            RequestAnswer::Granted(granted.grant.id),
        ),
        (denied, browser, refusal),
    ] {
        for (who, now, known) in [
            (owner, NOW, true),
            (owner, NOW + ANSWER_REPEATED_FOR - SECOND, true),
            (owner, NOW + ANSWER_REPEATED_FOR, false),
            (world.browser().await, NOW, false),
        ] {
            let found = storage.answered_request(&token, who, now).await.unwrap();
            let found = found.map(|it| it.answer);
            assert_eq!(found, known.then(|| answer.clone()));
        }
    }
}

async fn a_grant_is_no_answer_any_more_once_its_code_is_spent(world: World) {
    let client = world.client("app").await;
    let approval = world.approved(&client, &alice()).await;
    let redemption = crate::world::redemption_of(&approval);
    world.storage.redeem_code(&redemption).await.unwrap();
    let (token, browser) = (approval.request, approval.browser);
    let answered = world.storage.answered_request(&token, browser, NOW).await;
    assert!(answered.unwrap().is_none());
}

async fn a_request_moves_to_the_session_of_who_signed_in(world: World) {
    let client = world.client("app").await;
    let [from, to, third] = [
        world.browser().await,
        world.browser().await,
        world.browser().await,
    ];
    let token = world.request(&client, from).await.token;
    let (storage, who) = (&world.storage, signed_in());
    let moved = async |from, now| {
        let moved = storage.sign_in_request(&token, from, to, &who, now);
        moved.await.unwrap()
    };
    assert!(!moved(third, NOW).await);
    assert!(!moved(from, NOW + HOUR).await);
    assert!(moved(from, NOW).await);
    let seen = async |browser| storage.request(&token, browser, NOW).await.unwrap();
    assert!(seen(from).await.is_none() && seen(to).await.is_some());
}

async fn a_session_that_a_waiting_request_needs_is_not_ended(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let session = world.session(&client, &alice()).await.id;
    let token = world.request(&client, browser).await.token;
    let mut who = signed_in();
    who.upstream_session = session;
    let storage = &world.storage;
    let noted = storage
        .sign_in_request(&token, browser, browser, &who, NOW)
        .await;
    assert!(noted.unwrap());
    let end = async |now| {
        let reason = EndReason::Abandoned;
        storage
            .end_unused_session(session, reason, now)
            .await
            .unwrap()
    };
    assert!(!end(NOW).await, "a consent page is open");
    assert!(end(NOW + HOUR).await, "it was left");
}

async fn a_request_comes_back_as_it_was_stored(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let mut request = new_request(&client, browser);
    request.params.nonce = Some("n".to_owned());
    request.params.dpop_jkt = Some("key".to_owned());
    request.params.login_hint = Some("alice.example".to_owned());
    request.params.prompts = "login consent".parse().unwrap();
    request.params.max_age = Some(0);
    request.signed_in = Some(signed_in());
    world.storage.put_request(&request).await.unwrap();

    let stored = world
        .storage
        .request(&request.token, browser, NOW)
        .await
        .unwrap()
        .unwrap();

    assert_eq!(format!("{:?}", stored.request), format!("{request:?}"));
    assert_eq!(stored.client.unwrap().id, client);
}

async fn what_decides_about_a_request_is_read_with_it(world: World) {
    let client = world.client("app").await;
    let granted = world.approved(&client, &alice()).await;
    let browser = granted.browser;
    let storage = &world.storage;
    let read = async |token: &TokenHash| storage.request(token, browser, NOW).await.unwrap();
    let waiting = world.request(&client, browser).await;
    let account = read(&waiting.token).await.unwrap().account;
    assert_eq!(account, None, "nobody has signed in");

    let mut who = signed_in();
    who.did = alice();
    who.upstream_session = granted.grant.upstream_session;
    let noted = storage.sign_in_request(&waiting.token, browser, browser, &who, NOW);
    assert!(noted.await.unwrap());
    let account = read(&waiting.token).await.unwrap().account.unwrap();
    assert_eq!(account.upstream_scope, scope("atproto"));
    assert_eq!(account.allowed, Some(scope("atproto")), "allowed before");

    // What somebody else allowed counts for nothing.
    let other = world.request(&client, browser).await;
    who.did = bob();
    who.upstream_session = world.session(&client, &bob()).await.id;
    let noted = storage.sign_in_request(&other.token, browser, browser, &who, NOW);
    assert!(noted.await.unwrap());
    let account = read(&other.token).await.unwrap().account.unwrap();
    assert_eq!(account.allowed, None);
}

async fn a_request_is_seen_by_its_own_browser_alone_and_for_its_time(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let elsewhere = world.browser().await;
    let request = world.request(&client, browser).await;

    for (who, now, seen) in [
        (browser, NOW, true),
        (elsewhere, NOW, false),
        (browser, NOW + HOUR, false),
    ] {
        let found = world
            .storage
            .request(&request.token, who, now)
            .await
            .unwrap();
        assert_eq!(found.is_some(), seen);
    }
}

async fn a_sign_in_is_noted_on_a_live_request_of_that_browser(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let elsewhere = world.browser().await;
    let token = world.request(&client, browser).await.token;
    let who = signed_in();
    let storage = &world.storage;

    assert!(
        !storage
            .sign_in_request(&token, elsewhere, elsewhere, &who, NOW)
            .await
            .unwrap()
    );
    assert!(
        !storage
            .sign_in_request(&token, browser, browser, &who, NOW + HOUR)
            .await
            .unwrap()
    );
    assert_eq!(
        storage
            .request(&token, browser, NOW)
            .await
            .unwrap()
            .unwrap()
            .request
            .signed_in,
        None
    );
    assert!(
        storage
            .sign_in_request(&token, browser, browser, &who, NOW)
            .await
            .unwrap()
    );
    assert_eq!(
        storage
            .request(&token, browser, NOW)
            .await
            .unwrap()
            .unwrap()
            .request
            .signed_in,
        Some(who)
    );
}

async fn a_refused_request_is_taken_once(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let elsewhere = world.browser().await;
    let token = world.request(&client, browser).await.token;

    assert!(
        world
            .storage
            .refuse_request(&token, elsewhere, DENIED, NOW)
            .await
            .unwrap()
            .is_none()
    );
    let outcomes = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        async move {
            let refused = storage.refuse_request(&token, browser, DENIED, NOW);
            refused.await.unwrap()
        }
    })
    .await;
    assert_eq!(outcomes.iter().flatten().count(), 1);
    assert!(
        world
            .storage
            .request(&token, browser, NOW)
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_flow_is_taken_once_however_many_ask(world: World) {
    let flow = new_flow(world.browser().await);
    world.storage.put_flow(&flow).await.unwrap();

    let outcomes = at_once(8, |_| {
        let storage = Arc::clone(&world.storage);
        let (state, browser) = (flow.state, flow.browser);
        async move { storage.take_flow(&state, &at(browser), NOW).await.unwrap() }
    })
    .await;

    let mut taken = outcomes.iter().filter_map(|it| match it {
        TakeFlow::Taken(flow) => Some(flow),
        TakeFlow::OtherBrowser | TakeFlow::Unknown => None,
    });
    assert_eq!(format!("{:?}", taken.next().unwrap()), format!("{flow:?}"));
    assert!(taken.next().is_none());
    assert_eq!(
        outcomes
            .iter()
            .filter(|it| matches!(it, TakeFlow::Unknown))
            .count(),
        7
    );
}

async fn a_flow_stays_for_its_own_browser(world: World) {
    let flow = new_flow(world.browser().await);
    let elsewhere = world.browser().await;
    world.storage.put_flow(&flow).await.unwrap();

    let outcome = world
        .storage
        .take_flow(&flow.state, &at(elsewhere), NOW)
        .await
        .unwrap();
    assert!(matches!(outcome, TakeFlow::OtherBrowser), "{outcome:?}");
    let outcome = world
        .storage
        .take_flow(&flow.state, &at(flow.browser), NOW)
        .await
        .unwrap();
    assert!(matches!(outcome, TakeFlow::Taken(_)), "{outcome:?}");
}

/// A browser at which somebody is signed in.
fn at(session: RowId) -> FlowBrowser<'static> {
    FlowBrowser {
        session: Some(session),
        flow_cookies: &[],
    }
}

async fn a_flow_is_taken_with_a_cookie_of_its_sign_in(world: World) {
    let (own, other) = (world.browser_session().await, world.browser_session().await);
    let cookies = [new_hash(), other.token, new_hash(), own.token];
    let by = |session, flow_cookies| FlowBrowser {
        session,
        flow_cookies,
    };
    for (browser, taken) in [
        (by(None, &cookies[..]), true),
        (by(Some(other.id), &cookies[3..]), true),
        (by(None, &cookies[..3]), false),
        (by(Some(other.id), &[]), false),
        (by(None, &[]), false),
    ] {
        let flow = new_flow(own.id);
        world.storage.put_flow(&flow).await.unwrap();
        let outcome = world.storage.take_flow(&flow.state, &browser, NOW).await;
        match outcome.unwrap() {
            TakeFlow::Taken(it) => assert!(taken && it.id == flow.id, "{browser:?}"),
            TakeFlow::OtherBrowser => assert!(!taken, "{browser:?}"),
            TakeFlow::Unknown => panic!("{browser:?}"),
        }
    }
    // A browser session that is over lends its cookie no right.
    let mut flow = new_flow(own.id);
    flow.expires_at = own.expires_at + HOUR;
    world.storage.put_flow(&flow).await.unwrap();
    let browser = by(None, &cookies[..]);
    let late = world
        .storage
        .take_flow(&flow.state, &browser, own.expires_at);
    assert!(matches!(late.await.unwrap(), TakeFlow::OtherBrowser));
}

async fn an_expired_flow_is_unknown(world: World) {
    let flow = new_flow(world.browser().await);
    let elsewhere = world.browser().await;
    world.storage.put_flow(&flow).await.unwrap();

    for browser in [flow.browser, elsewhere] {
        let outcome = world
            .storage
            .take_flow(&flow.state, &at(browser), flow.expires_at)
            .await
            .unwrap();
        assert!(matches!(outcome, TakeFlow::Unknown), "{outcome:?}");
    }
    let outcome = world
        .storage
        .take_flow(&new_hash(), &at(flow.browser), NOW)
        .await
        .unwrap();
    assert!(matches!(outcome, TakeFlow::Unknown), "{outcome:?}");
}

async fn a_browser_that_is_forgotten_takes_its_requests_and_flows_along(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let request = world.request(&client, browser).await;
    let flow = new_flow(browser);
    world.storage.put_flow(&flow).await.unwrap();

    let deleted = world.storage.delete_browser_session(browser, NOW);
    deleted.await.unwrap();

    assert!(
        world
            .storage
            .request(&request.token, browser, NOW)
            .await
            .unwrap()
            .is_none()
    );
    let outcome = world
        .storage
        .take_flow(&flow.state, &at(browser), NOW)
        .await
        .unwrap();
    assert!(matches!(outcome, TakeFlow::Unknown), "{outcome:?}");
}

async fn a_half_signed_in_request_is_not_read(world: World) {
    let client = world.client("app").await;
    let browser = world.browser().await;
    let request = world.request(&client, browser).await;
    world
        .raw("UPDATE authorization_requests SET signed_in_at = 1")
        .await;

    let error = world
        .storage
        .request(&request.token, browser, NOW)
        .await
        .unwrap_err();

    assert!(
        matches!(
            error,
            StorageError::Inconsistent {
                table: "authorization_requests",
                ..
            }
        ),
        "{error:?}"
    );
}

fn signed_in() -> SignedIn {
    SignedIn {
        did: alice(),
        upstream_session: new_id(),
        signed_in_at: NOW,
        auth_time: None,
    }
}

fn new_flow(browser: aip_base::RowId) -> UpstreamFlow {
    UpstreamFlow {
        state: new_hash(),
        id: new_id(),
        browser,
        request: Some(new_hash()),
        issuer: issuer("https://issuer.example"),
        expected: Some(bob()),
        sealed: sealed("what the callback needs"),
        expires_at: NOW + HOUR,
    }
}
