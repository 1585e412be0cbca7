//! DPoP proofs of apps (RFC 9449): verified, fresh by nonce, and accepted once.
//!
//! The nonce is a keyed hash of the minute, so every replica with the same keys makes and accepts
//! the same ones without shared state; the `jti` is spent in the storage, which all share.

use std::time::Duration;

use aip_base::Timestamp;
use aip_jose::Alg;
use aip_jose::dpop::{DpopError, Expected, verify};
use aip_storage::StorageError;
use aip_storage::client::SecurityProfile;
use aip_storage::replay::Claim;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::AuthorizationServer;
use crate::client_auth::assertion_algs;
pub use crate::wire::Confirmation;

/// How long one nonce is handed out, in seconds; it is accepted for two steps more.
const NONCE_STEP: i64 = 60;
/// How old a proof may be. The nonce bounds it anyway; this holds for clocks that are behind.
const MAX_AGE: Duration = Duration::from_mins(5);
/// How far a proof may be ahead of our clock.
const MAX_SKEW: Duration = Duration::from_mins(1);

/// A request: what a proof must be about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, beginning with `/`; the URL is formed from the configured issuer, never from a
    /// header of the request.
    pub path: &'a str,
}

/// A key whose possession a request proved. Made only here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    jkt: String,
    /// What the proof is signed with.
    alg: Alg,
}

/// Why a proof is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// `invalid_dpop_proof`.
    #[error(transparent)]
    Invalid(#[from] DpopError),
    /// The client is registered for bound tokens alone: `invalid_request`, as for any parameter that
    /// is missing. There is no proof that could be invalid.
    #[error("the tokens of this client are bound to a key: there must be a DPoP proof")]
    Missing,
    /// Not what the security profile of the client allows: `invalid_dpop_proof`.
    #[error("the proof is signed with {0}, which this client may not use")]
    Alg(Alg),
    /// The proof was seen before: `invalid_dpop_proof`.
    #[error("the proof was used before")]
    Replayed,
    /// No nonce, or an old one: `use_dpop_nonce`, with the one to use.
    #[error("the proof has no current nonce")]
    Nonce,
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ProvenKey {
    /// The thumbprint (RFC 7638), as kept with a grant.
    pub fn thumbprint(&self) -> &str {
        &self.jkt
    }

    /// Whether every client may sign with that algorithm, whatever its security profile.
    pub(crate) fn suits_every_profile(&self) -> bool {
        self.check_profile(SecurityProfile::Fapi2).is_ok()
    }

    /// Checks that a client of that security profile may sign so (FAPI 2.0 Security Profile §5.4.1).
    pub(crate) fn check_profile(&self, profile: SecurityProfile) -> Result<(), ProofError> {
        match profile {
            SecurityProfile::Fapi2 if !assertion_algs(profile).contains(&self.alg) => {
                Err(ProofError::Alg(self.alg))
            }
            SecurityProfile::OAuth21 | SecurityProfile::Fapi2 => Ok(()),
        }
    }
}

impl AuthorizationServer {
    /// Verifies the proof of a request and spends it. `access_token` is given at resources.
    pub async fn check_proof(
        &self,
        proof: &str,
        target: Target<'_>,
        access_token: Option<&str>,
    ) -> Result<ProvenKey, ProofError> {
        let now = self.clock.now();
        let expected = Expected {
            htm: target.method,
            htu: &self.issuer.url(target.path),
            now,
            max_age: MAX_AGE,
            max_skew: MAX_SKEW,
            access_token,
        };
        let verified = verify(proof, &expected)?;
        if !verified
            .nonce
            .is_some_and(|nonce| self.accepts_nonce(&nonce, now))
        {
            return Err(ProofError::Nonce);
        }
        let jkt = verified.jkt.as_str().to_owned();
        let key = self
            .hasher
            .hash(&format!("dpop-jti {jkt} {}", verified.jti));
        match self
            .storage
            .claim_once(&key, now + MAX_AGE + MAX_SKEW)
            .await?
        {
            Claim::Fresh => Ok(ProvenKey {
                jkt,
                alg: verified.alg,
            }),
            Claim::Seen => Err(ProofError::Replayed),
        }
    }

    /// The nonce to be used in proofs from now on.
    pub fn dpop_nonce(&self) -> String {
        self.nonce_of(step(self.clock.now()))
    }

    fn accepts_nonce(&self, nonce: &str, now: Timestamp) -> bool {
        let current = step(now);
        // The next step, too: another replica's clock may be ahead of this one's.
        [current, current - 1, current - 2, current + 1]
            .into_iter()
            .any(|it| bool::from(self.nonce_of(it).as_bytes().ct_eq(nonce.as_bytes())))
    }

    fn nonce_of(&self, step: i64) -> String {
        let mac = self.hasher.hash(&format!("dpop-nonce {step}"));
        URL_SAFE_NO_PAD.encode(&mac.as_bytes()[..16])
    }
}

fn step(now: Timestamp) -> i64 {
    now.as_secs().div_euclid(NONCE_STEP)
}
