//! What goes over the wire to a PDS: proofs, assertions, nonces.

use std::collections::BTreeSet;

use aip_sandbox::{Endpoint, PdsOptions, Received};

use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_demanded_nonce_is_sent_once_with_a_new_proof_and_a_new_assertion,
    a_server_that_demands_a_nonce_for_ever_is_given_up,
    nonces_of_one_server_are_never_sent_to_the_other,
);

fn ids(requests: &[Received]) -> (BTreeSet<String>, BTreeSet<String>) {
    let proofs = requests.iter().filter_map(Received::dpop_jti).collect();
    let assertions = requests.iter().filter_map(Received::assertion_claims);
    let assertions = assertions.map(|it| it["jti"].as_str().unwrap().to_owned());
    (proofs, assertions.collect())
}

async fn a_demanded_nonce_is_sent_once_with_a_new_proof_and_a_new_assertion(world: &World) {
    world.pds().next(Endpoint::Token).demands_nonce();
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
    let sent = world.pds().requests_to(Endpoint::Token);
    assert_eq!(sent.len(), 2);
    let (proofs, assertions) = ids(&sent);
    assert_eq!((proofs.len(), assertions.len()), (2, 2));
    assert_eq!(sent[0].answered().unwrap(), 400);
    assert_eq!(sent[1].answered().unwrap(), 200);
}

async fn a_server_that_demands_a_nonce_for_ever_is_given_up(world: &World) {
    world.pds().always(Endpoint::Token).demands_nonce();
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;

    pending.refused(&page.away(), "temporarily_unavailable");
    page.answer.logged("nonce");
    assert_eq!(world.pds().requests_to(Endpoint::Token).len(), 8);
    let dump = world.dump().await;
    assert_eq!(
        (dump.count("upstream_sessions"), dump.count("grants")),
        (0, 0)
    );
}

async fn nonces_of_one_server_are_never_sent_to_the_other(world: &World) {
    let options = PdsOptions {
        separate_issuer: true,
        ..PdsOptions::default()
    };
    let pds = world.sandbox.another_pds(options).await.unwrap();
    let carol = pds
        .add_account(&"carol.test".parse().unwrap(), "carol-pass")
        .unwrap();
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), &carol).await;
    for _ in 0..2 {
        app.query(&tokens.access, "com.atproto.server.getSession")
            .await
            .ok();
    }

    let nonces = |endpoints: &[Endpoint]| -> BTreeSet<String> {
        let requests = endpoints.iter().flat_map(|it| pds.requests_to(*it));
        requests.filter_map(|it| it.dpop_nonce()).collect()
    };
    let authorization = nonces(&[Endpoint::Par, Endpoint::Token]);
    let resource = nonces(&[Endpoint::Xrpc]);
    assert!(!authorization.is_empty() && !resource.is_empty());
    assert!(authorization.is_disjoint(&resource));
}
