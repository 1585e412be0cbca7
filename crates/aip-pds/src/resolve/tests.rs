//! Stories of handles and DIDs, honest and not.

use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, Handle};
use aip_base::HttpError;
use serde_json::json;

use super::{Freshness, HandleMethod, KnownIdentity, ResolveError, VerifiedIdentity};
use crate::testing::{ALICE, PDS, World, answer, did_document, json};
use crate::trace::Trace;

const BOB: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
const WELL_KNOWN: &str = "https://alice.org/.well-known/atproto-did";
const FALLBACK: &str =
    "https://fallback.org/xrpc/com.atproto.identity.resolveHandle?handle=alice.org";

async fn resolve(world: &World, id: &str) -> Result<VerifiedIdentity, ResolveError> {
    let id = AtIdentifier::parse(id).unwrap();
    world
        .client
        .resolver()
        .resolve(&id, Freshness::Cached, &mut Trace::default())
        .await
}

async fn did_of(world: &World, handle: &str) -> Result<String, ResolveError> {
    let handle = Handle::parse(handle).unwrap();
    let mut trace = Trace::default();
    let did = world
        .client
        .resolver()
        .did_of(&handle, Freshness::Cached, &mut trace)
        .await?;
    Ok(did.to_string())
}

fn alice() -> Did {
    Did::parse(ALICE).unwrap()
}

#[tokio::test]
async fn a_handle_leads_to_did_and_pds_and_back() {
    let world = World::with_alice();
    for id in ["alice.org", ALICE] {
        let identity = resolve(&world, id).await.unwrap();
        assert_eq!((identity.did.as_str(), identity.pds.as_str()), (ALICE, PDS));
        assert_eq!(identity.display_handle(), "alice.org");
    }
}

#[tokio::test]
async fn every_step_is_reported_in_words() {
    let world = World::with_alice();
    let mut trace = Trace::default();
    let id = AtIdentifier::parse("alice.org").unwrap();
    world
        .client
        .resolver()
        .resolve(&id, Freshness::Uncached, &mut trace)
        .await
        .unwrap();
    let told: Vec<String> = trace
        .steps
        .iter()
        .map(|step| format!("{} {step}", step.ok))
        .collect();
    assert_eq!(
        told,
        [
            format!("true DNS TXT _atproto.alice.org: {ALICE} (0 ms)"),
            format!(
                "false HTTPS {WELL_KNOWN}: no connection: nobody listens at {WELL_KNOWN} (0 ms)"
            ),
            format!("true DID document https://plc.org/{ALICE}: PDS {PDS} (0 ms)"),
        ]
    );
}

#[tokio::test]
async fn two_dids_in_dns_are_a_failure_even_if_the_host_knows_one() {
    let world = World::with_alice();
    let records = [format!("did={ALICE}"), format!("did={BOB}")];
    world
        .dns
        .txt_records("_atproto.alice.org", &[&records[0], &records[1]]);
    world.network.on(WELL_KNOWN, || answer(200, ALICE, &[]));
    let error = did_of(&world, "alice.org").await.unwrap_err();
    assert_eq!(
        error,
        ResolveError::HandleAmbiguous(Handle::parse("alice.org").unwrap())
    );
}

#[tokio::test]
async fn other_records_and_repeated_records_do_not_matter() {
    let world = World::with_alice();
    let record = format!("did={ALICE}");
    world
        .dns
        .txt_records("_atproto.alice.org", &["v=spf1 -all", &record, &record]);
    assert_eq!(did_of(&world, "alice.org").await.unwrap(), ALICE);
}

