//! The `claims` parameter (OpenID Connect Core §5.5), `acr_values` and what both mean for the sign-in.
//!
//! Claims that this server does not know are ignored, also essential ones (§5.5.1). Of a person's
//! authentication it knows no more than that their PDS signed them in, and perhaps when: the only
//! `acr` that it can tell is [`ACR`].

use std::collections::BTreeMap;

use aip_storage::requested_claims::{ClaimName, ClaimPlace, RequestedClaims};
use aip_storage::subject::Subject;
use serde::Deserialize;
use serde_json::Value;

use super::error::RefusalCode;
use crate::id_token::ACR;
use crate::invalid_values::quoted;
use crate::params::Params;

/// The longest `claims` and `acr_values`, in bytes.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// The `max_age` of who asks for a sign-in of any age whose time is known.
const NO_MAX_AGE: u64 = u64::MAX;

/// What an app asks to be told, and of whom.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClaimsParameter {
    /// The claims that it asks for by name.
    pub(super) claims: RequestedClaims,
    /// For each `sub` with a value: the accounts that it accepts.
    pub(super) subjects: Vec<Vec<Subject>>,
    /// The `max_age` that follows from an essential `auth_time` (§2).
    pub(super) max_age: Option<u64>,
}

/// The members of `claims`; others are ignored.
#[derive(Deserialize)]
struct Members {
    id_token: Option<Claims>,
    userinfo: Option<Claims>,
}

/// Claims by name. `null` asks for a claim without saying more.
type Claims = BTreeMap<String, Option<ClaimConstraint>>;

/// What is said of one claim (§5.5.1); other members are ignored.
#[derive(Deserialize)]
struct ClaimConstraint {
    #[serde(default)]
    essential: bool,
    value: Option<Value>,
    values: Option<Vec<Value>>,
}

impl ClaimConstraint {
    /// The values that are acceptable; `None`: any.
    fn acceptable(&self) -> Option<Vec<&Value>> {
        match (&self.value, &self.values) {
            (None, None) => None,
            (value, values) => Some(value.iter().chain(values.iter().flatten()).collect()),
        }
    }
}

impl ClaimsParameter {
    /// Reads both parameters. A client with `pairwise` subjects names nobody by a DID: whether anybody
    /// is let in would tell it whose account it is.
    pub(super) fn read(params: &Params, pairwise: bool) -> Result<Self, (RefusalCode, String)> {
        let mut read = Self::default();
        if let Some(text) = params.get("acr_values") {
            check_length("acr_values", text)?;
            read.claims.add(ClaimPlace::IdToken, ClaimName::Acr);
        }
        let Some(text) = params.get("claims") else {
            return Ok(read);
        };
        check_length("claims", text)?;
        let members: Members = serde_json::from_str(text).map_err(|error| {
            let what = format!(
                "`claims` is not the JSON of OpenID Connect Core §5.5 (line {}, column {})",
                error.line(),
                error.column()
            );
            (RefusalCode::InvalidRequest, what)
        })?;
        let places = [
            (ClaimPlace::IdToken, members.id_token),
            (ClaimPlace::Userinfo, members.userinfo),
        ];
        for (place, claims) in places {
            for (name, wish) in claims.into_iter().flatten() {
                read.add(place, &name, wish.as_ref(), pairwise)?;
            }
        }
        Ok(read)
    }

    fn add(
        &mut self,
        place: ClaimPlace,
        name: &str,
        wish: Option<&ClaimConstraint>,
        pairwise: bool,
    ) -> Result<(), (RefusalCode, String)> {
        let acceptable = wish.and_then(ClaimConstraint::acceptable);
        let is_essential = wish.is_some_and(|it| it.essential);
        match (name, place) {
            ("sub", _) => {
                if let Some(values) = acceptable {
                    let subjects = values.into_iter().map(|it| subject(it, pairwise));
                    self.subjects.push(subjects.collect::<Result<_, _>>()?);
                }
            }
            ("auth_time", ClaimPlace::IdToken) if is_essential => {
                self.max_age = Some(NO_MAX_AGE);
            }
            // §5.5.1.1: an essential `acr` that cannot be had is a failed authentication.
            ("acr", ClaimPlace::IdToken)
                if is_essential
                    && acceptable.is_some_and(|it| !it.iter().any(|it| **it == ACR)) =>
            {
                return Err((
                    RefusalCode::UnmetAuthenticationRequirements,
                    format!("the only `acr` of this server is `{ACR}`"),
                ));
            }
            // Userinfo says nothing of an authentication.
            ("acr", ClaimPlace::Userinfo) => {}
            _ => {
                if let Ok(known) = name.parse() {
                    self.claims.add(place, known);
                }
            }
        }
        Ok(())
    }
}

