//! `did#service`: the target of the `atproto-proxy` header and the audience of `rpc:` scopes
//! (<https://atproto.com/specs/xrpc#service-proxying>).

use crate::did::{Did, DidError};
use crate::text::text_type;

/// The longest service id; real ones have about a dozen characters.
const MAX_SERVICE: usize = 256;

/// One service of a DID document: exactly one `#` between the DID and the service's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    text: String,
    did: Did,
}

/// Why a text does not name a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRefError {
    /// There is no `#`.
    #[error(
        "a service is named by a DID, `#`, and the service's id, like `did:web:api.bsky.app#bsky_appview`"
    )]
    NoFragment,
    /// The part before `#` is no DID.
    #[error("the part before `#` is no DID: {0}")]
    Did(#[from] DidError),
    /// The part behind `#` is no service id.
    #[error(
        "the service's id has 1 to {MAX_SERVICE} characters out of letters, digits and `-._~:`"
    )]
    Service,
}

impl ServiceRef {
    /// Parses `did#service`.
    pub fn parse(text: &str) -> Result<Self, ServiceRefError> {
        let (did, service) = text.split_once('#').ok_or(ServiceRefError::NoFragment)?;
        let did = Did::parse(did)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
        if service.is_empty() || service.len() > MAX_SERVICE || !service.bytes().all(plain) {
            return Err(ServiceRefError::Service);
        }
        Ok(Self {
            text: text.to_owned(),
            did,
        })
    }

    /// The whole reference.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The DID whose document lists the service.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The service's id, without `#`.
    pub fn service(&self) -> &str {
        self.text.split_once('#').map_or("", |(_, service)| service)
    }
}

text_type!(ServiceRef, ServiceRefError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_did_one_hash_and_an_id() {
        let service = ServiceRef::parse("did:web:api.bsky.app#bsky_appview").unwrap();
        assert_eq!(service.did().as_str(), "did:web:api.bsky.app");
        assert_eq!(service.service(), "bsky_appview");
        assert_eq!(service.to_string(), "did:web:api.bsky.app#bsky_appview");

        assert_eq!(
            ServiceRef::parse("did:web:api.bsky.app"),
            Err(ServiceRefError::NoFragment)
        );
        for broken in ["#", "##", "#a#b", "# a", "#a b", "#ä", "#a/b", "#a?b"] {
            let text = format!("did:web:api.bsky.app{broken}");
            assert_eq!(
                ServiceRef::parse(&text),
                Err(ServiceRefError::Service),
                "{text}"
            );
        }
        assert!(matches!(
            ServiceRef::parse("alice.test#pds"),
            Err(ServiceRefError::Did(_))
        ));
    }
}
