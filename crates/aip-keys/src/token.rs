//! The tokens and secrets that AIP hands out: `<prefix><43 characters><6 characters checksum>`.
//!
//! The prefix tells kinds apart and lets secret scanners find leaks; the checksum lets a typo be
//! refused without asking the database. Neither is a protection: the 256 random bits are.

use std::fmt;

use aip_base::Rng;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use strum::IntoEnumIterator as _;
use zeroize::Zeroizing;

/// What a token of AIP is for; its prefix says so (secret scanners know it by that).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumIter)]
pub enum TokenKind {
    /// An opaque access token for an account.
    AccessToken,
    /// An opaque access token of a client itself, for no account.
    ClientToken,
    /// Given at `/oauth/token` with an access token, and exchanged there for the next.
    RefreshToken,
    /// An authorization code.
    Code,
    /// A device code (RFC 8628).
    DeviceCode,
    /// The secret of a confidential client.
    ClientSecret,
    /// The value of the cookie of a browser session.
    BrowserSession,
    /// A registration access token (RFC 7592), or an initial one.
    RegistrationToken,
    /// A token that a person made for a script of their own.
    DeveloperToken,
}

/// A token that somebody presented, of the right shape for its kind. Whether it was ever handed out is
/// another question, which [`TokenHasher::hash_token`](crate::TokenHasher::hash_token) asks.
#[derive(Clone, Copy)]
pub struct PresentedToken<'a> {
    kind: TokenKind,
    text: &'a str,
}

/// Why a text cannot be a token of AIP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenShapeError {
    /// No known prefix, or not of the right length.
    #[error("not a token of this server")]
    Unknown,
    /// The checksum does not fit: mistyped or cut.
    #[error("the token is mistyped or was cut")]
    Checksum,
    /// A token of another kind.
    #[error("a token of another kind ({found:?})")]
    WrongKind {
        /// The kind that its prefix names.
        found: TokenKind,
    },
}

/// 32 bytes in base64url.
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;

impl TokenKind {
    /// What tokens of this kind begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::AccessToken => "aip_at_",
            Self::ClientToken => "aip_ct_",
            Self::RefreshToken => "aip_rt_",
            Self::Code => "aip_ac_",
            Self::DeviceCode => "aip_dc_",
            Self::ClientSecret => "aip_cs_",
            Self::BrowserSession => "aip_bs_",
            Self::RegistrationToken => "aip_rg_",
            Self::DeveloperToken => "aip_pt_",
        }
    }

    /// A fresh token of this kind.
    pub fn mint(self, rng: &dyn Rng) -> SecretString {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill(secret.as_mut_slice());
        self.with_secret(&secret)
    }

    /// The token of this kind with these secret bytes.
    pub(crate) fn with_secret(self, secret: &[u8; 32]) -> SecretString {
        let mut token = self.prefix().to_owned();
        URL_SAFE_NO_PAD.encode_string(secret, &mut token);
        let checksum = checksum(&token);
        token.push_str(&checksum);
        token.into()
    }

    /// Takes a token of this kind, and refuses what cannot be one.
    pub fn parse(self, token: &str) -> Result<PresentedToken<'_>, TokenShapeError> {
        let presented = PresentedToken::parse(token)?;
        match presented.kind {
            found if found == self => Ok(presented),
            found => Err(TokenShapeError::WrongKind { found }),
        }
    }
}

impl<'a> PresentedToken<'a> {
    /// Takes a token of any kind, and refuses what cannot be one.
    pub fn parse(token: &'a str) -> Result<Self, TokenShapeError> {
        let (kind, rest) = TokenKind::iter()
            .find_map(|kind| Some((kind, token.strip_prefix(kind.prefix())?)))
            .ok_or(TokenShapeError::Unknown)?;
        if rest.len() != SECRET_LEN + CHECKSUM_LEN {
            return Err(TokenShapeError::Unknown);
        }
        match token.split_at_checked(token.len() - CHECKSUM_LEN) {
            Some((body, found)) if checksum(body) == found => Ok(Self { kind, text: token }),
            _ => Err(TokenShapeError::Checksum),
        }
    }

    /// What kind of token it is.
    pub fn kind(self) -> TokenKind {
        self.kind
    }

    /// The token itself, of which a proof carries a hash (RFC 9449 §4.2).
    pub fn as_str(self) -> &'a str {
        self.text
    }
}

/// Whether `text` has the form of a token of AIP v2, access or refresh: 32 bytes in base64url without
/// padding, and nothing that tells kinds apart. Those that were imported are stored under the hash of
/// the text; no token of ours has that form.
pub fn has_v2_form(text: &str) -> bool {
    text.len() == SECRET_LEN && URL_SAFE_NO_PAD.decode(text).is_ok_and(|it| it.len() == 32)
}

impl fmt::Debug for PresentedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedToken")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The beginning of the SHA-256 of everything before it.
fn checksum(body: &str) -> String {
    let mut checksum = URL_SAFE_NO_PAD.encode(digest(&SHA256, body.as_bytes()));
    checksum.truncate(CHECKSUM_LEN);
    checksum
}
