//! How domain values lie in columns: text, integers, bytes and flags, the same in both engines.

use std::time::Duration;

use aip_atproto::{Did, Handle, Issuer, Origin, ScopeSet, ServiceRef};
use aip_base::{RowId, Timestamp};
use aip_jose::JwkSet;
use aip_keys::{Sealed, TokenHash};
use aip_storage::audit::AuditKind;
use aip_storage::client::{
    AccessTokenFormat, ApplicationType, ClientAuthMethod, ClientId, GrantTypes, IdTokenAlg,
    JwksUri, RedirectUri, SecurityProfile,
};
use aip_storage::delegation::{DelegationEnd, DelegationPreset};
use aip_storage::developer_token::DeveloperTokenName;
use aip_storage::display_uri::DisplayUri;
use aip_storage::grant::RevokeReason;
use aip_storage::logout::{LogoutFormat, LogoutUri};
use aip_storage::request::ResponseMode;
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::{ResourceList, ResourceUri};
use aip_storage::sector::{Sector, SectorId};
use aip_storage::upstream::{EndReason, ReauthReason, SessionKind, StateName};

/// A value that fits one column.
pub(crate) trait Stored: Sized {
    /// The driver's type of the column.
    type Column;

    /// The value as it is written.
    fn to_column(&self) -> Self::Column;

    /// The value as it is read; `None` if this program never writes such a column.
    fn from_column(column: Self::Column) -> Option<Self>;
}

/// Types that are their own column.
macro_rules! stored_as_is {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            type Column = Self;

            fn to_column(&self) -> Self {
                self.clone()
            }

            fn from_column(column: Self) -> Option<Self> {
                Some(column)
            }
        }
    )*};
}

stored_as_is!(String, i64, bool);

/// Types that are written with `Display` and read with `FromStr`.
macro_rules! stored_as_text {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            type Column = String;

            fn to_column(&self) -> String {
                self.to_string()
            }

            fn from_column(column: String) -> Option<Self> {
                column.parse().ok()
            }
        }
    )*};
}

stored_as_text!(
    ClientId,
    DeveloperTokenName,
    Did,
    DisplayUri,
    GrantTypes,
    Handle,
    Issuer,
    JwksUri,
    LogoutUri,
    Origin,
    RedirectUri,
    RequestedClaims,
    ResourceList,
    ResourceUri,
    RowId,
    ScopeSet,
    Sector,
    SectorId,
    ServiceRef
);

/// Closed lists of words, read by `FromStr` or from the type's `ALL`.
macro_rules! stored_as_word {
    ($($type:ty => $read:expr),*) => {$(
        impl Stored for $type {
            type Column = String;

            fn to_column(&self) -> String {
                self.as_str().to_owned()
            }

            fn from_column(column: String) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                read(&column)
            }
        }
    )*};
}

stored_as_word!(
    AccessTokenFormat => |s| s.parse().ok(),
    ApplicationType => |s| s.parse().ok(),
    ClientAuthMethod => |s| s.parse().ok(),
    IdTokenAlg => |s| s.parse().ok(),
    AuditKind => |s| s.parse().ok(),
    DelegationEnd => |s| s.parse().ok(),
    DelegationPreset => |s| s.parse().ok(),
    EndReason => |s| s.parse().ok(),
    LogoutFormat => |s| s.parse().ok(),
    ReauthReason => |s| s.parse().ok(),
    ResponseMode => |s| s.parse().ok(),
    RevokeReason => |s| s.parse().ok(),
    SecurityProfile => |s| s.parse().ok(),
    SessionKind => |s| s.parse().ok(),
    StateName => |s| s.parse().ok()
);

/// Unsigned numbers; the engines have none.
macro_rules! stored_as_integer {
    ($($type:ty),*) => {$(
        impl Stored for $type {
            type Column = i64;

            fn to_column(&self) -> i64 {
                i64::try_from(*self).unwrap_or(i64::MAX)
            }

            fn from_column(column: i64) -> Option<Self> {
                Self::try_from(column).ok()
            }
        }
    )*};
}

