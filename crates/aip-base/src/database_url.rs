//! Where a database is: parsed once, and nowhere judged again by its prefix.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

use crate::without_credentials;

/// Where a database is.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A SQLite file; its path may be relative.
    Sqlite(PathBuf),
    /// A PostgreSQL server: a URL that begins with `postgres://` and may hold a password.
    Postgres(SecretString),
}

/// Not a URL of a database. It is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `postgres://…` or `sqlite://PATH`")]
pub struct InvalidDatabaseUrl;

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    /// `sqlite://PATH`, `postgres://…` or `postgresql://…`; `postgresql+asyncpg://…`, which names a
    /// Python driver, is from earlier deployments.
    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidDatabaseUrl)?;
        match scheme {
            _ if rest.is_empty() => Err(InvalidDatabaseUrl),
            "sqlite" => Ok(Self::Sqlite(rest.into())),
            "postgres" | "postgresql" | "postgresql+asyncpg" => {
                Ok(Self::Postgres(format!("postgres://{rest}").into()))
            }
            _ => Err(InvalidDatabaseUrl),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_credentials(url.expose_secret())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_its_engine_once() {
        let path = "sqlite://./data/aip.db".parse();
        assert!(matches!(path, Ok(DatabaseUrl::Sqlite(path)) if path == *"./data/aip.db"));
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            let url = format!("{scheme}://u:p@db.example:6432/aip").parse();
            let Ok(DatabaseUrl::Postgres(url)) = url else {
                panic!("{scheme}");
            };
            assert_eq!(url.expose_secret(), "postgres://u:p@db.example:6432/aip");
        }
        for text in ["mysql://db/aip", "aip.db", "", "sqlite://", "postgres:db"] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_password() {
        let url: DatabaseUrl = "postgres://aip:secret@db/aip".parse().unwrap();
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("secret@"), "{shown}");
        assert!(url.to_string().contains("db/aip"), "{url}");
    }
}