#[tokio::test]
async fn records_are_parsed_before_they_are_compared() {
    let bare = format!("did={ALICE}");
    for records in [
        vec![format!("did={ALICE} ")],
        vec![format!("did= {ALICE}")],
        vec![format!("  did=\t{ALICE}\r\n")],
        vec![bare.clone(), format!("did={ALICE}\u{a0}")],
        vec![format!("did= {ALICE}"), format!("did={ALICE} ")],
        vec!["did=".to_owned(), bare.clone()],
        vec![
            bare.clone(),
            "did=alice.org".to_owned(),
            "did=did:key:zQ3sh".to_owned(),
        ],
    ] {
        let world = World::new();
        let texts: Vec<&str> = records.iter().map(String::as_str).collect();
        world.dns.txt_records("_atproto.alice.org", &texts);
        let found = did_of(&world, "alice.org").await;
        assert_eq!(found.as_deref(), Ok(ALICE), "{records:?}");
    }
    let world = World::new();
    let two = [format!("did={ALICE} "), format!("did= {BOB}")];
    world
        .dns
        .txt_records("_atproto.alice.org", &[&two[0], &two[1]]);
    let error = did_of(&world, "alice.org").await.unwrap_err();
    assert!(matches!(error, ResolveError::HandleAmbiguous(_)), "{error}");

    // What is no DID is said so, and the host is asked.
    let world = World::new();
    world
        .dns
        .txt_records("_atproto.alice.org", &["did=alice.org"]);
    world.network.on(WELL_KNOWN, || {
        answer(200, &format!("\u{feff}{ALICE}\r\nsecond line"), &[])
    });
    assert_eq!(did_of(&world, "alice.org").await.as_deref(), Ok(ALICE));
}

#[tokio::test]
async fn handles_that_are_shown_at_a_sign_in_are_at_most_ten_minutes_old() {
    let shown = async |world: &World| {
        let id = AtIdentifier::parse(ALICE).unwrap();
        let mut trace = Trace::default();
        let resolver = world.client.resolver();
        let found = resolver.resolve(&id, Freshness::Recent, &mut trace).await;
        found.map(|it| it.display_handle().to_owned())
    };
    let did = async |world: &World, freshness: Freshness| {
        let handle = Handle::parse("alice.org").unwrap();
        let mut trace = Trace::default();
        let resolver = world.client.resolver();
        resolver.did_of(&handle, freshness, &mut trace).await
    };
    let world = World::with_alice();
    assert_eq!(shown(&world).await.as_deref(), Ok("alice.org"));
    // The name goes to somebody else.
    world
        .dns
        .txt_records("_atproto.alice.org", &[&format!("did={BOB}")]);
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(shown(&world).await.as_deref(), Ok("alice.org"));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(shown(&world).await.as_deref(), Ok("handle.invalid"));

    // Nor is an older one shown when nobody can be asked.
    let world = World::with_alice();
    assert!(did(&world, Freshness::Recent).await.is_ok());
    world.dns.0.lock().unwrap().clear();
    world.clock.advance(Duration::from_hours(1));
    let error = did(&world, Freshness::Recent).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let bridged = did(&world, Freshness::Cached).await;
    assert!(bridged.is_ok(), "elsewhere the old one bridges the outage");
}

#[tokio::test]
async fn dns_wins_over_the_host() {
    let world = World::with_alice();
    world.network.on(WELL_KNOWN, || answer(200, BOB, &[]));
    assert_eq!(did_of(&world, "alice.org").await.unwrap(), ALICE);
}

#[tokio::test]
async fn without_dns_the_host_answers_and_then_the_fallback() {
    let world = World::new();
    world.network.on(FALLBACK, json(&json!({ "did": BOB })));
    world
        .network
        .on(WELL_KNOWN, || answer(200, &format!("\n{ALICE} \n"), &[]));
    assert_eq!(did_of(&world, "alice.org").await.unwrap(), ALICE);
    assert!(world.network.to(FALLBACK).is_empty());

    let world = World::new();
    world
        .network
        .on(WELL_KNOWN, || answer(403, "are you a robot?", &[]));
    world.network.on(FALLBACK, json(&json!({ "did": BOB })));
    assert_eq!(did_of(&world, "alice.org").await.unwrap(), BOB);
}

