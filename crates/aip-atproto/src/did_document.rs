//! DID documents, as far as an identity provider needs them
//! (<https://atproto.com/specs/did#did-documents>, DID Core §5).
//!
//! PLC directories and `did:web` hosts write two dialects: absolute or relative ids
//! (`did:plc:…#atproto`, `#atproto`), `Multikey` or the two older key types. Both are read.

use serde::Deserialize;
use serde_json::Value;

use crate::did::{Did, DidError};
use crate::handle::Handle;
use crate::origin::PdsUrl;

/// A larger document is refused unread. Real ones have about one kilobyte.
const MAX_BYTES: usize = 64 * 1024;
/// The text of a larger document is not kept, so that those of strangers do not fill caches.
const MAX_KEPT_BYTES: usize = 8 * 1024;
/// The longest public key that is handed on.
const MAX_MULTIBASE: usize = 256;

/// The parts of a DID document that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidDocument {
    id: Did,
    handle: Option<Handle>,
    pds: Option<PdsUrl>,
    signing_key: Option<SigningKeyRef>,
    json: Option<Box<str>>,
}

/// The account's public signing key as the document writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRef {
    /// How to read [`Self::multibase`].
    pub kind: SigningKeyKind,
    /// The key in base58btc multibase (`z…`); the alphabet is checked, the key is not decoded.
    pub multibase: String,
}

/// The type of a verification method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyKind {
    /// `Multikey`: a multicodec prefix names the curve, the point is compressed.
    Multikey,
    /// `EcdsaSecp256r1VerificationKey2019`: a bare P-256 point.
    LegacyP256,
    /// `EcdsaSecp256k1VerificationKey2019`: a bare secp256k1 point.
    LegacyK256,
}

impl SigningKeyKind {
    /// The `type` of the verification method (DID Core §5.2).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Multikey => "Multikey",
            Self::LegacyP256 => "EcdsaSecp256r1VerificationKey2019",
            Self::LegacyK256 => "EcdsaSecp256k1VerificationKey2019",
        }
    }
}

/// Why bytes are not a DID document.
#[derive(Debug, thiserror::Error)]
pub enum DidDocumentError {
    /// More than 64 KiB.
    #[error("a DID document has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// No JSON object of the right shape; a repeated key is one of the reasons.
    #[error("not a DID document: {0}")]
    Json(#[from] serde_json::Error),
    /// The `id` is no DID.
    #[error("the document's id: {0}")]
    Id(#[from] DidError),
    /// The document is about somebody else.
    #[error("the document of {expected} says that it is the document of {found}")]
    OtherDid {
        /// The DID whose document was fetched.
        expected: Did,
        /// The `id` in the document.
        found: Did,
    },
}

/// The document on the wire. Members are loose values where DID Core allows several shapes; the
/// structure itself is strict, so that repeated keys are refused and not resolved by position.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    id: String,
    #[serde(default)]
    also_known_as: Option<Vec<Value>>,
    #[serde(default)]
    verification_method: Option<Vec<WireKey>>,
    #[serde(default)]
    service: Option<Vec<WireService>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    #[serde(default)]
    id: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    public_key_multibase: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireService {
    #[serde(default)]
    id: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    service_endpoint: Value,
}

impl DidDocument {
    /// Parses a document, whoever it is about.
    pub fn parse(json: &[u8]) -> Result<Self, DidDocumentError> {
        if json.len() > MAX_BYTES {
            return Err(DidDocumentError::TooLarge);
        }
        let wire: Wire = serde_json::from_slice(json)?;
        let id = Did::parse(&wire.id)?;
        Ok(Self {
            handle: first_handle(wire.also_known_as.as_deref().unwrap_or_default()),
            pds: pds_endpoint(&id, wire.service.as_deref().unwrap_or_default()),
            signing_key: signing_key(&id, wire.verification_method.as_deref().unwrap_or_default()),
            json: (json.len() <= MAX_KEPT_BYTES).then(|| String::from_utf8_lossy(json).into()),
            id,
        })
    }

    /// Parses the document that was fetched for `did`, and refuses that of another DID.
    pub fn parse_for(did: &Did, json: &[u8]) -> Result<Self, DidDocumentError> {
        let document = Self::parse(json)?;
        if document.id == *did {
            return Ok(document);
        }
        Err(DidDocumentError::OtherDid {
            expected: did.clone(),
            found: document.id,
        })
    }

    /// The DID that the document is about.
    pub fn id(&self) -> &Did {
        &self.id
    }

    /// The whole document as it came; `None` if it has more than 8 KiB.
    pub fn json(&self) -> Option<&str> {
        self.json.as_deref()
    }

    /// The handle that the account claims: the first valid `at://` alias. It is the account's
    /// handle only if it resolves back to this DID.
    pub fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// The account's PDS. The first `#atproto_pds` service counts, even if it is unusable.
    pub fn pds_endpoint(&self) -> Option<&PdsUrl> {
        self.pds.as_ref()
    }

    /// The account's `#atproto` signing key.
    pub fn signing_key(&self) -> Option<&SigningKeyRef> {
        self.signing_key.as_ref()
    }
}

fn first_handle(aliases: &[Value]) -> Option<Handle> {
    aliases
        .iter()
        .filter_map(|alias| alias.as_str()?.strip_prefix("at://"))
        .find_map(|handle| Handle::parse(handle).ok())
}

/// Whether `id` is `fragment` (with its `#`) of `did`, in the relative or the absolute form.
fn is_fragment_of(id: &Value, did: &Did, fragment: &str) -> bool {
    id.as_str()
        .is_some_and(|id| id.strip_prefix(did.as_str()).unwrap_or(id) == fragment)
}

fn pds_endpoint(did: &Did, services: &[WireService]) -> Option<PdsUrl> {
    let service = services
        .iter()
        .find(|service| is_fragment_of(&service.id, did, "#atproto_pds"))?;
    if service.kind.as_str() != Some("AtprotoPersonalDataServer") {
        return None;
    }
    PdsUrl::parse(service.service_endpoint.as_str()?).ok()
}

fn signing_key(did: &Did, keys: &[WireKey]) -> Option<SigningKeyRef> {
    let key = keys
        .iter()
        .find(|key| is_fragment_of(&key.id, did, "#atproto"))?;
    let written = key.kind.as_str()?;
    let kind = [
        SigningKeyKind::Multikey,
        SigningKeyKind::LegacyP256,
        SigningKeyKind::LegacyK256,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == written)?;
    let multibase = key.public_key_multibase.as_str()?;
    let base58 = |b: u8| b.is_ascii_alphanumeric() && !b"0OIl".contains(&b);
    let digits = multibase.strip_prefix('z')?;
    if digits.is_empty() || multibase.len() > MAX_MULTIBASE || !digits.bytes().all(base58) {
        return None;
    }
    Some(SigningKeyRef {
        kind,
        multibase: multibase.to_owned(),
    })
}

#[cfg(test)]
#[path = "did_document_tests.rs"]
mod tests;
