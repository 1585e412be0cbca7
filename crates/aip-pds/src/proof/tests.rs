//! Stories of servers that claim accounts they do not have.

use aip_atproto::{Did, Issuer};

use super::ProofError;
use crate::testing::{
    ALICE, AUTH, World, answer, did_document, json, resource_metadata, server_metadata,
};

const NEW_PDS: &str = "https://new.org";

fn alice() -> Did {
    Did::parse(ALICE).unwrap()
}

fn issuer(text: &str) -> Issuer {
    Issuer::parse(text).unwrap()
}

/// Alice moves to a PDS that is its own authorization server.
fn move_to_new_pds(world: &World) {
    let document = did_document(ALICE, "alice.org", NEW_PDS);
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), json(&document));
    world.network.on(
        &format!("{NEW_PDS}/.well-known/oauth-protected-resource"),
        json(&resource_metadata(NEW_PDS, NEW_PDS)),
    );
    world.network.on(
        &format!("{NEW_PDS}/.well-known/oauth-authorization-server"),
        json(&server_metadata(NEW_PDS)),
    );
}

#[tokio::test]
async fn the_accounts_own_server_is_proved() {
    let world = World::with_alice();
    let proven = world
        .client
        .prove(&alice(), &issuer(AUTH), Some(&alice()))
        .await
        .unwrap();
    assert_eq!(proven.did(), &alice());
    assert_eq!(proven.pds().as_str(), "https://pds.org");
    assert_eq!(proven.server().issuer.as_str(), AUTH);
}

#[tokio::test]
async fn another_server_cannot_speak_for_the_account() {
    let world = World::with_alice();
    let evil = issuer("https://evil.org");
    let error = world.client.prove(&alice(), &evil, None).await.unwrap_err();
    let moved = ProofError::Moved {
        did: alice(),
        claimed: evil,
        actual: issuer(AUTH),
    };
    assert_eq!(error, moved);
}

#[tokio::test]
async fn another_account_of_the_same_server_is_not_the_expected_one() {
    let world = World::with_alice();
    let bob = Did::parse("did:plc:bbbbbbbbbbbbbbbbbbbbbbbb").unwrap();
    let error = world
        .client
        .prove(&bob, &issuer(AUTH), Some(&alice()))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ProofError::OtherAccount {
            expected: alice(),
            actual: bob
        }
    );
}

#[tokio::test]
async fn an_account_that_moved_is_not_proved_at_its_old_server() {
    let world = World::with_alice();
    world
        .client
        .prove(&alice(), &issuer(AUTH), None)
        .await
        .unwrap();
    move_to_new_pds(&world);
    let error = world
        .client
        .prove(&alice(), &issuer(AUTH), None)
        .await
        .unwrap_err();
    let actual = issuer(NEW_PDS);
    assert_eq!(
        error,
        ProofError::Moved {
            did: alice(),
            claimed: issuer(AUTH),
            actual
        }
    );
}

#[tokio::test]
async fn the_proof_reads_document_and_resource_metadata_anew_each_time() {
    let world = World::with_alice();
    for n in 1..=3 {
        world
            .client
            .prove(&alice(), &issuer(AUTH), None)
            .await
            .unwrap();
        for url in [
            format!("https://plc.org/{ALICE}"),
            "https://pds.org/.well-known/oauth-protected-resource".to_owned(),
        ] {
            assert_eq!(world.network.to(&url).len(), n, "{url}");
        }
    }
    world.network.now(
        "https://pds.org/.well-known/oauth-protected-resource",
        json(&resource_metadata("https://pds.org", "https://evil.org")),
    );
    let error = world
        .client
        .prove(&alice(), &issuer(AUTH), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ProofError::Moved { .. }), "{error}");
}

#[tokio::test]
async fn an_outage_is_not_an_answer_about_the_account() {
    for url in [
        format!("https://plc.org/{ALICE}"),
        "https://pds.org/.well-known/oauth-protected-resource".to_owned(),
        "https://auth.org/.well-known/oauth-authorization-server".to_owned(),
    ] {
        for status in [429, 500, 502, 503] {
            let world = World::with_alice();
            world.network.now(&url, move || answer(status, "", &[]));
            let error = world
                .client
                .prove(&alice(), &issuer(AUTH), None)
                .await
                .unwrap_err();
            assert!(
                matches!(error, ProofError::Indeterminate(_)),
                "{url} {status}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn an_account_that_is_gone_is_refused() {
    let world = World::with_alice();
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), || answer(410, "", &[]));
    let error = world
        .client
        .prove(&alice(), &issuer(AUTH), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ProofError::Refused(_)), "{error}");
}
