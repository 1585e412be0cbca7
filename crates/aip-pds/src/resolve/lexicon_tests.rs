//! Permission sets, published and not.

use std::time::Duration;

use aip_atproto::{Nsid, Scope};
use serde_json::json;

use super::LexiconError;
use crate::testing::{ALICE, PDS, World, answer, json};

const SET: &str = "com.example.calendar.authBasic";
const TXT: &str = "_lexicon.calendar.example.com";
const DAY: Duration = Duration::from_hours(24);

/// What it is, what it changes in the world, and whether it may pass.
type Case = (&'static str, fn(&World), bool);

fn record_url() -> String {
    format!(
        "{PDS}/xrpc/com.atproto.repo.getRecord?repo={}&collection=com.atproto.lexicon.schema&rkey={SET}",
        ALICE.replace(':', "%3A")
    )
}

fn lexicon(id: &str, collection: &str) -> serde_json::Value {
    let permissions =
        json!([{ "type": "permission", "resource": "repo", "collection": [collection] }]);
    let main = json!({ "type": "permission-set", "permissions": permissions });
    json!({ "uri": "at://x", "cid": "x", "value": { "lexicon": 1, "id": id, "defs": { "main": main } } })
}

/// A world in which alice publishes the set.
fn world() -> World {
    let world = World::with_alice();
    world.dns.txt_records(TXT, &[&format!("did={ALICE}")]);
    let record = lexicon(SET, "com.example.calendar.event");
    world.network.on(&record_url(), json(&record));
    world
}

/// What `include:` of the set stands for.
async fn read(world: &World) -> Result<String, LexiconError> {
    let set = Nsid::parse(SET).unwrap();
    let set = world.client.resolver().permission_set(&set, || {}).await?;
    let Scope::Include(include) = Scope::parse(&format!("include:{SET}")) else {
        panic!("no include")
    };
    Ok(set.expand(&include).to_string())
}

#[tokio::test]
async fn a_set_is_read_from_the_repository_of_its_author_once_a_day() {
    let world = world();
    let expected = Ok("repo:com.example.calendar.event".to_owned());
    for asked in [1, 1, 2] {
        assert_eq!(read(&world).await, expected);
        assert_eq!(world.network.to(&record_url()).len(), asked);
        world.clock.advance(DAY / 2);
    }
}

#[tokio::test]
async fn a_set_that_cannot_be_read_anew_is_used_for_90_days() {
    let world = world();
    assert!(read(&world).await.is_ok());
    world.network.now(&record_url(), || answer(503, "", &[]));
    world.clock.advance(DAY * 89);
    assert!(read(&world).await.is_ok());
    world.clock.advance(DAY);
    let error = read(&world).await.unwrap_err();
    assert!(matches!(error, LexiconError::Unavailable(..)), "{error}");
}

#[tokio::test]
async fn what_is_not_published_is_distinguished_from_what_cannot_be_read_now() {
    let cases: [Case; 7] = [
        (
            "no DNS record",
            |world| {
                world.dns.txt_records(TXT, &[]);
            },
            false,
        ),
        (
            "a DNS record of the group above",
            |world| {
                world.dns.txt_records(TXT, &["v=spf1"]);
                world
                    .dns
                    .txt_records("_lexicon.example.com", &[&format!("did={ALICE}")]);
            },
            false,
        ),
        (
            "two DIDs",
            |world| {
                let one = format!("did={ALICE}");
                world.dns.txt_records(TXT, &[&one, "did=did:web:b.example"]);
            },
            false,
        ),
        (
            "no record",
            |world| {
                let none = || answer(400, r#"{"error":"RecordNotFound"}"#, &[]);
                world.network.now(&record_url(), none);
            },
            false,
        ),
        (
            "another lexicon",
            |world| {
                let other = lexicon(
                    "com.example.calendar.authFull",
                    "com.example.calendar.event",
                );
                world.network.now(&record_url(), json(&other));
            },
            false,
        ),
        (
            "no JSON",
            |world| {
                world
                    .network
                    .now(&record_url(), || answer(200, "<html>", &[]));
            },
            false,
        ),
        (
            "a PDS that is down",
            |world| {
                world.network.now(&record_url(), || answer(502, "", &[]));
            },
            true,
        ),
    ];
    for (case, change, is_transient) in cases {
        let world = world();
        change(&world);
        let error = read(&world).await.unwrap_err();
        let transient = matches!(error, LexiconError::Unavailable(..));
        assert_eq!(transient, is_transient, "{case}: {error}");
        assert!(error.to_string().contains(SET), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_servers_do_not_answer_is_given_up_in_time_and_not_asked_for_again_at_once() {
    let world = world();
    world.network.takes(Duration::from_mins(1));
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let error = read(&world).await.unwrap_err();
        assert!(matches!(error, LexiconError::Unavailable(..)), "{error}");
        assert_eq!(began.elapsed().as_secs(), 5, "the first of them waited");
        world.clock.advance(Duration::from_secs(9));
    }
    world.network.takes(Duration::ZERO);
    assert!(read(&world).await.is_err());
    world.clock.advance(Duration::from_secs(3));
    assert!(read(&world).await.is_ok());
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn whoever_has_a_set_read_is_told_before_and_others_are_not() {
    let world = world();
    let set = Nsid::parse(SET).unwrap();
    let resolver = world.client.resolver();
    let reads = std::cell::Cell::new(0);
    let read = async || {
        let count = || reads.set(reads.get() + 1);
        resolver.permission_set(&set, count).await.is_ok()
    };
    assert!(!resolver.remembers_permission_set(&set));
    let (first, second) = tokio::join!(read(), read());
    assert!(first && second && read().await);
    assert_eq!(reads.get(), 1);
    assert!(resolver.remembers_permission_set(&set));
    world.clock.advance(DAY);
    assert!(!resolver.remembers_permission_set(&set));
    assert!(read().await);
    assert_eq!(reads.get(), 2);
}

#[tokio::test]
async fn a_set_that_takes_much_memory_counts_as_unpublished() {
    for (names, is_read) in [(1, true), (100, true), (600, true), (1000, false)] {
        let world = world();
        let collections: Vec<String> = (0..names)
            .map(|i| format!("com.example.calendar.event{i}"))
            .collect();
        let permissions =
            json!([{ "type": "permission", "resource": "repo", "collection": collections }]);
        let main = json!({ "type": "permission-set", "permissions": permissions });
        let record = json!({ "value": { "lexicon": 1, "id": SET, "defs": { "main": main } } });
        world.network.now(&record_url(), json(&record));
        match read(&world).await {
            Ok(_) => assert!(is_read, "{names}"),
            Err(error) => {
                let unpublished = matches!(error, LexiconError::NotPublished(..));
                assert!(unpublished && !is_read, "{names}: {error}");
            }
        }
    }
}
