//! AIP takes the place of a server of AIP v2: nobody signs in again, no session is refreshed by both,
//! and what makes no sense is named.

mod bad_rows;
mod meanwhile;
mod v2;

use std::time::Duration;

use aip_atproto::Handle;
use aip_base::Clock as _;
use aip_import_v2::{ImportError, Mode, Reason, SourceError};
use aip_jose::SigningKey;
use aip_sandbox::Endpoint;
use aip_storage::upstream::{SessionFilter, SessionKind, StateName};
use http::StatusCode;
use serde_json::json;

use self::v2::{CLIENT, FINISH, SCOPE, V2, open, v2_database};
use crate::app::Tokens;
use crate::app_passwords::make_password;
use crate::keeping::{GET_SESSION, STALE};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    of_200_people_nobody_signs_in_again,
    until_v2_has_stopped_nothing_of_its_sessions_is_used,
    a_dry_run_writes_nothing,
    a_run_that_is_killed_anywhere_is_completed_by_the_next,
    the_last_run_takes_what_has_changed_since,
    tokens_of_v2_are_rotated_into_our_own,
    an_app_password_is_taken_over,
    the_operator_says_which_app_gets_tokens_of_pdss_on,
    what_is_finished_is_not_imported_again,
);

const PEOPLE: usize = 200;

/// How many sessions are in that state.
async fn in_state(world: &World, state: StateName) -> usize {
    let filter = SessionFilter {
        state: Some(state),
        ..SessionFilter::default()
    };
    let storage = world.aip().app.server.storage.clone();
    let sessions = storage.list_upstream_sessions(&filter, None, 1000).await;
    sessions.unwrap().len()
}

fn refreshes(world: &World) -> usize {
    let requests = world.pds().requests_to(Endpoint::Token);
    let done = |it: &&aip_sandbox::Received| it.answered() == Some(StatusCode::OK);
    requests.iter().filter(done).count()
}

async fn of_200_people_nobody_signs_in_again(world: &World) {
    let v2 = V2::begin(world).await;
    let handles: Vec<Handle> = (0..PEOPLE)
        .map(|n| Handle::parse(&format!("person-{n}.test")).unwrap())
        .collect();
    let people = world
        .pds()
        .add_accounts(&handles, "password of all")
        .unwrap();
    let mut sessions = Vec::new();
    for person in &people {
        sessions.push(v2.sign_in(&person.did).await);
    }
    let held = v2.run_import(Mode::Hold).await;
    assert_eq!((held.sessions_taken, held.held), (200, 200), "{held:?}");
    assert_eq!(held.left_out, []);
    let done = v2.finish().await;
    assert_eq!((done.unchanged, done.released, done.held), (200, 200, 0));

    let app = v2.app();
    for session in &sessions {
        let who = app.userinfo(&session.access).await.ok();
        assert_eq!(who["sub"], session.did.as_str());
        let tokens = Tokens::of(&app.refresh(&session.refresh).await);
        let who = app.userinfo(&tokens.access).await.ok();
        assert_eq!(who["sub"], session.did.as_str());
    }
    // Every session is refreshed, with v2's key and client id, and none is lost.
    world.pass(STALE);
    world.pds().forget_requests();
    world.pds().keep_requests(20 * PEOPLE);
    // A PDS gets no more than a share of each round.
    for _ in 0..10 {
        world.keeper_round().await;
    }
    assert_eq!(refreshes(world), PEOPLE);
    assert_eq!(world.pds().ended_sessions(), []);
    assert_eq!(in_state(world, StateName::Active).await, PEOPLE);
    let last = sessions.last().unwrap();
    let called = app.query(&last.access, GET_SESSION).await.ok();
    assert_eq!(called["did"], last.did.as_str());
}

