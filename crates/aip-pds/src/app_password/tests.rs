//! Stories of app passwords against a PDS with a script.

use aip_base::Clock as _;
use serde_json::{Value, json};

use super::*;
use crate::testing::{ALICE, PDS, World, answer, did_document, json as serves};

const CREATE: &str = "https://pds.org/xrpc/com.atproto.server.createSession";
const REFRESH_TIMEOUT: &str = "https://pds.org/xrpc/com.atproto.server.refreshSession";
const DELETE: &str = "https://pds.org/xrpc/com.atproto.server.deleteSession";

fn jwt(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.sig", part(&json!({ "alg": "HS256" })), part(claims))
}

fn session(access: &str) -> Value {
    json!({ "accessJwt": access, "refreshJwt": "refresh", "did": ALICE, "handle": "a.org" })
}

async fn begin(world: &World, proven: &ProvenPds) -> Result<TokenSet, PasswordSessionError> {
    let password = password();
    world
        .client
        .create_password_session(proven, &password)
        .await
}

async fn proven(world: &World) -> ProvenPds {
    let url = format!("https://plc.org/{ALICE}");
    world
        .network
        .now(&url, serves(&did_document(ALICE, "a.org", PDS)));
    let did = ALICE.parse().unwrap();
    world.client.prove_pds(&did).await.unwrap()
}

fn password() -> AppPassword {
    AppPassword::parse("abcd-ef2h-ijkl-mn7p").unwrap()
}

#[test]
fn only_what_looks_like_an_app_password_is_one() {
    for good in ["abcd-efgh-ijkl-mnop", " 2bcd-3fgh-4jkl-5nop\n"] {
        assert!(AppPassword::parse(good).is_ok(), "{good:?}");
    }
    for bad in [
        "",
        "hunter2",
        "abcd-efgh-ijkl",
        "abcd-efgh-ijkl-mnop-qrst",
        "abcd-efgh-ijkl-mno",
        "abcd-efgh-ijkl-mn p",
        "abcd_efgh_ijkl_mnop",
        "äbcd-efgh-ijkl-mnop",
    ] {
        assert_eq!(
            AppPassword::parse(bad).err(),
            Some(NotAnAppPassword),
            "{bad:?}"
        );
    }
    let shown = format!("{:?}", password());
    assert!(!shown.contains("abcd"), "{shown}");
}

#[tokio::test]
async fn a_session_is_begun_refreshed_and_ended_at_the_pds_of_the_account() {
    let world = World::new();
    let proven = proven(&world).await;
    let ends = world.clock.now() + Duration::from_hours(2);
    let access = jwt(&json!({ "exp": ends.as_secs(), "scope": "com.atproto.appPassPrivileged" }));
    world.network.on(CREATE, serves(&session(&access)));
    world
        .network
        .on(REFRESH_TIMEOUT, serves(&session("opaque")));
    world.network.on(DELETE, || answer(200, "", &[]));

    let begun = begin(&world, &proven).await.unwrap();
    assert_eq!(begun.expires_at.as_secs(), ends.as_secs());
    assert_eq!(
        begun.scope.to_string(),
        "atproto transition:generic transition:chat.bsky"
    );
    let sent: Value = serde_json::from_slice(world.network.to(CREATE)[0].body()).unwrap();
    assert_eq!(sent["identifier"], ALICE);

    let refresh = begun.refresh.unwrap();
    let renewed = world.client.refresh_password_session(&proven, &refresh);
    let renewed = renewed.await.unwrap();
    // A token that says nothing is believed for a short while.
    assert_eq!(renewed.expires_at, world.clock.now() + LIFETIME);
    assert_eq!(renewed.scope.to_string(), "atproto transition:generic");
    let request = &world.network.to(REFRESH_TIMEOUT)[0];
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer refresh");
    assert!(request.body().is_empty());

    let ended = world.client.delete_password_session(proven.pds(), &refresh);
    ended.await.unwrap();
    assert_eq!(
        world.network.to(DELETE)[0].headers()[AUTHORIZATION],
        "Bearer refresh"
    );
}

