//! `com.atproto.server.getSession` for a token that may not know the e-mail address: AIP's session at
//! the PDS may have the scope for it, the app's token need not.

use aip_atproto::{AccountAttr, OpenIdScope, Scope, ScopeSet};
use bytes::Bytes;
use serde_json::{Map, Value};

/// The method that tells a session of itself; every session may call it.
pub(crate) const GET_SESSION: &str = "com.atproto.server.getSession";
/// The fields that PDSs tell to sessions with `account:email`.
const EMAIL: [&str; 3] = ["email", "emailConfirmed", "emailAuthFactor"];

/// Methods after which the address that is known is the wrong one.
const CHANGES_EMAIL: [&str; 2] = [
    "com.atproto.server.confirmEmail",
    "com.atproto.server.updateEmail",
];

/// Methods after which the DID document or the handle may be another one.
const CHANGES_IDENTITY: [&str; 3] = [
    "com.atproto.identity.refreshIdentity",
    "com.atproto.identity.submitPlcOperation",
    "com.atproto.identity.updateHandle",
];

/// Whether this call changes who the account is for others, or says that it has changed.
pub(crate) fn changes_identity(method: &str) -> bool {
    CHANGES_IDENTITY
        .iter()
        .any(|it| it.eq_ignore_ascii_case(method))
}

/// Whether this call changes the account's e-mail address, or whether it is confirmed.
pub(crate) fn changes_email(method: &str) -> bool {
    CHANGES_EMAIL
        .iter()
        .any(|it| it.eq_ignore_ascii_case(method))
}

/// Whether the answer to this call tells more than the scope allows.
pub(crate) fn withholds_email(method: &str, scope: &ScopeSet) -> bool {
    let may_know = scope.allows_account(AccountAttr::Email, false)
        || scope.contains(&Scope::OpenId(OpenIdScope::Email));
    method == GET_SESSION && !may_know
}

/// The session without its address; `None` if it is none.
pub(crate) fn without_email(session: &[u8]) -> Option<Bytes> {
    let mut session: Map<String, Value> = serde_json::from_slice(session).ok()?;
    for field in EMAIL {
        session.remove(field);
    }
    Some(Value::Object(session).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_for_tokens_that_may_know_it() {
        let (session, other) = (GET_SESSION, "com.atproto.identity.resolveHandle");
        for (method, scope, withheld) in [
            (session, "atproto", true),
            (session, "atproto transition:generic", true),
            (session, "atproto account:email", false),
            (session, "atproto transition:email", false),
            (session, "atproto openid email", false),
            (other, "atproto", false),
        ] {
            let scope = scope.parse().unwrap();
            assert_eq!(
                withholds_email(method, &scope),
                withheld,
                "{method} {scope}"
            );
        }
    }

    #[test]
    fn the_methods_that_change_something_are_distinguished() {
        for (method, email, identity) in [
            ("com.atproto.identity.updateHandle", false, true),
            ("com.atproto.identity.submitPlcOperation", false, true),
            ("com.atproto.identity.refreshIdentity", false, true),
            ("com.atproto.identity.signPlcOperation", false, false),
            ("com.atproto.identity.resolveIdentity", false, false),
            ("com.atproto.server.updateEmail", true, false),
            ("com.atproto.server.confirmEmail", true, false),
            (GET_SESSION, false, false),
        ] {
            let found = (changes_email(method), changes_identity(method));
            assert_eq!(found, (email, identity), "{method}");
        }
    }

    #[test]
    fn nothing_else_is_taken_out() {
        let session = br#"{"did":"did:web:a.example","email":"a@mail.example","emailConfirmed":true,"active":true}"#;
        let told = without_email(session).unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(
            told,
            serde_json::json!({ "did": "did:web:a.example", "active": true })
        );
        assert!(without_email(b"[]").is_none());
        assert!(without_email(b"<html>").is_none());
    }
}
