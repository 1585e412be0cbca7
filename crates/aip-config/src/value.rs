//! How the text of a setting becomes a value of its type.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aip_atproto::{BaseUrl, Did, Origin};
use http::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::duration;

/// The shape of a setting in a file, for the schema.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Duration,
    Boolean,
    Integer { least: u32, most: Option<u32> },
    OneOf(&'static [&'static str]),
    List(&'static Shape),
}

/// A type that settings have.
pub(crate) trait Value: Sized {
    /// The shape of its text.
    const SHAPE: Shape;

    /// Whether its text must never be shown.
    const SECRET: bool = false;

    /// Reads a text. The reason for a refusal says what is expected and never quotes the text.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value when there is no text, if the setting may be left out.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Value> Value for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A list is written with commas, or as a JSON array.
impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self, String> {
        let members: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|_| "not a JSON array of texts".to_owned())?
        } else {
            let members = text.split(',').map(|member| member.trim().to_owned());
            members.filter(|member| !member.is_empty()).collect()
        };
        (1..)
            .zip(&members)
            .map(|(number, member)| {
                T::parse(member).map_err(|reason| format!("member {number}: {reason}"))
            })
            .collect()
    }
}

impl Value for String {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        not_empty(text).map(str::to_owned)
    }
}

impl Value for SecretString {
    const SHAPE: Shape = Shape::Text;
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self::from)
    }
}

impl Value for PathBuf {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self::from)
    }
}

impl Value for Duration {
    const SHAPE: Shape = Shape::Duration;

    fn parse(text: &str) -> Result<Self, String> {
        duration::parse(text).ok_or_else(|| {
            "expected a whole number with a unit (ms, s, m, h, d), as in `30s` or `10m`".to_owned()
        })
    }
}

impl Value for bool {
    const SHAPE: Shape = Shape::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("expected `true` or `false`".to_owned()),
        }
    }
}

impl Value for NonZeroUsize {
    const SHAPE: Shape = Shape::Integer {
        least: 1,
        most: None,
    };

    fn parse(text: &str) -> Result<Self, String> {
        let refused = |_| "expected a whole number of at least 1".to_owned();
        text.parse().map_err(refused)
    }
}

/// A port.
impl Value for u16 {
    const SHAPE: Shape = Shape::Integer {
        least: 0,
        most: Some(65535),
    };

    fn parse(text: &str) -> Result<Self, String> {
        let refused = |_| "expected a port number".to_owned();
        text.parse().map_err(refused)
    }
}

impl Value for SocketAddr {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        // `$(POD_IP):9090` of a Pod has no brackets around an IPv6 address.
        let without_brackets = || {
            let (address, port) = text.rsplit_once(':')?;
            let address: Ipv6Addr = address.parse().ok()?;
            Some(Self::new(address.into(), port.parse().ok()?))
        };
        text.parse().ok().or_else(without_brackets).ok_or_else(|| {
            "expected ADDRESS:PORT, as in `127.0.0.1:8080` or `[::1]:8080`".to_owned()
        })
    }
}

impl Value for Origin {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl Value for BaseUrl {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl Value for Did {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

/// A network; an address alone is one of its own.
impl Value for IpNet {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        let alone = || text.parse::<IpAddr>().map(Self::from);
        text.parse().or_else(|_| alone()).map_err(|_| {
            "expected ADDRESS/BITS or ADDRESS, as in `10.0.0.0/8` or `2001:db8::1`".to_owned()
        })
    }
}

/// The name of a header field, in any letters.
impl Value for HeaderName {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Self::from_bytes(text.as_bytes())
            .map_err(|_| "expected the name of a header, as in `X-Forwarded-For`".to_owned())
    }
}

fn not_empty(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_family_may_stand_before_a_port() {
        for (text, read) in [
            ("10.1.2.3:9090", "10.1.2.3:9090"),
            ("[fd00::5]:9090", "[fd00::5]:9090"),
            ("fd00::5:9090", "[fd00::5]:9090"),
            (":::80", "[::]:80"),
        ] {
            let address = <SocketAddr as Value>::parse(text).unwrap();
            assert_eq!(address.to_string(), read);
        }
        for text in [
            "",
            "fd00::5",
            "10.1.2.3",
            "fd00::5:",
            "fd00::5:99999",
            "a:b:80",
        ] {
            assert!(<SocketAddr as Value>::parse(text).is_err(), "{text}");
        }
    }
}