#[tokio::test]
async fn the_life_of_a_token_counts_from_when_it_was_asked_for_whatever_the_clocks_say() {
    let world = World::new();
    let proven = proven(&world).await;
    let asked_at = world.clock.now();
    let hour = Duration::from_hours(1);
    for (iat, exp, ends) in [
        // Alike; the PDS's clock is ahead; it is behind.
        (asked_at, asked_at + hour, asked_at + hour),
        (asked_at + hour, asked_at + 2 * hour, asked_at + hour),
        (
            asked_at - hour / 2,
            asked_at + hour / 2,
            asked_at + hour / 2,
        ),
        // Over before it begins.
        (asked_at, asked_at, asked_at),
    ] {
        let access = jwt(&json!({ "iat": iat.as_secs(), "exp": exp.as_secs() }));
        world.network.now(CREATE, serves(&session(&access)));
        let begun = begin(&world, &proven).await.unwrap();
        assert_eq!(begun.expires_at, ends, "{iat} {exp}");
    }
}

#[tokio::test]
async fn the_tokens_of_a_main_password_are_given_back() {
    let world = World::new();
    let proven = proven(&world).await;
    let access = jwt(&json!({ "exp": 2_000_000_000, "scope": "com.atproto.access" }));
    world.network.on(CREATE, serves(&session(&access)));
    world.network.on(DELETE, || answer(200, "", &[]));
    let begun = begin(&world, &proven).await;
    assert!(matches!(begun, Err(PasswordSessionError::MainPassword)));
    assert_eq!(world.network.to(DELETE).len(), 1);
}

#[tokio::test]
async fn the_tokens_of_another_account_are_given_back() {
    let world = World::new();
    let proven = proven(&world).await;
    let mut other = session("opaque");
    other["did"] = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb".into();
    world.network.on(CREATE, serves(&other));
    world.network.on(DELETE, || answer(200, "", &[]));
    let begun = begin(&world, &proven).await;
    assert!(matches!(begun, Err(PasswordSessionError::OtherAccount)));
    assert_eq!(world.network.to(DELETE).len(), 1);
}

#[tokio::test]
async fn a_pds_that_repeats_the_password_is_not_quoted() {
    let world = World::new();
    let proven = proven(&world).await;
    let cut = format!("{}abcd-ef2h-ijkl-mn7p", "x".repeat(MAX_MESSAGE - 10));
    for (error, message) in [
        ("InvalidRequest", "no account has abcd-ef2h-ijkl-mn7p"),
        ("InvalidRequest", "ABCD-EF2H-IJKL-MN7P is wrong"),
        ("InvalidRequest", "not abcdef2hijklmn7p"),
        ("InvalidRequest", cut.as_str()),
        ("abcd-ef2h-ijkl-mn7p", "is wrong"),
    ] {
        let words = json!({ "error": error, "message": message }).to_string();
        world.network.now(CREATE, move || answer(401, &words, &[]));
        let told = begin(&world, &proven).await.unwrap_err();
        assert!(told.is_final(), "{message}");
        let told = format!("{told} {told:?}").to_ascii_lowercase();
        for group in ["abcd", "ef2h", "ijkl", "mn7p"] {
            assert!(!told.contains(group), "{told}");
        }
    }
    let other = r#"{"error":"AuthenticationRequired","message":"Invalid password"}"#;
    world.network.now(CREATE, || answer(401, other, &[]));
    let told = begin(&world, &proven).await.unwrap_err().to_string();
    assert!(told.contains("Invalid password"), "{told}");
}

#[tokio::test]
async fn a_refusal_is_distinguished_from_trouble_that_passes() {
    let world = World::new();
    let proven = proven(&world).await;
    let wrong = r#"{"error":"AuthenticationRequired","message":"Invalid password"}"#;
    world
        .network
        .on(CREATE, || answer(401, wrong, &[]))
        .on(CREATE, || {
            answer(
                429,
                "{\"error\":\"RateLimitExceeded\"}",
                &[("retry-after", "7")],
            )
        })
        .on(CREATE, || answer(502, "<h1>Bad gateway</h1>", &[]))
        .on(CREATE, || answer(200, "{}", &[]))
        .on(CREATE, || Err(HttpError::Connect("refused".to_owned())));
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(begin(&world, &proven).await.unwrap_err());
    }
    assert!(
        matches!(&told[0], PasswordSessionError::Refused { error, .. } if error == "AuthenticationRequired")
    );
    let later = Some(Duration::from_secs(7));
    assert!(
        matches!(&told[1], PasswordSessionError::Status { retry_after, .. } if *retry_after == later)
    );
    assert!(matches!(&told[2], PasswordSessionError::Status { .. }));
    assert!(matches!(&told[3], PasswordSessionError::Lacks("accessJwt")));
    assert!(matches!(&told[4], PasswordSessionError::NotSent(_)));
    let finals: Vec<bool> = told.iter().map(PasswordSessionError::is_final).collect();
    assert_eq!(finals, [true, false, false, false, false]);
}
