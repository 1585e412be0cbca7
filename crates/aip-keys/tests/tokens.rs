//! Tokens: told apart and checked without asking the database.

use std::collections::HashSet;

use aip_base::SystemRng;
use aip_keys::{MasterKeys, PresentedToken, TokenKind, TokenShapeError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use strum::IntoEnumIterator as _;

fn mint(kind: TokenKind) -> String {
    kind.mint(&SystemRng).expose_secret().to_owned()
}

#[test]
fn every_kind_has_a_prefix_of_its_own_and_recognises_its_tokens_alone() {
    let prefixes: HashSet<_> = TokenKind::iter().map(TokenKind::prefix).collect();
    assert_eq!(prefixes.len(), TokenKind::iter().len());
    for kind in TokenKind::iter() {
        let token = mint(kind);
        assert_eq!(token.len(), kind.prefix().len() + 43 + 6);
        assert_ne!(token, mint(kind));
        for other in TokenKind::iter() {
            let expected = if other == kind {
                Ok(())
            } else {
                Err(TokenShapeError::WrongKind { found: kind })
            };
            assert_eq!(other.parse(&token).map(drop), expected);
        }
    }
}

#[test]
fn a_token_renamed_to_another_kind_is_refused() {
    let renamed = mint(TokenKind::Code).replace("aip_ac_", "aip_at_");
    assert_eq!(
        TokenKind::AccessToken.parse(&renamed).map(drop),
        Err(TokenShapeError::Checksum)
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let token = mint(TokenKind::AccessToken);
    for text in [
        "",
        "aip_at_",
        "eyJhbGciOiJFUzI1NiJ9.e30.AA",
        &token[1..],
        &format!("{token} "),
    ] {
        assert_eq!(
            PresentedToken::parse(text).map(PresentedToken::kind),
            Err(TokenShapeError::Unknown),
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_mistyped_token_is_refused(at in 7..56_usize, by in "[A-Za-z0-9_-]") {
        let mut token = mint(TokenKind::RefreshToken);
        prop_assume!(token[at..=at] != by);
        token.replace_range(at..=at, &by);
        prop_assert_eq!(TokenKind::RefreshToken.parse(&token).map(drop), Err(TokenShapeError::Checksum));
    }

    #[test]
    fn anything_sent_as_a_token_is_refused_without_a_panic(
        text in "(aip_at_)?.{0,60}",
        exact in "aip_rt_[a-zé-]{45}.{2}",
    ) {
        prop_assert!(PresentedToken::parse(&text).is_err());
        prop_assert!(PresentedToken::parse(&exact).is_err());
    }
}

#[test]
fn a_pairwise_subject_follows_from_pepper_sector_and_account() {
    let pepper = |byte: u8| URL_SAFE_NO_PAD.encode([byte; 32]);
    let keys = |kid: &str, key: u8, secret: u8| {
        let (key, secret) = (pepper(key), pepper(secret));
        let json = format!(
            r#"{{"primary":"{kid}","keys":[{{"kid":"{kid}","key":"{key}"}}],"token_pepper":"{secret}"}}"#
        );
        MasterKeys::from_json(&json).unwrap().token_hasher()
    };
    let did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
    let subject = keys("k1", 1, 7).pairwise_subject("app.example", did);
    // HMAC-SHA-256 of "app.example", NUL and the DID, under HMAC-SHA-256 of "aip pairwise subject v1"
    // and the byte 1, under the pepper of 32 bytes 7.
    assert_eq!(
        subject.as_str(),
        "vwiebzoE4GwDPKepYpV1gG7e2gAJnjGEMgFSLDdV1Wc"
    );
    assert_eq!(subject.as_str().parse(), Ok(subject.clone()));
    // The master key is replaced as keys are rotated, the pepper never.
    let rotated = keys("k2", 2, 7);
    assert_eq!(rotated.pairwise_subject("app.example", did), subject);
    let others = [
        keys("k1", 1, 8).pairwise_subject("app.example", did),
        rotated.pairwise_subject("other.example", did),
        rotated.pairwise_subject("app.example", "did:web:a.example"),
        rotated.pairwise_subject("app.exampl", "e"),
        rotated.pairwise_subject("", "app.example"),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, subject);
        assert!(!others[..at].contains(other), "{other}");
    }
}