#[tokio::test]
async fn nowhere_known_and_nobody_reachable_are_distinguished() {
    let world = World::new();
    let handle = Handle::parse("alice.org").unwrap();
    world.network.on(WELL_KNOWN, || answer(404, "", &[]));
    world.network.on(FALLBACK, || answer(400, "", &[]));
    let error = did_of(&world, "alice.org").await.unwrap_err();
    assert_eq!(error, ResolveError::HandleNotFound(handle.clone()));

    let world = World::new();
    world.network.on(WELL_KNOWN, || Err(HttpError::NoHost));
    world.network.on(FALLBACK, || answer(400, "", &[]));
    let error = did_of(&world, "alice.org").await.unwrap_err();
    assert_eq!(error, ResolveError::HandleNotFound(handle));

    let world = World::new();
    world.network.on(FALLBACK, || answer(400, "", &[]));
    assert!(
        did_of(&world, "alice.org")
            .await
            .unwrap_err()
            .is_transient()
    );
}

#[tokio::test]
async fn a_handle_that_the_document_does_not_claim_is_not_shown() {
    let world = World::with_alice();
    let document = did_document(ALICE, "somebody-else.org", PDS);
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), json(&document));
    let identity = resolve(&world, "alice.org").await.unwrap();
    assert_eq!(
        (identity.handle.as_ref(), identity.display_handle()),
        (None, "handle.invalid")
    );
}

#[tokio::test]
async fn a_claimed_handle_that_leads_elsewhere_is_not_shown() {
    let world = World::with_alice();
    world
        .dns
        .txt_records("_atproto.alice.org", &[&format!("did={BOB}")]);
    assert_eq!(resolve(&world, ALICE).await.unwrap().handle, None);
}

#[tokio::test]
async fn disallowed_top_level_domains_are_never_looked_up() {
    let world = World::new();
    for name in ["alice.test", "alice.local", "alice.onion", "alice.internal"] {
        world
            .dns
            .txt_records(&format!("_atproto.{name}"), &[&format!("did={ALICE}")]);
        let error = did_of(&world, name).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::HandleNotResolvable(_)),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn a_document_of_another_did_is_refused() {
    let world = World::new();
    let document = did_document(BOB, "alice.org", PDS);
    world
        .network
        .on(&format!("https://plc.org/{ALICE}"), json(&document));
    let error = resolve(&world, ALICE).await.unwrap_err();
    assert!(matches!(error, ResolveError::BadDocument { .. }), "{error}");
}

#[tokio::test]
async fn the_first_pds_service_counts() {
    let world = World::with_alice();
    let mut document = did_document(ALICE, "alice.org", PDS);
    let mut second = document["service"][0].clone();
    second["serviceEndpoint"] = "https://second.org".into();
    document["service"].as_array_mut().unwrap().push(second);
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), json(&document));
    assert_eq!(resolve(&world, ALICE).await.unwrap().pds.as_str(), PDS);
}

#[tokio::test]
async fn a_plain_http_pds_does_not_count_outside_of_development() {
    let world = World::with_alice();
    let document = did_document(ALICE, "alice.org", "http://pds.org");
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), json(&document));
    assert_eq!(
        resolve(&world, ALICE).await,
        Err(ResolveError::NoPds(alice()))
    );
}

#[tokio::test]
async fn a_did_web_is_read_from_its_host() {
    let world = World::new();
    let did = "did:web:alice.org";
    let document = did_document(did, "alice.org", PDS);
    world
        .network
        .on("https://alice.org/.well-known/did.json", json(&document));
    world
        .dns
        .txt_records("_atproto.alice.org", &[&format!("did={did}")]);
    assert_eq!(
        resolve(&world, did).await.unwrap().display_handle(),
        "alice.org"
    );
}