async fn until_v2_has_stopped_nothing_of_its_sessions_is_used(world: &World) {
    let v2 = V2::begin(world).await;
    let session = v2.sign_in(&world.alice().did).await;
    v2.run_import(Mode::Hold).await;
    world.pds().forget_requests();
    world.pass(STALE);
    world.keeper_round().await;
    let app = v2.app();
    app.refresh(&session.refresh)
        .await
        .expect(400, "invalid_grant");
    let answer = app.userinfo(&session.access).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(world.pds().requests_to(Endpoint::Token).is_empty());
    assert_eq!(in_state(world, StateName::Active).await, 0);

    // While somebody is connected, v2 may be running.
    let connected = open(&v2.url, world.clock.now()).await.unwrap();
    let refused = v2.try_run(FINISH).await.unwrap_err();
    assert!(
        matches!(&refused, ImportError::StillInUse { number: 1, who } if who.contains("aip import")),
        "{refused}"
    );
    let forced = Mode::Finish {
        other_connections: 1,
    };
    assert_eq!(v2.run_import(forced).await.released, 1);
    connected.close().await.unwrap();
    Tokens::of(&app.refresh(&session.refresh).await);
}

async fn a_dry_run_writes_nothing(world: &World) {
    let v2 = V2::begin(world).await;
    v2.sign_in(&world.alice().did).await;
    v2.sign_in(&world.bob().did).await;
    let before = world.dump().await;
    let dry = v2.run_import(Mode::DryRun).await;
    assert_eq!(world.dump().await, before);
    let real = v2.run_import(Mode::Hold).await;
    let counts = |it: &aip_import_v2::Report| {
        (
            it.clients_new,
            it.sessions_taken,
            it.access_tokens_taken,
            it.refresh_tokens_taken,
        )
    };
    assert_eq!(counts(&dry), (1, 2, 2, 2));
    assert_eq!(counts(&real), counts(&dry));
    assert_eq!((dry.held, real.held), (0, 2));
}

async fn a_run_that_is_killed_anywhere_is_completed_by_the_next(world: &World) {
    let v2 = V2::begin(world).await;
    let handles: Vec<Handle> = (0..30)
        .map(|n| Handle::parse(&format!("person-{n}.test")).unwrap())
        .collect();
    let people = world
        .pds()
        .add_accounts(&handles, "password of all")
        .unwrap();
    let mut sessions = Vec::new();
    for person in &people {
        sessions.push(v2.sign_in(&person.did).await);
    }
    // Each is given a little longer than the one before, until one is done.
    for mode in [Mode::Hold, FINISH] {
        let mut killed = 0;
        for millis in (1..).map(|n| n * 7) {
            let source = open(&v2.url, world.clock.now()).await.unwrap();
            let import = v2.import();
            let mut tell = |_, _| ();
            let run = import.run(source, mode, &mut tell);
            match tokio::time::timeout(Duration::from_millis(millis), run).await {
                // A statement that was sent before the kill is done after it, and takes the lead.
                Ok(Err(ImportError::Busy)) => {}
                Ok(done) => {
                    done.unwrap();
                    break;
                }
                Err(_) => killed += 1,
            }
            v2.after_a_minute().await;
            // Its connection ends with it.
            crate::world::until("nobody is connected", async || v2.connections().await == 0).await;
        }
        assert!(killed > 0, "{mode:?} was too fast to be killed");
    }
    assert_eq!(in_state(world, StateName::Active).await, people.len());
    let app = v2.app();
    for session in &sessions {
        Tokens::of(&app.refresh(&session.refresh).await);
    }
    world.pass(STALE);
    world.keeper_round().await;
    assert_eq!(in_state(world, StateName::Active).await, people.len());
    assert_eq!(world.pds().ended_sessions(), []);
}

