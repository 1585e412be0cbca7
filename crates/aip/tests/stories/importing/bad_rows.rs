//! Rows that make no sense are named, each with its reason, and the rest is taken.

use std::sync::Arc;
use std::time::Duration;

use aip_base::RequestNotes;
use aip_import_v2::{Mode, Reason};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::v2::{CLIENT, Session, V2};
use crate::app::Tokens;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_row_that_makes_no_sense_is_named_and_the_rest_is_taken,
    apps_with_more_scopes_than_one_may_have_are_named_and_each_costs_the_same,
    of_many_tokens_of_a_session_the_newest_are_taken_and_the_others_are_named,
);

/// Changes a row of `atp_oauth_sessions`, `access_tokens` and `refresh_tokens` each.
type RowChange = fn(&mut Value, &mut Value, &mut Value);

const SESSIONS: &[(Reason, &str, RowChange)] = &[
    (
        Reason::NoUpstreamTokens,
        "no row of it has an access token",
        |session, _, _| session["access_token"] = json!(null),
    ),
    (Reason::NoAppToken, "no app has", |_, access, refresh| {
        access["revoked"] = json!(true);
        refresh["revoked"] = json!(true);
    }),
    (Reason::BadDid, "`alice` is not a DID", |session, _, _| {
        session["did"] = json!("alice");
    }),
    (Reason::MixedTokens, "several", |_, access, _| {
        access["user_id"] = json!("did:plc:somebodyelse");
    }),
    (Reason::MixedTokens, "its tokens are of", |session, _, _| {
        session["did"] = json!("did:web:another.example");
    }),
    (Reason::BadDpopKey, "did:key", |session, _, _| {
        session["dpop_key"] = json!("did:key:zDnaeyDaygqu4Hm3armenkYD7jpHzx3geUBswo2eDJ2w8JJ2Y");
    }),
    (
        Reason::BadDpopKey,
        "bound to another key",
        |session, _, _| {
            let claims = URL_SAFE_NO_PAD.encode(r#"{"cnf":{"jkt":"of-another-key"}}"#);
            session["access_token"] = json!(format!("e30.{claims}.c2ln"));
        },
    ),
    (
        Reason::UnknownSigningKey,
        "thumbprint other-key",
        |session, _, _| {
            session["signing_key_jkt"] = json!("other-key");
        },
    ),
    (Reason::BadScope, "access_token_scopes", |session, _, _| {
        session["access_token_scopes"] = json!({ "not": "a list" });
    }),
    (Reason::BadScope, "the scope of a token", |_, _, refresh| {
        refresh["scope"] = json!("atproto \"quoted\"");
    }),
    (Reason::UnknownClient, "`gone`", |_, access, refresh| {
        access["client_id"] = json!("gone");
        refresh["client_id"] = json!("gone");
    }),
    (
        Reason::OtherUpstreamClient,
        "https://old.example/c",
        |session, _, _| {
            let claims = URL_SAFE_NO_PAD.encode(r#"{"client_id":"https://old.example/c"}"#);
            session["access_token"] = json!(format!("e30.{claims}.c2ln"));
        },
    ),
    (Reason::BadToken, "32 bytes", |_, access, refresh| {
        access["revoked"] = json!(true);
        refresh["token"] = json!("short");
    }),
];

/// Makes a row one that makes no sense.
type Change = fn(&mut Value);

/// Likewise of `oauth_clients`.
const CLIENTS: &[(&str, Change)] = &[
    ("255 visible ASCII", |it| {
        it["client_id"] = json!("a client");
    }),
    ("is not supported", |it| {
        it["token_endpoint_auth_method"] = json!("client_secret_jwt");
    }),
    ("there is no client_secret", |it| {
        it["client_secret"] = json!(null);
    }),
    ("there is no client_secret", |it| {
        it["client_secret"] = json!("");
    }),
    ("redirect URI", |it| {
        it["redirect_uris"] = json!(["/callback"]);
    }),
    ("not an array of strings", |it| {
        it["redirect_uris"] = json!({ "a": 1 });
    }),
    ("`password`", |it| it["grant_types"] = json!(["password"])),
    ("scope", |it| it["scope"] = json!("atproto \\")),
    ("access_token_expiration is -1", |it| {
        it["access_token_expiration"] = json!(-1);
    }),
    ("lives for", |it| it["access_token_expiration"] = json!(0)),
    ("neither web nor native", |it| {
        it["application_type"] = json!("tv");
    }),
];

async fn apps_with_more_scopes_than_one_may_have_are_named_and_each_costs_the_same(world: &World) {
    const APPS: u64 = 150;
    const JUNK: usize = 3;
    let v2 = V2::begin(world).await;
    let good = v2.sign_in(&world.alice().did).await;
    for number in 0..JUNK {
        let mut client = v2.client(&format!("junk-{number}"));
        let scopes =
            (0..120).map(|n| format!("repo:com.example.junk{number}.recordOfManyKinds{n}"));
        client["scope"] = json!(scopes.collect::<Vec<_>>().join(" "));
        v2.put("oauth_clients", &client).await;
    }
    let many = format!(
        "INSERT INTO oauth_clients SELECT made.* FROM generate_series(1, {APPS}) n,
             jsonb_populate_record(NULL::oauth_clients,
                 '{}'::jsonb || jsonb_build_object('client_id', 'app-' || n)) made",
        v2.client("app")
    );
    v2.run(&many).await;
    let notes = Arc::<RequestNotes>::default();
    let report = Arc::clone(&notes).during(v2.run_import(Mode::Hold)).await;
    // What it reads of all clients, it reads once.
    let statements = notes.query_stats().statements;
    let clients = APPS + 1 + u64::try_from(JUNK).unwrap();
    assert!(statements < 3 * clients + 80, "{statements} for {clients}");
    assert_eq!(report.clients_new, APPS + 1);
    let mut named: Vec<_> = report.left_out.iter().map(|it| it.row.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["client junk-0", "client junk-1", "client junk-2"]);
    for row in &report.left_out {
        assert_eq!(row.reason, Reason::ClientRefused);
        assert!(row.detail.contains("4096 bytes of scopes"), "{row:?}");
    }
    assert_eq!(v2.finish().await.released, 1);
    Tokens::of(&v2.app().refresh(&good.refresh).await);
}

async fn of_many_tokens_of_a_session_the_newest_are_taken_and_the_others_are_named(world: &World) {
    let v2 = V2::begin(world).await;
    let good = v2.sign_in(&world.alice().did).await;
    // With the one that there is, 100 access tokens and 103 refresh tokens.
    for (table, row, more) in [
        ("access_tokens", v2.access_row(&good), 99),
        ("refresh_tokens", v2.refresh_row(&good), 102),
    ] {
        let older = format!(
            "INSERT INTO {table} SELECT made.* FROM generate_series(1, {more}) n,
                 jsonb_populate_record(NULL::{table}, '{row}'::jsonb || jsonb_build_object(
                     'token', rpad(n::text, 43, 'A'),
                     'created_at', '{now}'::timestamptz - n * interval '1 second')) made",
            now = v2.at(Duration::ZERO).as_str().unwrap()
        );
        v2.run(&older).await;
    }
    let report = v2.run_import(Mode::Hold).await;
    let named: Vec<_> = report.left_out.iter().collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(
        (named[0].table, named[0].reason),
        ("refresh_tokens", Reason::OlderTokens)
    );
    assert!(named[0].detail.starts_with("3 tokens"), "{named:?}");
    assert_eq!(
        (report.access_tokens_taken, report.refresh_tokens_taken),
        (100, 100)
    );
    assert_eq!(v2.finish().await.released, 1);
    Tokens::of(&v2.app().refresh(&good.refresh).await);
}

async fn a_row_that_makes_no_sense_is_named_and_the_rest_is_taken(world: &World) {
    let v2 = V2::begin(world).await;
    let good = v2.sign_in(&world.alice().did).await;
    for (number, (_, _, spoil)) in SESSIONS.iter().enumerate() {
        spoil_session(&v2, &good, number, *spoil).await;
    }
    for (number, (_, spoil)) in CLIENTS.iter().enumerate() {
        let mut client = v2.client(&format!("client-{number}"));
        spoil(&mut client);
        v2.put("oauth_clients", &client).await;
    }
    let own = "aip-internal-device-auth";
    v2.put("oauth_clients", &v2.client(own)).await;
    loose_rows(&v2, &good).await;

    let dry = v2.run_import(Mode::DryRun).await;
    let report = v2.finish().await;
    assert_eq!(report.left_out, dry.left_out);
    let left_out = |table: &str, row: &str| {
        let found = report.left_out.iter();
        let mut found = found.filter(|it| it.table == table && it.row.contains(row));
        let one = found.next().unwrap_or_else(|| panic!("{row}: {report:?}"));
        (one.reason, one.detail.clone())
    };
    for (number, (expected, words, _)) in SESSIONS.iter().enumerate() {
        let name = format!("session spoilt-{number:02}");
        let table = if *expected == Reason::BadToken {
            "refresh_tokens"
        } else {
            "atp_oauth_sessions"
        };
        let (reason, detail) = left_out(table, &name);
        assert_eq!(reason, *expected, "{name}: {detail}");
        assert!(detail.contains(words), "{name}: {detail}");
    }
    for (number, (words, _)) in CLIENTS.iter().enumerate() {
        let name = match number {
            0 => "client a client".to_owned(),
            _ => format!("client client-{number}"),
        };
        let (reason, detail) = left_out("oauth_clients", &name);
        assert_eq!(reason, Reason::ClientRefused);
        assert!(detail.contains(words), "{name}: {detail}");
    }
    assert_eq!(left_out("oauth_clients", own).0, Reason::OwnClient);
    let (reason, _) = left_out("access_tokens", "token of");
    assert_eq!(reason, Reason::ClientCredentials);
    assert_eq!(
        left_out("refresh_tokens", "token of 188").0,
        Reason::NoSession
    );
    let (reason, _) = left_out("app_passwords", "app password of did:");
    assert_eq!(reason, Reason::BadAppPassword);

    assert_eq!(
        (report.sessions_taken, report.released),
        (1, 1),
        "{report:?}"
    );
    assert_eq!(report.clients_new, 1);
    Tokens::of(&v2.app().refresh(&good.refresh).await);
}

async fn spoil_session(v2: &V2<'_>, good: &Session, number: usize, spoil: RowChange) {
    let token = |kind: &str| format!("{kind}{number:02}{}", "A".repeat(40));
    let session = Session {
        id: format!("spoilt-{number:02}"),
        access: token("a"),
        refresh: token("r"),
        ..good.clone()
    };
    let mut rows = (
        v2.session_row(&session, 1),
        v2.access_row(&session),
        v2.refresh_row(&session),
    );
    spoil(&mut rows.0, &mut rows.1, &mut rows.2);
    v2.put("atp_oauth_sessions", &rows.0).await;
    v2.put("access_tokens", &rows.1).await;
    v2.put("refresh_tokens", &rows.2).await;
}

/// Tokens without a session or account, and an app password that is a main password.
async fn loose_rows(v2: &V2<'_>, good: &Session) {
    let other = |kind: &str| Session {
        access: format!("{kind}{}", "B".repeat(42)),
        refresh: format!("{kind}{}", "C".repeat(42)),
        ..good.clone()
    };
    let mut own = v2.access_row(&other("o"));
    own["user_id"] = json!(null);
    own["session_id"] = json!(null);
    v2.put("access_tokens", &own).await;
    let mut lost = v2.refresh_row(&other("l"));
    lost["session_id"] = json!("not-there");
    v2.put("refresh_tokens", &lost).await;
    let now = v2.at(Duration::ZERO);
    let row = json!({
        "client_id": CLIENT, "did": good.did.as_str(), "app_password": "open sesame, please",
        "created_at": now, "updated_at": now,
    });
    v2.world
        .secrets
        .learn("an app password", "open sesame, please");
    v2.put("app_passwords", &row).await;
}
