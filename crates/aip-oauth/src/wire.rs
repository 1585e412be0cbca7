//! Shapes that are written into answers and tokens.

use serde::Serialize;

/// What is claimed of a person besides `sub`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PersonClaims {
    /// The verified handle, or [`INVALID_HANDLE`](crate::claims::INVALID_HANDLE); with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// The name for display of the account's own profile, or the verified handle, or the DID. With the
    /// scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The URL of the page that shows the profile, if there is one; with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The URL of the picture of the profile; with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// The DID, under the name of AIP v2; with the scope `atproto` or `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// The origin of the account's PDS; with the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pds_endpoint: Option<String>,
    /// The address; with the scope `email`, if the account's PDS tells it to this grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether somebody whom the operator trusts verified the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
}

/// How tokens, introspection and userinfo name who acts for the `sub` (RFC 8693 §4.1).
#[derive(Debug, Serialize)]
pub struct Actor<'a> {
    /// The delegate.
    pub sub: &'a str,
}

/// How tokens and introspection name the key that a token is bound to (RFC 9449 §6).
#[derive(Debug, Serialize)]
pub struct Confirmation<'a> {
    /// Its thumbprint (RFC 7638).
    pub jkt: &'a str,
}