fn check_length(name: &str, text: &str) -> Result<(), (RefusalCode, String)> {
    if text.len() <= MAX_CLAIMS_BYTES {
        return Ok(());
    }
    Err((
        RefusalCode::InvalidRequest,
        format!("`{name}` is longer than {MAX_CLAIMS_BYTES} bytes"),
    ))
}

fn subject(value: &Value, pairwise: bool) -> Result<Subject, (RefusalCode, String)> {
    let subject = value.as_str().and_then(|text| text.parse().ok());
    let subject = subject.filter(|it| matches!(it, Subject::Pairwise(_)) == pairwise);
    subject.ok_or_else(|| {
        let shown = quoted(&value.to_string());
        let kind = if pairwise { "pairwise subject" } else { "DID" };
        let what = format!("`claims` asks for the `sub` {shown}, which is no {kind}");
        (RefusalCode::InvalidRequest, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claims: &str) -> Result<ClaimsParameter, RefusalCode> {
        read_for(claims, false)
    }

    fn read_for(claims: &str, pairwise: bool) -> Result<ClaimsParameter, RefusalCode> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("claims", claims)
            .finish();
        let params = Params::parse(query.as_bytes()).unwrap();
        ClaimsParameter::read(&params, pairwise).map_err(|(code, _)| code)
    }

    #[test]
    fn claims_that_are_not_known_are_ignored() {
        let claims = r#"{"id_token": {"name": null, "website": {"essential": true},
            "http://example.info/claims/groups": {"values": [1, {}], "more": []}},
            "userinfo": {"email": {"essential": true}, "acr": null}, "other": 1}"#;
        let read = read(claims).unwrap();
        assert_eq!(read.claims.to_string(), "id_token.name userinfo.email");
        assert_eq!((read.subjects.len(), read.max_age), (0, None));
    }

    #[test]
    fn the_subjects_that_are_acceptable_are_accounts() {
        let claims = r#"{"id_token": {"sub": {"value": "did:plc:ewvi7nxzyoun6zhxrhs64oiz"}},
            "userinfo": {"sub": {"values": ["did:web:a.example", "did:web:b.example"]}}}"#;
        let counts: Vec<_> = read(claims)
            .unwrap()
            .subjects
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(counts, [1, 2]);
        for value in [r#""alice""#, "7", "{}"] {
            let claims = format!(r#"{{"id_token": {{"sub": {{"value": {value}}}}}}}"#);
            assert_eq!(read(&claims), Err(RefusalCode::InvalidRequest), "{value}");
        }
        // Whichever kind the client has, the other one is none of its subjects.
        let sub = |value: &str| format!(r#"{{"id_token": {{"sub": {{"value": "{value}"}}}}}}"#);
        let (did, pairwise) = (sub("did:web:a.example"), sub(&"A".repeat(43)));
        assert_eq!(read_for(&pairwise, true).unwrap().subjects.len(), 1);
        let refused = Err(RefusalCode::InvalidRequest);
        assert_eq!(read_for(&did, true), refused);
        assert_eq!(read_for(&pairwise, false), refused);
    }

    #[test]
    fn an_essential_acr_that_cannot_be_had_is_reported() {
        let claims = |wish: &str| format!(r#"{{"id_token": {{"acr": {wish}}}}}"#);
        for wish in [
            "null",
            r#"{"essential": true}"#,
            r#"{"essential": true, "values": ["1", "0"]}"#,
            r#"{"values": ["1"]}"#,
        ] {
            let read = read(&claims(wish)).unwrap();
            assert_eq!(read.claims.to_string(), "id_token.acr", "{wish}");
        }
        for wish in [
            r#"{"essential": true, "value": "1"}"#,
            r#"{"essential": true, "values": []}"#,
        ] {
            let refused = Err(RefusalCode::UnmetAuthenticationRequirements);
            assert_eq!(read(&claims(wish)), refused, "{wish}");
        }
    }

    #[test]
    fn an_essential_auth_time_wants_a_sign_in_whose_time_is_known() {
        let max_age = |wish: &str| {
            let claims = format!(r#"{{"id_token": {{"auth_time": {wish}}}}}"#);
            read(&claims).unwrap().max_age
        };
        assert_eq!(max_age(r#"{"essential": true}"#), Some(NO_MAX_AGE));
        assert_eq!(max_age("null"), None);
    }

    #[test]
    fn what_is_no_claims_request_is_refused() {
        let long = format!(r#"{{"x": "{}"}}"#, "x".repeat(MAX_CLAIMS_BYTES));
        let deep = "[".repeat(4000);
        for claims in [
            "claims",
            "[]",
            "{",
            "1",
            r#"{"id_token": []}"#,
            r#"{"userinfo": {"name": 1}}"#,
            &long,
            &deep,
        ] {
            assert_eq!(read(claims), Err(RefusalCode::InvalidRequest), "{claims}");
        }
    }
}
