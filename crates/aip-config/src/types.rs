//! Types of single settings.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use aip_base::{DatabaseUrl, InvalidDatabaseUrl};
use secrecy::{ExposeSecret as _, SecretString};

use crate::value::{Shape, Value};

/// The URL of a Valkey or Redis server. It may hold a password.
#[derive(Debug, Clone)]
pub struct RedisUrl(SecretString);

/// The URL of a stream of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventStreamUrl(String);

/// A JWK Set of private keys.
#[derive(Debug, Clone)]
pub enum JsonWebKeys {
    /// The path of a file with the JWK Set.
    File(PathBuf),
    /// The set itself.
    Json(SecretString),
}

/// A host of a development set-up, dialled at a fixed address whatever DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevelopmentHost {
    /// The host name, without a port.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// Its port; that of the URL unless given.
    pub port: Option<u16>,
}

/// A DNS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

/// What is logged: directives with commas, each a level or `TARGET=LEVEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// Which clients may register themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientRegistration {
    /// None.
    Off,
    /// Those with an initial access token (RFC 7591 §1.2).
    Token,
    /// All.
    Open,
}

impl Value for ClientRegistration {
    const SHAPE: Shape = Shape::OneOf(&["off", "token", "open"]);

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "token" => Ok(Self::Token),
            "open" => Ok(Self::Open),
            _ => Err("expected `off`, `token` or `open`".to_owned()),
        }
    }
}

impl Value for DatabaseUrl {
    const SHAPE: Shape = Shape::Text;
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: InvalidDatabaseUrl| error.to_string())
    }
}

impl RedisUrl {
    /// The URL, to connect with.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Value for RedisUrl {
    const SHAPE: Shape = Shape::Text;
    const SECRET: bool = true;

    /// Which of the forms it is, and whether it is right, `aip-shared-state` says.
    fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        let base = scheme.and_then(|scheme| scheme.split('+').next());
        match base {
            Some("redis" | "rediss" | "valkey" | "valkeys" | "unix") => Ok(Self(text.into())),
            _ => Err("expected `redis://…`, `rediss://…` or `unix://…`".to_owned()),
        }
    }
}

impl EventStreamUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for EventStreamUrl {
    const SHAPE: Shape = Shape::Text;

    /// Which of the protocols it is, and whether it is right, `aip-events` says.
    fn parse(text: &str) -> Result<Self, String> {
        let known = ["ws://", "wss://"].iter().any(|it| text.starts_with(it));
        known
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| "expected `wss://…` or `ws://…`".to_owned())
    }
}

impl Value for JsonWebKeys {
    const SHAPE: Shape = Shape::Text;
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            Ok(Self::Json(text.into()))
        } else {
            PathBuf::parse(text).map(Self::File)
        }
    }
}

impl Value for DevelopmentHost {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("expected NAME=ADDRESS")?;
        let (address, port) = address_and_port(address)
            .ok_or("expected an IP address, perhaps with a port, after `=`")?;
        Ok(Self {
            name: name.to_owned(),
            address,
            port,
        })
    }
}

impl Value for NameServer {
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, String> {
        const DNS: u16 = 53;
        let (address, port) =
            address_and_port(text).ok_or("expected an IP address, perhaps with a port")?;
        Ok(Self(SocketAddr::new(address, port.unwrap_or(DNS))))
    }
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn address_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let alone = text.parse().ok().map(|address| (address, None));
    alone.or_else(|| {
        let socket: SocketAddr = text.parse().ok()?;
        Some((socket.ip(), Some(socket.port())))
    })
}

impl LogFilter {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// The directives, as they were written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for LogFilter {
    const SHAPE: Shape = Shape::Text;

    /// The library that filters takes a bare word that is no level for a part of the program, and
    /// then everything else is off: `warning` would end the log without a word.
    fn parse(text: &str) -> Result<Self, String> {
        let directives = text.split(',').map(str::trim);
        let mut any = false;
        for directive in directives.filter(|directive| !directive.is_empty()) {
            any = true;
            if directive.contains('[') {
                return Err(format!(
                    "`{directive}` is about spans, by which nothing is filtered"
                ));
            }
            let level = match directive.split_once('=') {
                Some(("", _)) => {
                    return Err(format!("there is nothing before `=` in `{directive}`"));
                }
                Some((_, level)) => level,
                None => directive,
            };
            let lower = level.to_ascii_lowercase();
            if Self::LEVELS.contains(&lower.as_str()) {
                continue;
            }
            let near = Self::LEVELS
                .iter()
                .find(|known| {
                    !lower.is_empty() && (lower.starts_with(**known) || known.starts_with(&lower))
                })
                .map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
            return Err(format!(
                "`{level}` is no level{near}: expected off, error, warn, info, debug or trace, or \
                 one of them for a part of the program, as in `info,aip_sessions=debug`"
            ));
        }
        if !any {
            return Err("it is empty".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Value for LogFormat {
    const SHAPE: Shape = Shape::OneOf(&["json", "pretty"]);

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("expected `json` or `pretty`".to_owned()),
        }
    }
}