async fn the_last_run_takes_what_has_changed_since(world: &World) {
    let v2 = V2::begin(world).await;
    let mut alice = v2.sign_in(&world.alice().did).await;
    let bob = v2.sign_in(&world.bob().did).await;
    v2.run_import(Mode::Hold).await;

    // v2 refreshes alice's session: the tokens before are worthless at the PDS. The app has new ones,
    // and bob has signed out.
    world.pds().end_sessions(&alice.did);
    let old = alice.clone();
    alice.refresh = aip_base::random_token::<32>(&aip_base::SystemRng);
    world.secrets.learn("v2's refresh token", &alice.refresh);
    v2.put("atp_oauth_sessions", &v2.session_row(&alice, 2))
        .await;
    v2.run("DELETE FROM refresh_tokens").await;
    v2.put("refresh_tokens", &v2.refresh_row(&alice)).await;
    v2.run(&format!(
        "DELETE FROM access_tokens WHERE user_id = '{}'",
        bob.did
    ))
    .await;
    // A refresh that failed leaves a row without tokens, which does not prove that the session is dead.
    let mut failed = v2.session_row(&alice, 3);
    failed["access_token"] = json!(null);
    failed["refresh_token"] = json!(null);
    failed["metadata"] = json!({ "exchange_error": "timeout" });
    v2.put("atp_oauth_sessions", &failed).await;

    let done = v2.finish().await;
    assert_eq!(
        (done.sessions_taken, done.dropped, done.released),
        (1, 1, 1)
    );
    let reasons: Vec<Reason> = done.left_out.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, [Reason::NoAppToken]);
    let app = v2.app();
    app.refresh(&old.refresh).await.expect(400, "invalid_grant");
    app.refresh(&bob.refresh).await.expect(400, "invalid_grant");
    assert_eq!(in_state(world, StateName::Uncertain).await, 1);
    let tokens = Tokens::of(&app.refresh(&alice.refresh).await);
    world.pass(STALE);
    let called = app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(called["did"], alice.did.as_str());
    assert_eq!(in_state(world, StateName::Active).await, 1);
}

async fn tokens_of_v2_are_rotated_into_our_own(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    let bob = v2.sign_in(&world.bob().did).await;
    v2.finish().await;
    let app = v2.app();
    // Whoever asks what they are is told, and a repeat within the grace gets the same successor.
    for token in [&alice.access, &alice.refresh] {
        let told = app.introspect(token).await.ok();
        assert_eq!(told["active"], true);
        assert_eq!(told["sub"], alice.did.as_str());
    }
    let first = Tokens::of(&app.refresh(&alice.refresh).await);
    assert!(first.refresh.starts_with("aip_rt_"), "a token of ours");
    let again = Tokens::of(&app.refresh(&alice.refresh).await);
    assert_eq!(again.refresh, first.refresh);
    assert_eq!(app.introspect(&alice.refresh).await.ok()["active"], false);
    // A replay after the grace ends the family, as of any token.
    world.pass(Duration::from_secs(31));
    app.refresh(&alice.refresh)
        .await
        .expect(400, "invalid_grant");
    app.refresh(&first.refresh)
        .await
        .expect(400, "invalid_grant");
    // Given back, a refresh token takes its session with it.
    assert_eq!(app.revoke(&bob.refresh).await.status, StatusCode::OK);
    app.refresh(&bob.refresh).await.expect(400, "invalid_grant");
    let gone = app.userinfo(&bob.access).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    assert_eq!(in_state(world, StateName::Ended).await, 2);
    // A token that nobody knows is as any other.
    let unknown = aip_base::random_token::<32>(&aip_base::SystemRng);
    app.refresh(&unknown).await.expect(400, "invalid_grant");
    assert_eq!(app.introspect(&unknown).await.ok()["active"], false);
}

async fn an_app_password_is_taken_over(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);
    let now = v2.at(Duration::ZERO);
    let row = json!({
        "client_id": CLIENT, "did": alice.did.as_str(), "app_password": password,
        "created_at": now, "updated_at": now,
    });
    v2.put("app_passwords", &row).await;
    let report = v2.finish().await;
    assert_eq!((report.app_passwords_taken, report.released), (1, 2));
    let keeper = world.aip().app.keeper.clone();
    let kind = SessionKind::AppPassword;
    let client = CLIENT.parse().unwrap();
    let session = keeper.session_for(&client, &alice.did, kind).await;
    let session = session.unwrap().expect("it is there");
    let active = keeper.active_session(session.id).await.unwrap();
    assert_eq!(active.did, alice.did);
}

