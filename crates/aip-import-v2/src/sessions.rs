//! A session of v2, with what apps hold of it, as AIP keeps it: sealed and hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use aip_atproto::{Did, ScopeSet};
use aip_base::{Clock, Rng, RowId, Timestamp};
use aip_jose::SigningKey;
use aip_keys::{SealError, Sealed, Sealer, TokenHash, TokenHasher};
use aip_storage::client::ClientId;
use aip_storage::imports::HeldSession;
use aip_storage::operations::SealedColumn;
use aip_storage::upstream::{
    Credential, OAuthCredential, SealedTokens, UpstreamSession, UpstreamState,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::grants::well_formed;
use crate::may_have_credentials;
use crate::report::{Reason, Report};
use crate::rows::{AppToken, SessionRow};
use crate::server_lookup::{ServerLookup, TokenClaims};

/// The table of sessions at v2.
pub(crate) const TABLE: &str = "atp_oauth_sessions";

/// What conversion works with.
pub(crate) struct Converter {
    /// The `client_id` that AIP has at PDSs, as v2 had.
    pub(crate) upstream_client_id: String,
    /// The `kid` of each of v2's client keys, by its thumbprint.
    pub(crate) kids: BTreeMap<String, String>,
    /// The clients that are here or will be, with their scopes.
    pub(crate) clients: BTreeMap<ClientId, ScopeSet>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) hasher: Arc<TokenHasher>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) now: Timestamp,
    pub(crate) server_lookup: ServerLookup,
}

/// Why a row is not taken, or could not be sealed.
pub(crate) enum RowError {
    Row(Reason, String),
    Seal(SealError),
}

impl From<SealError> for RowError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

pub(crate) fn row_error<T>(reason: Reason, detail: impl Into<String>) -> Result<T, RowError> {
    Err(RowError::Row(reason, detail.into()))
}

/// Makes the same id again for the same session: its time is that of the session, the rest a keyed
/// hash of its name.
struct DeterministicId {
    at: Timestamp,
    hash: TokenHash,
}

impl Clock for DeterministicId {
    fn now(&self) -> Timestamp {
        self.at
    }
}

impl Rng for DeterministicId {
    fn fill(&self, dest: &mut [u8]) {
        for (byte, known) in dest.iter_mut().zip(self.hash.as_bytes()) {
            *byte = *known;
        }
    }
}

/// A row with the name that AIP gives it.
pub(crate) struct IdentifiedRow<T> {
    pub(crate) row: T,
    pub(crate) id: RowId,
    pub(crate) content: TokenHash,
}

impl Converter {
    pub(crate) fn id(&self, name: &str, created_at: i64) -> RowId {
        let source = DeterministicId {
            at: Timestamp::from_micros(created_at),
            hash: self.hasher.hash(&format!("aip-v2 id of {name}")),
        };
        RowId::new(&source, &source)
    }

    /// The hash of all that a session is made from.
    pub(crate) fn content(&self, digest: &str, credentials: bool) -> TokenHash {
        self.hasher
            .hash(&format!("aip-v2 content {digest} {credentials}"))
    }

    /// Whether the operator lets that client have tokens and keys of PDSs.
    pub(crate) fn may_have_credentials(&self, client: &str) -> bool {
        let id: Option<ClientId> = client.parse().ok();
        let scope = id.and_then(|id| self.clients.get(&id));
        scope.is_some_and(may_have_credentials)
    }

    pub(crate) fn identify_session(&self, row: SessionRow) -> IdentifiedRow<SessionRow> {
        let token = row.refresh.first().or(row.access.first());
        let credentials = token.is_some_and(|it| self.may_have_credentials(&it.client_id));
        IdentifiedRow {
            id: self.id(&session_name(&row), row.created_at),
            content: self.content(&row.content, credentials),
            row,
        }
    }

    pub(crate) fn seal(
        &self,
        text: &str,
        column: SealedColumn,
        id: RowId,
    ) -> Result<Sealed, SealError> {
        let row = id.to_string();
        self.sealer
            .seal(&*self.rng, text.as_bytes(), column.place(&row))
    }

    pub(crate) fn seal_tokens(
        &self,
        id: RowId,
        access: Option<&SecretString>,
        refresh: Option<&SecretString>,
        access_expires_at: Timestamp,
    ) -> Result<SealedTokens, SealError> {
        let access = access.map_or("", |it| it.expose_secret());
        let refresh =
            refresh.map(|it| self.seal(it.expose_secret(), SealedColumn::RefreshToken, id));
        Ok(SealedTokens {
            access: self.seal(access, SealedColumn::AccessToken, id)?,
            refresh: refresh.transpose()?,
            access_expires_at,
        })
    }

