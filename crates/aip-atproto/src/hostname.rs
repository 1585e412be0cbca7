//! Host names as handles and `did:web` use them: the syntax of
//! <https://atproto.com/specs/handle#handle-identifier-syntax>, which also rules out IP addresses.

/// The longest host name in characters (RFC 1035 §2.3.4, without the trailing dot).
const MAX_LEN: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More than 253 characters.
    #[error("it is longer than {MAX_LEN} characters")]
    TooLong,
    /// Only one label.
    #[error("it needs at least one dot, as in `alice.example.com`")]
    NoDot,
    /// A label is empty or longer than 63 characters.
    #[error("each part between the dots has 1 to {MAX_LABEL} characters")]
    LabelLength,
    /// A character other than a letter, digit or hyphen, or a hyphen at an end of a label.
    #[error("the parts between the dots are letters, digits and inner hyphens")]
    LabelCharacters,
    /// The last label starts with a digit, as that of an IP address does.
    #[error("the part after the last dot starts with a letter")]
    NumericTld,
}

/// Checks `text` as a fully qualified host name of two or more labels, in any case.
pub(crate) fn check(text: &str) -> Result<(), HostnameError> {
    if text.is_empty() {
        return Err(HostnameError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(HostnameError::TooLong);
    }
    let Some((_, tld)) = text.rsplit_once('.') else {
        return Err(HostnameError::NoDot);
    };
    text.split('.').try_for_each(check_label)?;
    if tld.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(HostnameError::NumericTld);
    }
    Ok(())
}

/// Checks one label: letters, digits and inner hyphens, 1 to 63 of them.
pub(crate) fn check_label(label: &str) -> Result<(), HostnameError> {
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err(HostnameError::LabelLength);
    }
    let plain = label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain || label.starts_with('-') || label.ends_with('-') {
        return Err(HostnameError::LabelCharacters);
    }
    Ok(())
}
