//! The claims that an app asks for one by one (the `claims` parameter, OpenID Connect Core §5.5), as
//! far as this server knows them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use strum::{EnumString, IntoStaticStr};

/// Where a claim is to be returned: a member of the `claims` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ClaimPlace {
    /// In the `id_token`.
    IdToken,
    /// By the userinfo endpoint.
    Userinfo,
}

/// A claim that an app may ask for by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ClaimName {
    /// The authentication context class, also asked for by `acr_values`.
    Acr,
    /// The e-mail address.
    Email,
    /// Whether the address is verified.
    EmailVerified,
    /// The name for display.
    Name,
    /// The URL of the picture.
    Picture,
    /// The handle.
    PreferredUsername,
    /// The URL of the page that shows the profile.
    Profile,
}

/// What an app asked for by name. Its text is a list of `place.claim`, separated by spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedClaims(BTreeSet<(ClaimPlace, ClaimName)>);

/// Not the text of requested claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a list of `id_token.claim` and `userinfo.claim`")]
pub struct InvalidRequestedClaims;

impl RequestedClaims {
    /// Adds a claim.
    pub fn add(&mut self, place: ClaimPlace, name: ClaimName) {
        self.0.insert((place, name));
    }

    /// Whether the app asked for that claim there.
    pub fn has(&self, place: ClaimPlace, name: ClaimName) -> bool {
        self.0.contains(&(place, name))
    }

    /// Whether the app asked for nothing by name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for RequestedClaims {
    type Err = InvalidRequestedClaims;

    fn from_str(text: &str) -> Result<Self, InvalidRequestedClaims> {
        let claim = |word: &str| {
            let (place, name) = word.split_once('.')?;
            Some((place.parse().ok()?, name.parse().ok()?))
        };
        let words = text.split_ascii_whitespace();
        let claims = words.map(|word| claim(word).ok_or(InvalidRequestedClaims));
        Ok(Self(claims.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for RequestedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (place, name) in &self.0 {
            write!(f, "{space}{}.{}", place.as_str(), name.as_str())?;
            space = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_claims_are_read_as_they_were_written() {
        let mut claims = RequestedClaims::default();
        assert_eq!(claims.to_string(), "");
        claims.add(ClaimPlace::Userinfo, ClaimName::EmailVerified);
        claims.add(ClaimPlace::IdToken, ClaimName::Acr);
        assert_eq!(claims.to_string(), "id_token.acr userinfo.email_verified");
        assert_eq!(claims.to_string().parse(), Ok(claims));
        assert_eq!("".parse(), Ok(RequestedClaims::default()));
        for text in ["acr", "id_token.sub", "elsewhere.acr", "id_token."] {
            assert!(text.parse::<RequestedClaims>().is_err(), "{text}");
        }
    }
}
