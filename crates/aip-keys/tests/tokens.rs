//! Tokens: told apart and checked without asking the database.

use std::collections::HashSet;

use aip_base::SystemRng;
use aip_keys::{PresentedToken, TokenKind, TokenShapeError};
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
