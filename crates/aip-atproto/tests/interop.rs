//! The public interoperability vectors of the AT Protocol, and where this server is stricter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy looks for tests in `#[test]` functions only"
)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use aip_atproto::{AtIdentifier, AtUri, AtUriError, Did, DidError, Handle, Nsid};

/// Well-formed for `did:plc`, which the stand-ins in the URI vectors are not.
const REAL_DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";

fn lines(file: &'static str) -> Vec<&'static str> {
    let lines: Vec<_> = file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(lines.len() > 10, "the vectors are there");
    lines
}

fn all_parse<T>(vectors: &[&str], canonical: impl Fn(&str) -> String)
where
    T: FromStr<Err: Debug> + Display + AsRef<str>,
{
    for text in vectors {
        let parsed: T = text
            .parse()
            .unwrap_or_else(|e| panic!("{text:?} is valid: {e:?}"));
        assert_eq!(parsed.to_string(), canonical(text));
        assert_eq!(parsed.as_ref(), canonical(text));
    }
}

fn none_parses<T: FromStr>(vectors: &[&str]) {
    for text in vectors {
        assert!(text.parse::<T>().is_err(), "{text:?} is invalid");
    }
}

#[test]
fn handles_are_read_in_any_case_and_kept_in_lower_case() {
    let valid = lines(include_str!("vectors/handle_syntax_valid.txt"));
    all_parse::<Handle>(&valid, str::to_ascii_lowercase);
    all_parse::<AtIdentifier>(&valid, str::to_ascii_lowercase);
    none_parses::<Handle>(&lines(include_str!("vectors/handle_syntax_invalid.txt")));
}

#[test]
fn nsids_are_kept_as_written() {
    all_parse::<Nsid>(
        &lines(include_str!("vectors/nsid_syntax_valid.txt")),
        str::to_owned,
    );
    none_parses::<Nsid>(&lines(include_str!("vectors/nsid_syntax_invalid.txt")));
}

#[test]
fn of_all_valid_dids_only_those_of_blessed_methods_are_accepted() {
    let blessed = [REAL_DID, "did:web:example.com", "did:web:localhost%3A1234"];
    let (accepted, others): (Vec<_>, Vec<_>) = lines(include_str!("vectors/did_syntax_valid.txt"))
        .into_iter()
        .partition(|text| blessed.contains(text));
    assert_eq!(accepted, blessed);
    all_parse::<Did>(&accepted, str::to_owned);
    all_parse::<AtIdentifier>(&accepted, str::to_owned);
    for text in others {
        assert_eq!(text.parse::<Did>(), Err(DidError::Method), "{text:?}");
    }
    none_parses::<Did>(&lines(include_str!("vectors/did_syntax_invalid.txt")));
}

#[test]
fn what_is_neither_did_nor_handle_is_no_at_identifier() {
    none_parses::<AtIdentifier>(&lines(include_str!(
        "vectors/atidentifier_syntax_invalid.txt"
    )));
}

#[test]
fn at_uris_follow_the_restricted_syntax_and_name_accounts_with_blessed_dids() {
    for text in lines(include_str!("vectors/aturi_syntax_valid.txt")) {
        // Two stand-ins of the vectors are no DIDs that anybody could resolve.
        let real = text
            .replace("did:plc:asdf123", REAL_DID)
            .replace("did:abc:123", REAL_DID);
        all_parse::<AtUri>(&[&real], str::to_owned);
        if real != text {
            assert!(
                matches!(text.parse::<AtUri>(), Err(AtUriError::Authority(_))),
                "{text:?}"
            );
        }
    }
    for text in lines(include_str!("vectors/aturi_syntax_invalid.txt")) {
        let real = text.replace("did:plc:asdf123", REAL_DID);
        none_parses::<AtUri>(&[text, &real]);
    }
}

#[test]
fn json_strings_become_identifiers_or_an_error_that_says_why() {
    let did: Did = serde_json::from_str(&format!("\"{REAL_DID}\"")).unwrap();
    assert_eq!(did.as_str(), REAL_DID);
    let escaped: Handle = serde_json::from_str(r#""\u0061lice.test""#).unwrap();
    assert_eq!(escaped.as_str(), "alice.test");
    let error = serde_json::from_str::<Did>("\"did:key:z6Mk\"").unwrap_err();
    assert!(
        error.to_string().starts_with(&DidError::Method.to_string()),
        "{error}"
    );
}
