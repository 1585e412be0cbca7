//! How long the DID of a person may be: apps know people by it, as the `sub` of `id_token`, userinfo and
//! introspection, and keep 255 characters of it at least, but maybe no more.

use aip_atproto::Did;

/// OpenID Connect Core §2: `sub` "MUST NOT exceed 255 ASCII characters in length". A DID may have 2048
/// (<https://atproto.com/specs/did>); a `did:web` of the longest host name has 261.
const MAX_SUBJECT: usize = 255;

/// The account cannot sign in. The words are for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the DID of the account has {0} characters, and apps know people by one of at most {MAX_SUBJECT} \
     (OpenID Connect Core §2)"
)]
pub struct SubjectTooLong(usize);

/// Checks that apps can know the account by its DID, which is ASCII.
pub(crate) fn check(did: &Did) -> Result<(), SubjectTooLong> {
    match did.as_str().len() {
        length if length > MAX_SUBJECT => Err(SubjectTooLong(length)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_at_most_255_characters() {
        let of = |length: usize| {
            let label = "a".repeat(60);
            let host = format!(
                "{label}.{label}.{label}.{label}.{}",
                "b".repeat(length - 252)
            );
            Did::parse(&format!("did:web:{host}")).unwrap()
        };
        for length in [253, 255] {
            assert_eq!(check(&of(length)), Ok(()));
        }
        for length in [256, 261] {
            let refused = check(&of(length)).unwrap_err();
            assert!(refused.to_string().contains(&length.to_string()));
        }
        let plc = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        assert_eq!(check(&plc), Ok(()));
    }
}
