//! What stands in a database, written behind the program's back with the program's own keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock as _, RowId, SystemClock, SystemRng};
use aip_keys::{MasterKeys, Sealed};
use aip_storage::Storage;
use aip_storage::operations::SealedColumn;
use aip_storage::upstream::{
    Credential, OAuthCredential, SealedTokens, UpstreamSession, UpstreamState,
};
use aip_storage_sql::{Database, PgOptions};

/// What is sealed in every session.
pub(crate) const SECRET: &str = "the token that nobody may see";

/// The SQLite database of a folder in which `aip` ran.
pub(crate) async fn storage(folder: &Path) -> Arc<dyn Storage> {
    let url = format!("sqlite://{}", folder.join("aip-data/aip.db").display());
    let database = Database::connect(&url, PgOptions::default()).await.unwrap();
    database.storage().await.unwrap()
}

/// The master keys of that folder.
pub(crate) fn master_keys(folder: &Path) -> MasterKeys {
    let json = std::fs::read_to_string(folder.join("aip-data/master-keys.json")).unwrap();
    MasterKeys::from_json(&json).unwrap()
}

/// Stores a session that is bound to the client key `kid`.
pub(crate) async fn session(folder: &Path, kid: &str) -> RowId {
    let sealer = master_keys(folder).sealer();
    let id = RowId::new(&SystemClock, &SystemRng);
    let row = id.to_string();
    let seal = |column: SealedColumn| -> Sealed {
        let place = column.place(&row);
        sealer.seal(&SystemRng, SECRET.as_bytes(), place).unwrap()
    };
    let now = SystemClock.now();
    let day = Duration::from_hours(24);
    let session = UpstreamSession {
        id,
        client_id: "photo-book".parse().unwrap(),
        did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
        pds: "https://pds.invalid".parse().unwrap(),
        credential: Credential::OAuth(OAuthCredential {
            issuer: "https://pds.invalid".parse().unwrap(),
            upstream_client_id: "https://id.example.org/oauth-client-metadata.json".to_owned(),
            client_key_id: Some(kid.to_owned()),
            dpop_key: seal(SealedColumn::DpopKey),
        }),
        scope: "atproto".parse().unwrap(),
        tokens: SealedTokens {
            access: seal(SealedColumn::AccessToken),
            refresh: Some(seal(SealedColumn::RefreshToken)),
            access_expires_at: now + day,
        },
        generation: 1,
        state: UpstreamState::Active,
        next_refresh_at: now + day,
        failures: 0,
        last_error: None,
        refreshed_at: now,
        created_at: now,
    };
    storage(folder)
        .await
        .create_upstream_session(&session)
        .await
        .unwrap();
    id
}
