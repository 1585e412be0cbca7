//! Where a session is at home: the PDS of its account, and the authorization server that issued it.
//!
//! v2 stores neither with the session. An access token of the reference PDS names its issuer and its
//! client; of any other, the account's PDS is asked which server it trusts. A wrong answer sends no
//! token to the wrong server: before each refresh AIP proves that the account is at the issuer.

use std::collections::HashMap;
use std::sync::Arc;

use aip_atproto::{Did, DidDocument, Issuer, Origin};
use aip_pds::{PdsClient, Trace};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// How many PDSs' servers are remembered.
const MAX_SERVERS: usize = 10_000;

/// What an access token says of itself, if it is a JWT. It is not verified: it came from v2's database.
#[derive(Default, Deserialize)]
pub(crate) struct TokenClaims {
    /// The authorization server.
    pub(crate) iss: Option<String>,
    /// The client that it was given to.
    pub(crate) client_id: Option<String>,
    /// The key that it is bound to (RFC 9449 §6.1). Of whatever shape: the other claims count all the
    /// same.
    cnf: Option<serde_json::Value>,
}

/// Finds them out, and remembers servers.
pub(crate) struct ServerLookup {
    pds: Arc<PdsClient>,
    servers: HashMap<Origin, Result<Issuer, String>>,
}

impl TokenClaims {
    /// Of `token`; nothing of one that is no JWT.
    pub(crate) fn of(token: &str) -> Self {
        let payload = token.split('.').nth(1);
        let json = payload.and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
        json.and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    }

    /// The thumbprint of the key that it is bound to, if it says so.
    pub(crate) fn jkt(&self) -> Option<&str> {
        self.cnf.as_ref()?.get("jkt")?.as_str()
    }
}

impl ServerLookup {
    pub(crate) fn new(pds: Arc<PdsClient>) -> Self {
        Self {
            pds,
            servers: HashMap::new(),
        }
    }

    /// The PDS of `did`: as the document says that v2 has read, or read now. The error says who does
    /// not answer.
    pub(crate) async fn pds(&self, did: &Did, document: Option<&str>) -> Result<Origin, String> {
        let document = document.and_then(|it| DidDocument::parse_for(did, it.as_bytes()).ok());
        if let Some(document) = document
            && let Ok(pds) = self.pds.resolver().pds_of(&document)
        {
            return Ok(pds);
        }
        let proven = self.pds.prove_pds(did).await;
        Ok(proven.map_err(|error| error.to_string())?.pds().clone())
    }

    /// The authorization server that issued a session at `pds`.
    pub(crate) async fn issuer(
        &mut self,
        claims: &TokenClaims,
        pds: &Origin,
    ) -> Result<Issuer, String> {
        if let Some(issuer) = claims.iss.as_deref().and_then(|it| Issuer::parse(it).ok()) {
            return Ok(issuer);
        }
        if let Some(known) = self.servers.get(pds) {
            return known.clone();
        }
        let server = self.pds.server_of_pds(pds, &mut Trace::default()).await;
        let issuer = match server {
            Ok(server) => Ok(server.issuer.clone()),
            Err(error) => Err(error.to_string()),
        };
        if self.servers.len() >= MAX_SERVERS {
            self.servers.clear();
        }
        self.servers.insert(pds.clone(), issuer.clone());
        issuer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_names_its_issuer_and_client_and_anything_else_names_nobody() {
        let payload = URL_SAFE_NO_PAD
            .encode(r#"{"iss":"https://pds.example","client_id":"https://aip.example/c","exp":1}"#);
        let claims = TokenClaims::of(&format!("e30.{payload}.c2ln"));
        assert_eq!(claims.iss.as_deref(), Some("https://pds.example"));
        assert_eq!(claims.client_id.as_deref(), Some("https://aip.example/c"));
        for opaque in ["", ".", "a.b.c", "tok-0123", "e30.W10.c2ln", "..."] {
            let claims = TokenClaims::of(opaque);
            assert!(
                claims.iss.is_none() && claims.client_id.is_none(),
                "{opaque}"
            );
        }
    }
}