stored_as_integer!(u32, u64);

impl Stored for Timestamp {
    type Column = i64;

    fn to_column(&self) -> i64 {
        self.as_micros()
    }

    fn from_column(column: i64) -> Option<Self> {
        Some(Self::from_micros(column))
    }
}

impl Stored for Duration {
    type Column = i64;

    fn to_column(&self) -> i64 {
        i64::try_from(self.as_micros()).unwrap_or(i64::MAX)
    }

    fn from_column(column: i64) -> Option<Self> {
        u64::try_from(column).ok().map(Self::from_micros)
    }
}

impl Stored for TokenHash {
    type Column = Vec<u8>;

    fn to_column(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_column(column: Vec<u8>) -> Option<Self> {
        Some(Self::from_bytes(column.try_into().ok()?))
    }
}

impl Stored for Sealed {
    type Column = String;

    fn to_column(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_column(column: String) -> Option<Self> {
        Some(Self::from_stored(column))
    }
}

/// A JWK Set of public keys (RFC 7517 §5), as JSON.
impl Stored for JwkSet {
    type Column = String;

    fn to_column(&self) -> String {
        self.to_json()
    }

    fn from_column(column: String) -> Option<Self> {
        Self::from_json(column.as_bytes()).ok()
    }
}

/// A JSON array of strings: the one list in a column.
impl Stored for Vec<RedirectUri> {
    type Column = String;

    fn to_column(&self) -> String {
        let uris: serde_json::Value = self.iter().map(RedirectUri::as_str).collect();
        uris.to_string()
    }

    fn from_column(column: String) -> Option<Self> {
        let uris: Vec<String> = serde_json::from_str(&column).ok()?;
        uris.iter().map(|uri| uri.parse().ok()).collect()
    }
}

impl<T: Stored> Stored for Option<T> {
    type Column = Option<T::Column>;

    fn to_column(&self) -> Option<T::Column> {
        self.as_ref().map(Stored::to_column)
    }

    fn from_column(column: Option<T::Column>) -> Option<Self> {
        match column {
            None => Some(None),
            Some(column) => T::from_column(column).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_outside_its_list_is_not_read() {
        assert_eq!(
            RevokeReason::from_column("by_client".to_owned()),
            Some(RevokeReason::ByClient)
        );
        assert_eq!(
            RevokeReason::from_column("expired".to_owned()),
            Some(RevokeReason::Expired)
        );
        assert_eq!(RevokeReason::from_column("by_magic".to_owned()), None);
        assert_eq!(
            ClientAuthMethod::from_column("client_secret_jwt".to_owned()),
            None
        );
    }

    #[test]
    fn grant_types_come_back_sorted_and_at_least_one() {
        let stored =
            "refresh_token urn:ietf:params:oauth:grant-type:device_code authorization_code";
        let read = GrantTypes::from_column(stored.to_owned()).unwrap();
        assert_eq!(
            read.to_column(),
            "authorization_code refresh_token urn:ietf:params:oauth:grant-type:device_code"
        );
        for unknown in ["", "password", "refresh_token  authorization_code"] {
            assert_eq!(
                GrantTypes::from_column(unknown.to_owned()),
                None,
                "{unknown}"
            );
        }
    }

    #[test]
    fn a_negative_count_and_a_short_hash_are_not_read() {
        assert_eq!(u32::from_column(-1), None);
        assert_eq!(Duration::from_column(-1), None);
        assert!(TokenHash::from_column(vec![0; 31]).is_none());
    }

    #[test]
    fn redirect_uris_come_back_byte_for_byte() {
        let uris = vec![
            "https://app.example/cb?a=\"b\"&c=[1,2]"
                .parse::<RedirectUri>()
                .unwrap(),
            "app.example:/cb".parse::<RedirectUri>().unwrap(),
        ];
        assert_eq!(Vec::from_column(uris.to_column()), Some(uris));
    }
}
