//! Stories of a PLC mirror and the authority behind it.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::HttpError;

use super::Directories;
use crate::resolve::{Freshness, ResolveError};
use crate::testing::{ALICE, Answer, ManualClock, World, answer, did_document};
use crate::trace::Trace;

const OLD_PDS: &str = "https://old.org";
const NEW_PDS: &str = "https://new.org";

fn world() -> World {
    World::with_directories(&["https://mirror.org", "https://plc.org"])
}

fn alice() -> Did {
    Did::parse(ALICE).unwrap()
}

fn at(directory: &str, did: &str) -> String {
    format!("https://{directory}.org/{did}")
}

/// The answer that has Alice at `pds`.
fn document(pds: &'static str) -> impl Fn() -> Answer + Send + 'static {
    move || {
        let document = did_document(ALICE, "alice.org", pds);
        answer(200, &document.to_string(), &[])
    }
}

/// Alice's PDS.
async fn read(world: &World, freshness: Freshness) -> Result<String, ResolveError> {
    let resolver = world.client.resolver();
    let mut trace = Trace::default();
    let found = resolver.document(&alice(), freshness, &mut trace).await?;
    Ok(resolver.pds_of(&found)?.to_string())
}

/// How often a directory was asked for Alice.
fn asked(world: &World, directory: &str) -> usize {
    world.network.to(&at(directory, ALICE)).len()
}

#[tokio::test]
async fn what_decides_who_somebody_is_is_read_at_the_authority_alone() {
    let world = world();
    world
        .network
        .on(&at("mirror", ALICE), document(OLD_PDS))
        .on(&at("plc", ALICE), document(NEW_PDS));
    assert_eq!(
        read(&world, Freshness::Cached).await.as_deref(),
        Ok(OLD_PDS)
    );
    assert_eq!((asked(&world, "mirror"), asked(&world, "plc")), (1, 0));
    // Whoever must know within a minute is not told what a mirror said a moment ago.
    let resolver = world.client.resolver();
    let (did, mut trace) = (alice(), Trace::default());
    let within = resolver.document_within(&did, Duration::from_mins(1), &mut trace);
    let found = within.await.unwrap();
    assert_eq!(found.pds_endpoint().unwrap().as_str(), NEW_PDS);
    for freshness in [Freshness::Uncached, Freshness::Cached] {
        assert_eq!(read(&world, freshness).await.as_deref(), Ok(NEW_PDS));
    }
    assert_eq!((asked(&world, "mirror"), asked(&world, "plc")), (1, 2));
    // While the authority is away nothing is decided, whatever the mirror says.
    for outage in [500, 503, 429, 403] {
        world
            .network
            .now(&at("plc", ALICE), move || answer(outage, "", &[]));
        let error = read(&world, Freshness::Uncached).await.unwrap_err();
        assert!(error.is_transient(), "{outage}: {error}");
    }
    assert_eq!(asked(&world, "mirror"), 1);
    world.clock.advance(Duration::from_hours(1));
    assert!(read(&world, Freshness::Cached).await.is_ok());
    assert_eq!(asked(&world, "mirror"), 2);
}

#[tokio::test]
async fn that_a_document_has_changed_only_the_authority_says() {
    let world = world();
    world
        .network
        .on(&at("mirror", ALICE), document(OLD_PDS))
        .on(&at("plc", ALICE), document(NEW_PDS));
    let resolver = world.client.resolver();
    for freshness in [Freshness::Uncached, Freshness::Cached] {
        assert_eq!(read(&world, freshness).await.as_deref(), Ok(NEW_PDS));
    }
    // Somebody says that the account has moved, and the mirror is behind.
    for asked_so_far in 1..=3 {
        resolver.mark_stale(&alice());
        assert_eq!(
            read(&world, Freshness::Cached).await.as_deref(),
            Ok(NEW_PDS)
        );
        let counts = (asked(&world, "mirror"), asked(&world, "plc"));
        assert_eq!(counts, (asked_so_far, asked_so_far + 1));
    }
    // What the authority said is used while it is away.
    world
        .network
        .now(&at("plc", ALICE), || answer(503, "", &[]));
    resolver.mark_stale(&alice());
    assert_eq!(
        read(&world, Freshness::Cached).await.as_deref(),
        Ok(NEW_PDS)
    );
    // A mirror that says the same is believed.
    world.network.now(&at("mirror", ALICE), document(NEW_PDS));
    let authority = asked(&world, "plc");
    world.clock.advance(Duration::from_hours(2));
    assert_eq!(
        read(&world, Freshness::Cached).await.as_deref(),
        Ok(NEW_PDS)
    );
    assert_eq!(asked(&world, "plc"), authority);
}

#[tokio::test]
async fn what_a_mirror_does_not_know_is_asked_of_the_authority() {
    let other = || {
        let document = did_document("did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "alice.org", OLD_PDS);
        answer(200, &document.to_string(), &[])
    };
    let answers: [fn() -> Answer; 8] = [
        || answer(404, "", &[]),
        // It can be taken back, and the mirror be behind.
        || answer(410, "", &[]),
        || answer(500, "", &[]),
        || answer(302, "", &[("location", "https://evil.org/")]),
        || answer(304, "", &[]),
        || answer(200, "<html>", &[]),
        || Err(HttpError::Connect("refused".to_owned())),
        other,
    ];
    for (case, mirror) in answers.into_iter().enumerate() {
        let world = world();
        world.network.on(&at("mirror", ALICE), mirror);
        // Without the authority nothing is known, least of all that there is no such account.
        let error = read(&world, Freshness::Cached).await.unwrap_err();
        assert!(error.is_transient(), "{case}: {error}");
        let gone = ResolveError::DidTombstoned(alice());
        for (status, expected) in [(404, ResolveError::DidNotFound(alice())), (410, gone)] {
            world
                .network
                .now(&at("plc", ALICE), move || answer(status, "", &[]));
            world.clock.advance(Duration::from_mins(1));
            let found = read(&world, Freshness::Cached).await;
            assert_eq!(found, Err(expected), "{case}");
        }
        world.network.now(&at("plc", ALICE), document(NEW_PDS));
        world.clock.advance(Duration::from_mins(1));
        let found = read(&world, Freshness::Cached).await;
        assert_eq!(found.as_deref(), Ok(NEW_PDS), "{case}");
    }
}

#[tokio::test]
async fn a_mirror_that_fails_is_asked_last_for_a_while() {
    let failures: [fn() -> Answer; 4] = [
        || answer(500, "", &[]),
        || answer(429, "", &[]),
        || Err(HttpError::NoHost),
        || Err(HttpError::Deadline(Duration::from_secs(3))),
    ];
    for (case, failure) in failures.into_iter().enumerate() {
        let world = world();
        world
            .network
            .on(&at("mirror", ALICE), failure)
            .on(&at("plc", ALICE), document(NEW_PDS));
        let resolver = world.client.resolver();
        let mut expected = 0;
        // In a row: the third failure puts it last.
        for is_asked in [true, true, true, false, false] {
            resolver.forget(&alice());
            expected += usize::from(is_asked);
            assert!(read(&world, Freshness::Cached).await.is_ok(), "{case}");
            assert_eq!(asked(&world, "mirror"), expected, "{case}");
        }
        // Each further failure doubles the time, up to five minutes.
        for seconds in [30, 60, 120, 240, 300, 300] {
            for (wait, is_asked) in [(seconds - 1, false), (1, true)] {
                world.clock.advance(Duration::from_secs(wait));
                resolver.forget(&alice());
                expected += usize::from(is_asked);
                assert!(read(&world, Freshness::Cached).await.is_ok(), "{case}");
                assert_eq!(asked(&world, "mirror"), expected, "{case}: {seconds}");
            }
        }
        // When the authority fails, too, it is asked all the same; then it is well again.
        world.network.now(&at("mirror", ALICE), document(OLD_PDS));
        world
            .network
            .now(&at("plc", ALICE), || answer(503, "", &[]));
        for _ in 0..2 {
            resolver.forget(&alice());
            let found = read(&world, Freshness::Cached).await;
            assert_eq!(found.as_deref(), Ok(OLD_PDS), "{case}");
        }
    }
}

#[test]
fn a_read_that_is_given_up_counts_if_it_took_its_time() {
    let clock = Arc::new(ManualClock::default());
    let origins = ["https://one.org", "https://two.org", "https://plc.org"];
    let origins = origins.map(|it| Origin::parse(it).unwrap()).to_vec();
    let directories = Directories::new(origins, Arc::clone(&clock) as _);
    let listed = directories.in_order();
    let (one, two, plc) = (listed[0], listed[1], listed[2]);
    for (seconds, expected) in [(1, [one, two, plc]), (2, [two, plc, one])] {
        for _ in 0..3 {
            let reading = directories.begin(one);
            clock.advance(Duration::from_secs(seconds));
            drop(reading);
        }
        assert_eq!(directories.in_order(), expected, "{seconds}");
    }
    // All of them fail: they are asked in their order again.
    for id in [two, plc] {
        for _ in 0..3 {
            directories.begin(id).failed();
        }
    }
    assert_eq!(directories.in_order(), listed);
    directories.begin(plc).answered();
    assert_eq!(directories.in_order(), [plc, one, two]);
}

/// A directory that has Alice at `pds` under the entity tag `tag`.
fn tagged(world: &World, directory: &str, pds: &'static str, tag: &'static str) {
    let url = at(directory, ALICE);
    world.network.forget(&url);
    world.network.on_request(&url, move |request| {
        let known = request.headers().get("if-none-match");
        if known.is_some_and(|known| known == tag) {
            return answer(304, "", &[("etag", tag)]);
        }
        let document = did_document(ALICE, "alice.org", pds);
        answer(200, &document.to_string(), &[("etag", tag)])
    });
}

/// The entity tag that a directory was last asked with.
fn sent_tag(world: &World, directory: &str) -> Option<String> {
    let requests = world.network.to(&at(directory, ALICE));
    let tag = requests.last()?.headers().get("if-none-match")?;
    Some(tag.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_document_that_has_not_changed_is_not_sent_again() {
    for tag in ["\"1\"", "W/\"3f-abc\"", "\"a,b\""] {
        let world = World::new();
        tagged(&world, "plc", OLD_PDS, tag);
        assert_eq!(
            read(&world, Freshness::Uncached).await.as_deref(),
            Ok(OLD_PDS)
        );
        assert_eq!(sent_tag(&world, "plc"), None);
        for freshness in [Freshness::Uncached, Freshness::Cached] {
            world.clock.advance(Duration::from_hours(1));
            assert_eq!(read(&world, freshness).await.as_deref(), Ok(OLD_PDS));
            assert_eq!(sent_tag(&world, "plc").as_deref(), Some(tag));
        }
        // It counts as read now.
        let before = asked(&world, "plc");
        world.clock.advance(Duration::from_mins(59));
        assert!(read(&world, Freshness::Cached).await.is_ok());
        assert_eq!(asked(&world, "plc"), before);
        // The account moves.
        world.network.now(&at("plc", ALICE), document(NEW_PDS));
        assert_eq!(
            read(&world, Freshness::Uncached).await.as_deref(),
            Ok(NEW_PDS)
        );
        assert_eq!(sent_tag(&world, "plc").as_deref(), Some(tag));
        assert!(read(&world, Freshness::Uncached).await.is_ok());
        assert_eq!(sent_tag(&world, "plc"), None, "that one had no tag");
    }
}

#[tokio::test]
async fn an_entity_tag_is_for_the_directory_that_gave_it() {
    let world = world();
    tagged(&world, "mirror", OLD_PDS, "\"same\"");
    tagged(&world, "plc", NEW_PDS, "\"same\"");
    assert_eq!(
        read(&world, Freshness::Cached).await.as_deref(),
        Ok(OLD_PDS)
    );
    assert_eq!(
        read(&world, Freshness::Uncached).await.as_deref(),
        Ok(NEW_PDS)
    );
    assert_eq!(sent_tag(&world, "plc"), None, "it is the mirror's");
    assert_eq!(
        read(&world, Freshness::Uncached).await.as_deref(),
        Ok(NEW_PDS)
    );
    assert_eq!(sent_tag(&world, "plc").as_deref(), Some("\"same\""));
}

#[tokio::test]
async fn a_tag_that_is_too_long_is_not_kept_and_304_needs_one() {
    let world = World::new();
    let url = at("plc", ALICE);
    let long = || {
        let document = did_document(ALICE, "alice.org", OLD_PDS);
        let tag = format!("\"{}\"", "x".repeat(127));
        answer(200, &document.to_string(), &[("etag", &tag)])
    };
    world.network.on(&url, long);
    for _ in 0..2 {
        assert!(read(&world, Freshness::Uncached).await.is_ok());
        assert_eq!(sent_tag(&world, "plc"), None);
    }
    world.network.now(&url, || answer(304, "", &[]));
    let error = read(&world, Freshness::Uncached).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