    /// The session as AIP keeps it. Tokens of apps that have not v2's form are left out by themselves.
    pub(crate) async fn session(
        &mut self,
        identified: IdentifiedRow<SessionRow>,
        report: &mut Report,
    ) -> Result<HeldSession, RowError> {
        let IdentifiedRow {
            mut row,
            id,
            content,
        } = identified;
        let Some(access_token) = row.access_token.take() else {
            return row_error(Reason::NoUpstreamTokens, "no row of it has an access token");
        };
        let name = session_name(&row);
        let access = std::mem::take(&mut row.access);
        let access = well_formed(access, "access_tokens", &name, report);
        let refresh = std::mem::take(&mut row.refresh);
        let refresh = well_formed(refresh, "refresh_tokens", &name, report);
        let Some(newest) = refresh.first().or(access.first()) else {
            return row_error(Reason::NoAppToken, "no app has a live token of it");
        };
        let (client_id, did) =
            self.client_and_account(&row, newest, access.iter().chain(&refresh))?;
        let Ok(key) = SigningKey::from_private_did_key(row.dpop_key.expose_secret(), None) else {
            let detail = "dpop_key is not the private did:key of a P-256 key";
            return row_error(Reason::BadDpopKey, detail);
        };
        let Some(kid) = self.kids.get(&row.signing_key_jkt).cloned() else {
            return row_error(
                Reason::UnknownSigningKey,
                format!(
                    "it is bound to the client key of thumbprint {}, which is not among \
                     ATPROTO_OAUTH_SIGNING_KEYS: give all that v2 has ever used",
                    row.signing_key_jkt
                ),
            );
        };
        let scope = upstream_scope(row.scopes.as_deref())?;
        let grant = self.grant(&name, &access, &refresh, newest, &scope)?;
        let claims = TokenClaims::of(access_token.expose_secret());
        self.check_upstream_client(&claims)?;
        // The first refresh with another key would end the session at the PDS.
        let thumbprint = key.public().thumbprint();
        if claims.jkt().is_some_and(|jkt| jkt != thumbprint.as_str()) {
            let detail = "its access token is bound to another key than dpop_key";
            return row_error(Reason::BadDpopKey, detail);
        }
        let pds = self.server_lookup.pds(&did, row.document.as_deref()).await;
        let pds = pds.map_err(|error| RowError::Row(Reason::NotNow, error))?;
        let issuer = self.server_lookup.issuer(&claims, &pds).await;
        let issuer = issuer.map_err(|error| RowError::Row(Reason::NotNow, error))?;
        let jwk = key.to_private_jwk_json();
        let Ok(jwk) = jwk else {
            return row_error(Reason::BadDpopKey, "dpop_key cannot be exported");
        };
        let created_at = Timestamp::from_micros(row.created_at);
        let at = |micros: Option<i64>| micros.map_or(created_at, Timestamp::from_micros);
        let session = UpstreamSession {
            id,
            client_id,
            did,
            pds,
            credential: Credential::OAuth(OAuthCredential {
                issuer,
                upstream_client_id: self.upstream_client_id.clone(),
                client_key_id: Some(kid),
                dpop_key: self.seal(jwk.expose_secret(), SealedColumn::DpopKey, id)?,
            }),
            scope,
            email: None,
            tokens: self.seal_tokens(
                id,
                Some(&access_token),
                row.refresh_token.as_ref(),
                at(row.access_expires_at),
            )?,
            generation: row.iteration,
            // After this row there is one without tokens: v2 may have sent the refresh token, and lost
            // the answer. It is tried once.
            state: if row.newest > row.iteration {
                UpstreamState::Uncertain
            } else {
                UpstreamState::Active
            },
            next_refresh_at: at(row.access_expires_at),
            failures: 0,
            rejected: None,
            last_error: None,
            refreshed_at: at(row.refreshed_at),
            created_at,
        };
        Ok(HeldSession {
            session,
            grant: Some(grant),
            content,
        })
    }

    /// Sessions belong to the client that they were begun as, where the token tells.
    fn check_upstream_client(&self, claims: &TokenClaims) -> Result<(), RowError> {
        if let Some(other) = claims.client_id.as_ref()
            && *other != self.upstream_client_id
        {
            return row_error(
                Reason::OtherUpstreamClient,
                format!(
                    "it was begun as {other}, and this AIP is {} at PDSs: server.external_base must be \
                     v2's EXTERNAL_BASE",
                    self.upstream_client_id
                ),
            );
        }
        Ok(())
    }

    /// The client and the account, on which all tokens agree.
    fn client_and_account<'a>(
        &self,
        row: &SessionRow,
        newest: &AppToken,
        mut tokens: impl Iterator<Item = &'a AppToken>,
    ) -> Result<(ClientId, Did), RowError> {
        if !tokens.all(|it| it.client_id == newest.client_id && it.user_id == newest.user_id) {
            let detail = "its tokens are of several clients or accounts";
            return row_error(Reason::MixedTokens, detail);
        }
        let did = row.did.as_deref().unwrap_or(&newest.user_id);
        let Ok(did) = Did::parse(did) else {
            return row_error(Reason::BadDid, format!("`{did}` is not a DID"));
        };
        if did.as_str() != newest.user_id {
            let detail = format!("it is of {did}, and its tokens are of {}", newest.user_id);
            return row_error(Reason::MixedTokens, detail);
        }
        let client = self.client(&newest.client_id)?;
        Ok((client, did))
    }

    pub(crate) fn client(&self, id: &str) -> Result<ClientId, RowError> {
        let known = id.parse().ok().filter(|id| self.clients.contains_key(id));
        known.ok_or_else(|| {
            let detail = format!("the client `{id}` is not there or was left out");
            RowError::Row(Reason::UnknownClient, detail)
        })
    }
}

/// How the report names a row.
pub(crate) fn session_name(row: &SessionRow) -> String {
    format!("session {}", row.session_id)
}

fn upstream_scope(json: Option<&str>) -> Result<ScopeSet, RowError> {
    let words: Option<Vec<String>> = json.and_then(|it| serde_json::from_str(it).ok());
    let scope = words.map(|words| ScopeSet::parse(&words.join(" ")));
    match scope {
        Some(Ok(scope)) if !scope.is_empty() => Ok(scope),
        Some(Err(error)) => row_error(Reason::BadScope, format!("access_token_scopes: {error}")),
        Some(Ok(_)) | None => row_error(
            Reason::BadScope,
            "access_token_scopes is not an array of scopes",
        ),
    }
}
