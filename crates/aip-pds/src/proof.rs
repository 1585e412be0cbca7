//! The identity proof: an authorization server may speak for an account only if the account's
//! DID document, read now, leads to it: DID → PDS → protected resource metadata → issuer
//! (<https://atproto.com/specs/oauth#identity-authentication>).

use std::sync::Arc;

use aip_atproto::{Did, DidDocument, Issuer, Origin};

use crate::client::PdsClient;
use crate::metadata::{AuthServer, MetadataError};
use crate::resolve::{Freshness, ResolveError};
use crate::trace::Trace;

/// The proof that an authorization server speaks for an account. Only [`PdsClient::prove`] makes
/// one, and what may only happen after the proof takes one.
#[derive(Debug, Clone)]
pub struct ProvenIdentity {
    document: Arc<DidDocument>,
    pds: Origin,
    server: Arc<AuthServer>,
}

/// The proof that an account is at a PDS now. Only [`PdsClient::prove_pds`] makes one, and an app
/// password goes nowhere without it.
#[derive(Debug, Clone)]
pub struct ProvenPds {
    did: Did,
    pds: Origin,
}

/// Why the proof failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Some server could not be asked, or its answer not be understood: nothing is known.
    #[error("the account's server cannot be determined now: {0}")]
    Indeterminate(String),
    /// The account is at another authorization server by now (or always was).
    #[error("the account `{did}` belongs to `{actual}`, not to `{claimed}`")]
    Moved {
        /// The account.
        did: Did,
        /// The issuer that claimed to speak for it.
        claimed: Issuer,
        /// The issuer that does.
        actual: Issuer,
    },
    /// Another account than the one that was expected.
    #[error("signed in as `{actual}` instead of `{expected}`")]
    OtherAccount {
        /// Who was to sign in.
        expected: Did,
        /// Who did.
        actual: Did,
    },
    /// The account does not exist, or its servers say something that must not be accepted.
    #[error("the account's server is refused: {0}")]
    Refused(String),
}

impl ProvenIdentity {
    /// The account.
    pub fn did(&self) -> &Did {
        self.document.id()
    }

    /// The document, as it was read for this proof.
    pub fn document(&self) -> &DidDocument {
        &self.document
    }

    /// The account's server.
    pub fn pds(&self) -> &Origin {
        &self.pds
    }

    /// The authorization server that speaks for the account.
    pub fn server(&self) -> &AuthServer {
        &self.server
    }
}

impl ProvenPds {
    /// The account.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// Its server.
    pub fn pds(&self) -> &Origin {
        &self.pds
    }
}

impl From<ResolveError> for ProofError {
    fn from(error: ResolveError) -> Self {
        let words = error.to_string();
        if error.is_transient() {
            Self::Indeterminate(words)
        } else {
            Self::Refused(words)
        }
    }
}

impl From<MetadataError> for ProofError {
    fn from(error: MetadataError) -> Self {
        let words = error.to_string();
        if error.is_transient() {
            Self::Indeterminate(words)
        } else {
            Self::Refused(words)
        }
    }
}

impl PdsClient {
    /// Proves that `issuer` speaks for `did`, and that `did` is the `expected` account if one
    /// was. The DID document and the metadata of the PDS are read anew.
    pub async fn prove(
        &self,
        did: &Did,
        issuer: &Issuer,
        expected: Option<&Did>,
    ) -> Result<ProvenIdentity, ProofError> {
        if let Some(expected) = expected.filter(|expected| *expected != did) {
            let (expected, actual) = (expected.clone(), did.clone());
            return Err(ProofError::OtherAccount { expected, actual });
        }
        let mut trace = Trace::default();
        let document = self
            .resolver()
            .document(did, Freshness::Uncached, &mut trace)
            .await?;
        let pds = self.resolver().pds_of(&document)?;
        let actual = self.issuer_of_pds(&pds, &mut trace).await?;
        if actual != *issuer {
            let (did, claimed) = (did.clone(), issuer.clone());
            return Err(ProofError::Moved {
                did,
                claimed,
                actual,
            });
        }
        let server = self.server_for_pds(issuer, &pds, &mut trace).await?;
        Ok(ProvenIdentity {
            document,
            pds,
            server,
        })
    }

    /// Finds the PDS of `did` in its DID document, read anew.
    pub async fn prove_pds(&self, did: &Did) -> Result<ProvenPds, ProofError> {
        let document = self
            .resolver()
            .document(did, Freshness::Uncached, &mut Trace::default())
            .await?;
        let pds = self.resolver().pds_of(&document)?;
        Ok(ProvenPds {
            did: did.clone(),
            pds,
        })
    }
}

#[cfg(test)]
mod tests;