#[tokio::test]
async fn only_localhost_is_read_without_tls() {
    for (did, url) in [
        ("did:web:localhost", "http://localhost"),
        ("did:web:localhost%3A2583", "http://localhost:2583"),
        ("did:web:localhost.alice.org", "https://localhost.alice.org"),
        ("did:web:localhostess.org", "https://localhostess.org"),
    ] {
        let world = World::new();
        let document = json!({ "id": did });
        let place = format!("{url}/.well-known/did.json");
        world.network.on(&place, json(&document));
        assert!(known(&world, did).await.is_ok(), "{did}");
        assert_eq!(world.network.to(&place).len(), 1);
    }
}

#[tokio::test]
async fn documents_are_cached_and_many_callers_share_one_fetch() {
    let world = World::with_alice();
    let url = format!("https://plc.org/{ALICE}");
    let (one, two) = tokio::join!(resolve(&world, ALICE), resolve(&world, ALICE));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(world.network.to(&url).len(), 1);
    world.clock.advance(Duration::from_hours(1));
    resolve(&world, ALICE).await.unwrap();
    assert_eq!(world.network.to(&url).len(), 2);
    world.network.now(&url, || answer(503, "", &[]));
    world.clock.advance(Duration::from_hours(1));
    assert!(
        resolve(&world, ALICE).await.is_ok(),
        "the old document bridges the outage"
    );
}

#[tokio::test]
async fn an_uncached_resolution_does_not_see_the_cache() {
    let world = World::with_alice();
    resolve(&world, ALICE).await.unwrap();
    let moved = did_document(ALICE, "alice.org", "https://new.org");
    world
        .network
        .now(&format!("https://plc.org/{ALICE}"), json(&moved));
    assert_eq!(
        resolve(&world, ALICE).await.unwrap().pds.as_str(),
        PDS,
        "the cache is used"
    );
    let id = AtIdentifier::parse(ALICE).unwrap();
    let resolver = world.client.resolver();
    let fresh = resolver
        .resolve(&id, Freshness::Uncached, &mut Trace::default())
        .await
        .unwrap();
    assert_eq!(fresh.pds.as_str(), "https://new.org");
    assert_eq!(
        resolve(&world, ALICE).await.unwrap().pds.as_str(),
        "https://new.org"
    );
}

async fn known(world: &World, id: &str) -> Result<KnownIdentity, ResolveError> {
    let id = AtIdentifier::parse(id).unwrap();
    world.client.resolver().known(&id).await
}

