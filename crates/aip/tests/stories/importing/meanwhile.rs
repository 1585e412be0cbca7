//! What happens while an import is under way: v2 writes, is started again or seen by few, people sign
//! out, and operators change apps at AIP.

use std::time::Duration;

use aip_base::{Clock as _, SystemRng, random_token};
use aip_import_v2::{ImportError, Mode, Reason};
use aip_storage::client::ClientSettings;
use aip_storage::upstream::StateName;
use serde_json::json;
use sqlx::Connection as _;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::in_state;
use super::v2::{CLIENT, FINISH, SCOPE, V2, connect, open};
use crate::app::Tokens;
use crate::app_passwords::make_password;
use crate::on_both_engines;
use crate::world::{World, until};

on_both_engines!(
    what_v2_wrote_before_it_stopped_is_taken,
    who_sees_little_of_v2_sees_that_it_runs,
    v2_that_is_started_during_the_last_run_keeps_its_sessions,
    an_app_password_of_whoever_has_left_since_is_not_taken,
    what_only_aip_knows_of_an_app_stays,
    an_app_whose_change_is_refused_keeps_its_sessions,
    no_word_of_v2_gives_an_app_the_tokens_of_pdss,
);

/// Although connections of this story that were closed a moment ago may still be there.
const FINISH_ANYWAY: Mode = Mode::Finish {
    other_connections: 20,
};

/// Changes the app at v2, a second after whatever AIP has of it.
async fn change_at_v2(v2: &V2<'_>, change: &str) {
    v2.world.pass(Duration::from_secs(1));
    let now = v2.at(Duration::ZERO);
    let now = now.as_str().unwrap();
    v2.run(&format!(
        "UPDATE oauth_clients SET {change}, updated_at = '{now}'"
    ))
    .await;
}

/// What AIP has the app registered with.
async fn registered(world: &World) -> ClientSettings {
    let storage = world.aip().app.server.storage.clone();
    let client = storage.client(&CLIENT.parse().unwrap()).await;
    client.unwrap().unwrap().settings
}

async fn what_v2_wrote_before_it_stopped_is_taken(world: &World) {
    let v2 = V2::begin(world).await;
    let mut alice = v2.sign_in(&world.alice().did).await;
    let old = alice.refresh.clone();
    // The run has begun, and v2 still answers one app.
    let source = open(&v2.url, world.clock.now()).await.unwrap();
    alice.refresh = random_token::<32>(&SystemRng);
    world.secrets.learn("v2's refresh token", &alice.refresh);
    v2.run("DELETE FROM refresh_tokens").await;
    v2.put("refresh_tokens", &v2.refresh_row(&alice)).await;
    let import = v2.import();
    let done = import.run(source, FINISH_ANYWAY, &mut |_, _| ()).await;
    assert_eq!(done.unwrap().released, 1);
    let app = v2.app();
    app.refresh(&old).await.expect(400, "invalid_grant");
    Tokens::of(&app.refresh(&alice.refresh).await);
}

async fn who_sees_little_of_v2_sees_that_it_runs(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    let database = v2.url.split(['/', '?']).nth(3).unwrap();
    let role = format!("reader_of_{database}");
    v2.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    ))
    .await;
    let reader = v2.url.replacen("//aip@", &format!("//{role}@"), 1);
    assert_ne!(reader, v2.url);
    let running = connect(&v2.url).await;
    let source = open(&reader, world.clock.now()).await.unwrap();
    let import = v2.import();
    let refused = import.run(source, FINISH, &mut |_, _| ()).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, ImportError::StillInUse { number, .. } if number >= 1),
        "{refused}"
    );
    running.close().await.unwrap();
    assert_eq!(v2.run_import(FINISH_ANYWAY).await.released, 1);
    Tokens::of(&v2.app().refresh(&alice.refresh).await);
}

