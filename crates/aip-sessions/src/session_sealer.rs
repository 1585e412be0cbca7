//! What a session keeps secret: sealed before it meets the storage, opened when it is used.

use std::sync::Arc;

use aip_base::{Rng, RowId};
use aip_jose::{KeyError, SigningKey};
use aip_keys::{SealError, Sealed, Sealer};
use aip_pds::TokenSet;
pub(crate) use aip_storage::operations::SealedColumn as Column;
use aip_storage::upstream::SealedTokens;
use secrecy::{ExposeSecret as _, SecretString};

/// Seals and opens the columns of upstream sessions and flows.
#[derive(Clone)]
pub struct SessionSealer {
    sealer: Arc<Sealer>,
    rng: Arc<dyn Rng>,
}

/// A secret column cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SealerError {
    /// Moved, altered, or sealed with a key that is gone.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Not a key.
    #[error("the stored DPoP key is unusable: {0}")]
    Key(#[from] KeyError),
}

impl SessionSealer {
    /// Seals with `sealer`.
    pub fn new(sealer: Arc<Sealer>, rng: Arc<dyn Rng>) -> Self {
        Self { sealer, rng }
    }

    pub(crate) fn seal(
        &self,
        text: &SecretString,
        column: Column,
        row: RowId,
    ) -> Result<Sealed, SealerError> {
        let row = row.to_string();
        Ok(self.sealer.seal(
            &*self.rng,
            text.expose_secret().as_bytes(),
            column.place(&row),
        )?)
    }

    pub(crate) fn open(
        &self,
        sealed: &Sealed,
        column: Column,
        row: RowId,
    ) -> Result<SecretString, SealerError> {
        Ok(self
            .sealer
            .open_text(sealed, column.place(&row.to_string()))?)
    }

    pub(crate) fn seal_key(&self, key: &SigningKey, row: RowId) -> Result<Sealed, SealerError> {
        self.seal(&key.to_private_jwk_json()?, Column::DpopKey, row)
    }

    pub(crate) fn open_key(
        &self,
        sealed: &Sealed,
        row: RowId,
    ) -> Result<Arc<SigningKey>, SealerError> {
        let jwk = self.open(sealed, Column::DpopKey, row)?;
        Ok(Arc::new(SigningKey::from_jwk_json(jwk.expose_secret())?))
    }

    pub(crate) fn seal_tokens(
        &self,
        tokens: &TokenSet,
        row: RowId,
    ) -> Result<SealedTokens, SealerError> {
        let refresh = tokens
            .refresh
            .as_ref()
            .map(|it| self.seal(it, Column::RefreshToken, row))
            .transpose()?;
        Ok(SealedTokens {
            access: self.seal(&tokens.access, Column::AccessToken, row)?,
            refresh,
            access_expires_at: tokens.expires_at,
        })
    }
}
