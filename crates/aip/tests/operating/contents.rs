//! What stands in a database, written behind the program's back with the program's own keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock as _, RowId, SystemClock, SystemRng, Timestamp};
use aip_jose::{Alg, SigningKey};
use aip_keys::{MasterKeys, Sealed};
use aip_pds::ClientIdentity;
use aip_sandbox::{Mint, Sandbox};
use aip_storage::Storage;
use aip_storage::client::ClientId;
use aip_storage::developer_token::{DeveloperTokenOrigin, MakeDeveloperToken, NewDeveloperToken};
use aip_storage::grant::Grant;
use aip_storage::operations::SealedColumn;
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::{
    Credential, OAuthCredential, SealedTokens, UpstreamSession, UpstreamState,
};
use aip_storage_sql::{Database, PgOptions};
use secrecy::ExposeSecret as _;

/// What is sealed in every session that no PDS knows.
pub(crate) const SECRET: &str = "the token that nobody may see";

const DAY: Duration = Duration::from_hours(24);

/// The SQLite database of a folder in which `aip` ran.
pub(crate) async fn storage(folder: &Path) -> Arc<dyn Storage> {
    let url = format!("sqlite://{}", folder.join("aip-data/aip.db").display());
    let database = Database::connect(&url.parse().unwrap(), PgOptions::default())
        .await
        .unwrap();
    database.storage().await.unwrap()
}

/// The master keys of that folder.
pub(crate) fn master_keys(folder: &Path) -> MasterKeys {
    let json = std::fs::read_to_string(folder.join("aip-data/master-keys.json")).unwrap();
    MasterKeys::from_json(&json).unwrap()
}

/// Stores a session that is bound to the client key `kid`, and that no PDS knows.
pub(crate) async fn session(folder: &Path, kid: &str) -> RowId {
    let secrets = Secrets {
        dpop_key: SECRET,
        access: SECRET,
        refresh: SECRET,
    };
    let mut session = new_session(folder, &secrets);
    if let Credential::OAuth(oauth) = &mut session.credential {
        oauth.client_key_id = Some(kid.to_owned());
    }
    store(folder, &session).await
}

/// Stores a session of alice that the PDS of the sandbox knows, and that is due at `due`.
pub(crate) async fn session_at(folder: &Path, sandbox: &Sandbox, due: Timestamp) -> RowId {
    let alice = &sandbox.accounts.alice.did;
    let scope = "atproto".parse().unwrap();
    let client = ClientIdentity::loopback("http://127.0.0.1:8080/oauth/atp/callback", &scope);
    let key = SigningKey::generate(Alg::Es256, None).unwrap();
    let minted = sandbox.pds.mint_session(&Mint {
        did: alice,
        client_id: client.client_id(),
        client_key: None,
        scope: "atproto",
        dpop_key: &key.public().thumbprint(),
    });
    let key = key.to_private_jwk_json().unwrap();
    let secrets = Secrets {
        dpop_key: key.expose_secret(),
        access: &minted.access_token,
        refresh: &minted.refresh_token,
    };
    let mut session = new_session(folder, &secrets);
    session.did = alice.clone();
    session.pds = sandbox.pds.origin().parse().unwrap();
    session.next_refresh_at = due;
    if let Credential::OAuth(oauth) = &mut session.credential {
        oauth.issuer = sandbox.pds.issuer().parse().unwrap();
        client.client_id().clone_into(&mut oauth.upstream_client_id);
    }
    store(folder, &session).await
}

/// Makes the developer token that was ordered by the link with that secret, as its person does.
pub(crate) async fn make_ordered_token(folder: &Path, link: &str) {
    let storage = storage(folder).await;
    let hash = master_keys(folder).token_hasher().hash(link);
    let now = SystemClock.now();
    let order = storage.developer_token_order(&hash, now).await.unwrap();
    let order = order.unwrap();
    let secrets = Secrets {
        dpop_key: SECRET,
        access: SECRET,
        refresh: SECRET,
    };
    let mut session = new_session(folder, &secrets);
    let client = ClientId::of_developer_tokens();
    (session.client_id, session.did) = (client.clone(), order.account.clone());
    let token = NewDeveloperToken {
        grant: Grant {
            id: RowId::new(&SystemClock, &SystemRng),
            client_id: client,
            subject: order.account.clone(),
            sector: None,
            actor: order.account.clone(),
            scope: order.scope.clone(),
            asked: order.scope.clone(),
            upstream_session: session.id,
            dpop_jkt: None,
            auth_time: None,
            claims: RequestedClaims::default(),
            resources: ResourceList::default(),
            created_at: now,
            revoked: None,
        },
        name: order.name.clone(),
        expires_at: now + order.life,
        origin: DeveloperTokenOrigin::Order(order.id),
    };
    let made = storage.make_developer_token(&token, &session, &[]).await;
    assert_eq!(made.unwrap(), MakeDeveloperToken::Made);
}

/// Refuses it, as its person does.
pub(crate) async fn refuse_ordered_token(folder: &Path, link: &str) {
    let storage = storage(folder).await;
    let hash = master_keys(folder).token_hasher().hash(link);
    let order = storage.developer_token_order(&hash, SystemClock.now());
    let id = order.await.unwrap().unwrap().id;
    assert!(storage.drop_developer_token_order(id).await.unwrap());
}

/// What a session seals.
struct Secrets<'a> {
    dpop_key: &'a str,
    access: &'a str,
    refresh: &'a str,
}

fn new_session(folder: &Path, secrets: &Secrets<'_>) -> UpstreamSession {
    let sealer = master_keys(folder).sealer();
    let id = RowId::new(&SystemClock, &SystemRng);
    let row = id.to_string();
    let seal = |column: SealedColumn, text: &str| -> Sealed {
        let place = column.place(&row);
        sealer.seal(&SystemRng, text.as_bytes(), place).unwrap()
    };
    let now = SystemClock.now();
    UpstreamSession {
        id,
        client_id: "photo-book".parse().unwrap(),
        did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
        pds: "https://pds.invalid".parse().unwrap(),
        credential: Credential::OAuth(OAuthCredential {
            issuer: "https://pds.invalid".parse().unwrap(),
            upstream_client_id: "https://id.example.org/oauth-client-metadata.json".to_owned(),
            client_key_id: None,
            dpop_key: seal(SealedColumn::DpopKey, secrets.dpop_key),
        }),
        scope: "atproto".parse().unwrap(),
        email: None,
        tokens: SealedTokens {
            access: seal(SealedColumn::AccessToken, secrets.access),
            refresh: Some(seal(SealedColumn::RefreshToken, secrets.refresh)),
            access_expires_at: now + DAY,
        },
        generation: 1,
        state: UpstreamState::Active,
        next_refresh_at: now + DAY,
        failures: 0,
        rejected: None,
        last_error: None,
        refreshed_at: now,
        created_at: now,
    }
}

async fn store(folder: &Path, session: &UpstreamSession) -> RowId {
    let storage = storage(folder).await;
    storage.create_upstream_session(session).await.unwrap();
    session.id
}