async fn v2_that_is_started_during_the_last_run_keeps_its_sessions(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    until("nobody is connected", async || v2.connections().await == 0).await;
    let mut running = Vec::new();
    let mut tell = |_, _| {
        for _ in 0..2 {
            let connected = block_in_place(|| Handle::current().block_on(connect(&v2.url)));
            running.push(connected);
        }
    };
    // That of the question who is connected may still be there.
    let mode = Mode::Finish {
        other_connections: 1,
    };
    let source = open(&v2.url, world.clock.now()).await.unwrap();
    let import = v2.import();
    let refused = import.run(source, mode, &mut tell).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, ImportError::StillInUse { .. }),
        "{refused}"
    );
    assert_eq!(running.len(), 2);
    assert_eq!(in_state(world, StateName::Active).await, 0);
    let app = v2.app();
    app.refresh(&alice.refresh)
        .await
        .expect(400, "invalid_grant");
    for connection in running {
        connection.close().await.unwrap();
    }
    assert_eq!(v2.run_import(FINISH_ANYWAY).await.released, 1);
    Tokens::of(&app.refresh(&alice.refresh).await);
}

async fn an_app_password_of_whoever_has_left_since_is_not_taken(world: &World) {
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
    assert_eq!(v2.run_import(Mode::Hold).await.held, 2);
    v2.run("UPDATE access_tokens SET revoked = true").await;
    v2.run("UPDATE refresh_tokens SET revoked = true").await;
    let done = v2.run_import(FINISH_ANYWAY).await;
    assert_eq!((done.dropped, done.released), (2, 0));
    let reasons: Vec<Reason> = done.left_out.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, [Reason::NoAppToken, Reason::NoAppToken]);
}

async fn what_only_aip_knows_of_an_app_stays(world: &World) {
    let v2 = V2::begin(world).await;
    v2.run_import(Mode::Hold).await;
    let settings = ClientSettings {
        require_par: true,
        require_pkce: true,
        claims_in_id_token: true,
        ..registered(world).await
    };
    let server = world.aip().app.server.clone();
    let id = CLIENT.parse().unwrap();
    server.update_client(&id, settings).await.unwrap();
    change_at_v2(&v2, "client_name = 'a new name'").await;
    let done = v2.run_import(FINISH_ANYWAY).await;
    assert_eq!((done.clients_changed, done.clients_unchanged), (1, 0));
    let settings = registered(world).await;
    assert_eq!(settings.name, "a new name");
    assert!(settings.require_par && settings.require_pkce && settings.claims_in_id_token);
}

async fn an_app_whose_change_is_refused_keeps_its_sessions(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    v2.run_import(Mode::Hold).await;
    let bob = v2.sign_in(&world.bob().did).await;
    change_at_v2(
        &v2,
        "client_name = 'a new name', access_token_expiration = 0",
    )
    .await;
    let done = v2.run_import(FINISH_ANYWAY).await;
    let reasons: Vec<Reason> = done.left_out.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, [Reason::ClientRefused]);
    assert_eq!(done.released, 2);
    assert_eq!(registered(world).await.name, "lab app");
    let app = v2.app();
    for session in [&alice, &bob] {
        Tokens::of(&app.refresh(&session.refresh).await);
    }
}

async fn no_word_of_v2_gives_an_app_the_tokens_of_pdss(world: &World) {
    let v2 = V2::begin(world).await;
    let alice = v2.sign_in(&world.alice().did).await;
    let wanted = format!("{SCOPE} aip:credentials");
    for table in ["oauth_clients", "access_tokens", "refresh_tokens"] {
        v2.run(&format!("UPDATE {table} SET scope = '{wanted}'"))
            .await;
    }
    let done = v2.run_import(FINISH_ANYWAY).await;
    assert_eq!(done.clients_without_credentials.len(), 1);
    assert_eq!(done.notes.len(), 1, "{:?}", done.notes);
    assert_eq!(registered(world).await.scope.to_string(), SCOPE);
    let app = v2.app();
    let mut access = alice.access;
    for _ in 0..2 {
        let told = app.introspect(&access).await.ok();
        assert_eq!(told["active"], true);
        assert!(!told["scope"].as_str().unwrap().contains("aip:credentials"));
        access = Tokens::of(&app.refresh(&alice.refresh).await).access;
    }
}