#[tokio::test]
async fn it_is_told_where_an_identity_was_read_and_how_long_ago() {
    let world = World::with_alice();
    world.clock.advance(Duration::from_secs(7));
    for (id, age) in [("alice.org", 0), ("alice.org", 60), (ALICE, 120)] {
        let age = Duration::from_secs(age);
        let found = known(&world, id).await.unwrap();
        assert_eq!((found.did.as_str(), found.document_age), (ALICE, age));
        assert_eq!(found.pds.unwrap().as_str(), PDS);
        let handle = found.handle.unwrap();
        assert_eq!(handle.handle.as_str(), "alice.org");
        assert_eq!((handle.method, handle.age), (HandleMethod::Dns, age));
        let told: serde_json::Value = serde_json::from_str(found.document.json().unwrap()).unwrap();
        assert_eq!(told, did_document(ALICE, "alice.org", PDS));
        world.clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn each_way_to_a_handle_has_its_name() {
    let world = World::with_alice();
    world.dns.txt_records("_atproto.alice.org", &[]);
    world.network.on(WELL_KNOWN, || answer(200, ALICE, &[]));
    let found = known(&world, "alice.org").await.unwrap();
    assert_eq!(found.handle.unwrap().method, HandleMethod::WellKnown);

    let world = World::with_alice();
    world.dns.txt_records("_atproto.alice.org", &[]);
    world.network.on(WELL_KNOWN, || answer(404, "", &[]));
    world.network.on(FALLBACK, json(&json!({ "did": ALICE })));
    let found = known(&world, ALICE).await.unwrap();
    assert_eq!(found.handle.unwrap().method, HandleMethod::Server);
}

#[tokio::test]
async fn an_identity_needs_neither_a_pds_nor_a_handle_that_leads_back() {
    const FEED: &str = "did:web:feed.org";
    let world = World::with_alice();
    let document = json!({ "id": FEED, "service": [{ "id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": "https://feed.org" }] });
    let place = "https://feed.org/.well-known/did.json";
    world.network.on(place, json(&document));
    let found = known(&world, FEED).await.unwrap();
    assert_eq!((found.handle, found.pds), (None, None));
    assert!(found.document.json().unwrap().contains("#bsky_fg"));

    // Somebody else's handle is claimed; the handle leads to its owner all the same.
    let liar = did_document(BOB, "alice.org", PDS);
    let place = format!("https://plc.org/{BOB}");
    world.network.on(&place, json(&liar));
    let found = known(&world, BOB).await.unwrap();
    assert_eq!((found.did.as_str(), found.handle), (BOB, None));
    let found = known(&world, "alice.org").await.unwrap();
    assert_eq!(found.did.as_str(), ALICE);

    for (id, expected) in [
        ("nobody.org", "could not be resolved now"),
        ("x.local", "never looked up"),
        ("did:web:nowhere.org", "could not be resolved now"),
    ] {
        let error = known(&world, id).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{id}: {error}");
    }
}

#[tokio::test]
async fn a_handle_that_cannot_be_checked_now_is_distinguished_from_one_that_is_not_the_account_s() {
    let failing = || answer(503, "", &[]);
    let none = || answer(404, "", &[]);
    let world = World::with_alice();
    let unset = |world: &World, host: fn() -> crate::testing::Answer| {
        world.dns.txt_records("_atproto.alice.org", &[]);
        world.network.now(WELL_KNOWN, host);
        world.network.now(FALLBACK, none);
    };
    unset(&world, failing);
    let found = known(&world, ALICE).await.unwrap();
    assert_eq!((found.did.as_str(), found.handle), (ALICE, None));
    let error = found.handle_error.unwrap();
    assert!(error.is_transient(), "{error}");
    // Nobody has it.
    let world = World::with_alice();
    unset(&world, none);
    let found = known(&world, ALICE).await.unwrap();
    assert_eq!((found.handle, found.handle_error), (None, None));
    // Somebody else has it, and its owner has it.
    let world = World::with_alice();
    let place = format!("https://plc.org/{BOB}");
    let liar = did_document(BOB, "alice.org", PDS);
    world.network.on(&place, json(&liar));
    let found = known(&world, BOB).await.unwrap();
    assert_eq!((found.handle, found.handle_error), (None, None));
    let found = known(&world, ALICE).await.unwrap();
    assert!(found.handle.is_some() && found.handle_error.is_none());
}

#[tokio::test]
async fn it_is_known_whether_somebody_would_be_asked() {
    let world = World::with_alice();
    let remembers = |id: &str| {
        let id = AtIdentifier::parse(id).unwrap();
        world.client.resolver().remembers(&id)
    };
    let ids = ["alice.org", ALICE, "nobody.org", "did:web:nowhere.org"];
    for id in ids {
        assert!(!remembers(id), "{id}");
    }
    // Half of it is not enough.
    assert!(did_of(&world, "alice.org").await.is_ok());
    assert!(!remembers("alice.org"));
    for id in ids {
        let is_found = known(&world, id).await.is_ok();
        assert!(
            remembers(id),
            "{id}, {is_found}: errors are remembered, too"
        );
    }
    let resolver = world.client.resolver();
    let handle = Handle::parse("alice.org").unwrap();
    assert!(resolver.remembers_handle(&handle) && resolver.remembers_document(&alice()));
    resolver.forget(&alice());
    assert!(!remembers("alice.org") && !remembers(ALICE));
    assert!(!resolver.remembers_handle(&handle) && !resolver.remembers_document(&alice()));
    assert!(known(&world, ALICE).await.is_ok());
    world.clock.advance(Duration::from_hours(1));
    assert!(!remembers("alice.org") && !remembers(ALICE));
}