async fn the_operator_says_which_app_gets_tokens_of_pdss_on(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    let report = v2.run_import(Mode::Hold).await;
    let without: Vec<String> = report
        .clients_without_credentials
        .iter()
        .map(|(id, scope)| format!("{id} {scope}"))
        .collect();
    assert_eq!(without, [format!("{CLIENT} {SCOPE}")]);
    let server = world.aip().app.server.clone();
    let id = CLIENT.parse().unwrap();
    let client = server.storage.client(&id).await.unwrap().unwrap();
    let mut settings = client.settings;
    settings.scope = format!("{SCOPE} aip:credentials").parse().unwrap();
    server.update_client(&id, settings).await.unwrap();

    // What was held is held anew, and the operator's word stays although v2 has the client without it.
    let done = v2.finish().await;
    assert_eq!((done.sessions_taken, done.clients_unchanged), (1, 1));
    assert_eq!(done.clients_without_credentials, []);
    let app = v2.app();
    let told = app.introspect(&alice.access).await.ok();
    assert!(told["scope"].as_str().unwrap().contains("aip:credentials"));
}

async fn what_is_finished_is_not_imported_again(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    v2.finish().await;
    let app = v2.app();
    let tokens = Tokens::of(&app.refresh(&alice.refresh).await);
    // Within a day what could not be taken is taken; what is AIP's own stays.
    let bob = v2.sign_in(&world.bob().did).await;
    let again = v2.finish().await;
    assert_eq!((again.released_before, again.released), (1, 1));
    Tokens::of(&app.refresh(&bob.refresh).await);
    Tokens::of(&app.refresh(&tokens.refresh).await);
    world
        .texts("UPDATE imports SET released_at = 0 RETURNING name")
        .await;
    for mode in [Mode::DryRun, Mode::Hold, FINISH] {
        let refused = v2.try_run(mode).await.unwrap_err();
        assert!(matches!(refused, ImportError::Finished(_)), "{refused}");
    }
    // But a release that was killed is completed, from what is held alone.
    let carol = v2.sign_in(&world.alice().did).await;
    world.texts("DELETE FROM imports RETURNING name").await;
    v2.run_import(Mode::Hold).await;
    world
        .texts("INSERT INTO imports VALUES ('aip-v2', 0) RETURNING name")
        .await;
    v2.run("DELETE FROM atp_oauth_sessions").await;
    assert_eq!(v2.finish().await.released, 1);
    Tokens::of(&app.refresh(&carol.refresh).await);
}

#[tokio::test]
async fn a_database_of_another_version_is_refused_with_what_was_found() {
    let now = aip_testkit::clock::ManualClock::new().now();
    for (changes, words) in [
        (
            "DELETE FROM _sqlx_migrations WHERE version > 11",
            "migrations 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and v2.2.2 has 1 to 13",
        ),
        (
            "INSERT INTO _sqlx_migrations SELECT 14, description, installed_on, success, checksum, 1
             FROM _sqlx_migrations WHERE version = 13",
            "13, 14, and v2.2.2",
        ),
        ("DELETE FROM _sqlx_migrations", "has the migrations none"),
        (
            "UPDATE _sqlx_migrations SET success = false WHERE version = 12",
            "half migrated: migration 12",
        ),
        (
            "ALTER TABLE access_tokens DROP COLUMN dpop_jkt; DROP TABLE did_documents",
            "access_tokens.dpop_jkt, did_documents.did, did_documents.document",
        ),
        ("DROP TABLE _sqlx_migrations", "not a database of AIP v2"),
    ] {
        let url = v2_database(&[changes]).await;
        let refused = open(&url, now).await.err().expect(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let malformed = open("postgres://[", now).await;
    assert!(matches!(malformed, Err(SourceError::Url)));
    let away = "postgres://aip:open-sesame@127.0.0.1:1/aip";
    let refused = open(away, now)
        .await
        .err()
        .expect("nobody there")
        .to_string();
    assert!(!refused.contains("open-sesame"), "{refused}");
}

#[test]
fn the_key_of_v2_has_the_id_that_v2_published() {
    // Of the recorded database.
    let key = SigningKey::from_private_did_key(
        "did:key:z42ttb6eHovCKHsNMnDnhsZ8uep5tu2kyhPJdXCxojgn8QHX",
        None,
    );
    let key = key.unwrap();
    assert_eq!(
        key.kid(),
        Some("did:key:zDnaeyDaygqu4Hm3armenkYD7jpHzx3geUBswo2eDJ2w8JJ2Y")
    );
    assert_eq!(
        key.public().thumbprint().as_str(),
        "aZ3VHNH7CNb9-hT77tuPJvk-Iu746XLtk_ezF3k1PgU"
    );
}
