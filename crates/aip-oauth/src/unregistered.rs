//! What the developer of an app is shown about a redirect URI that is not registered: the commonest
//! mistake there is, and one that nobody finds who is not shown both addresses.

use aip_storage::client::{ClientId, RedirectUri};
use url::Url;

/// The most characters that are shown of what came.
const MAX_SHOWN: usize = 300;

/// A redirect URI that came and is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnregisteredUri {
    /// The app.
    pub client: ClientId,
    /// What came: cut, and with everything written out that is not visible ASCII.
    pub sent: String,
    /// The registered URI that is most like it; `None` if none is registered.
    pub nearest: Option<NearestUri>,
}

/// The registered URI that is most like the one that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearestUri {
    /// The registered URI.
    pub registered: String,
    /// In which part they differ, in words.
    pub difference: String,
}

impl UnregisteredUri {
    /// Compares what came with what is registered.
    pub fn new(client: ClientId, registered: &[RedirectUri], sent: &str) -> Self {
        let sent = shown(sent);
        let nearest = registered
            .iter()
            .map(RedirectUri::as_str)
            .max_by_key(|uri| similarity(uri, &sent))
            .map(|uri| NearestUri {
                registered: shown(uri),
                difference: difference(uri, &sent),
            });
        Self {
            client,
            sent,
            nearest,
        }
    }

    /// All of it in one line, for the log.
    pub fn to_text(&self) -> String {
        let Self { client, sent, .. } = self;
        match &self.nearest {
            Some(NearestUri {
                registered,
                difference,
            }) => format!(
                "`{sent}` is not registered for the client {client}; the nearest is \
                 `{registered}`: {difference}"
            ),
            None => format!("`{sent}` is not registered for the client {client}, which has none"),
        }
    }
}

/// Visible ASCII as it is, everything else as its code point.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_SHOWN {
            shown.push('…');
            break;
        }
        if c.is_ascii_graphic() {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// How many characters they have in common at both ends; the same host counts most.
fn similarity(one: &str, other: &str) -> (bool, usize) {
    let start = common_prefix_len(one.bytes(), other.bytes());
    let end = common_prefix_len(one.bytes().rev(), other.bytes().rev());
    let host = |uri| {
        Url::parse(uri)
            .ok()
            .and_then(|url| Some(url.host_str()?.to_owned()))
    };
    (host(one).is_some() && host(one) == host(other), start + end)
}

fn common_prefix_len(one: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>) -> usize {
    one.zip(other).take_while(|(a, b)| a == b).count()
}

/// The first part in which they differ.
fn difference(registered: &str, sent: &str) -> String {
    let (Ok(known), Ok(came)) = (Url::parse(registered), Url::parse(sent)) else {
        return "what came is no absolute URI".to_owned();
    };
    let port = |url: &Url| {
        url.port()
            .map_or_else(|| "none".to_owned(), |it| it.to_string())
    };
    let parts = [
        (
            "scheme",
            came.scheme().to_owned(),
            known.scheme().to_owned(),
        ),
        ("host", host(&came), host(&known)),
        ("port", port(&came), port(&known)),
    ];
    for (part, came, known) in parts {
        if came != known {
            return format!("the {part} that came is `{came}`, registered is `{known}`");
        }
    }
    if format!("{registered}/") == sent {
        return "what came has one slash more at the end".to_owned();
    }
    if format!("{sent}/") == registered {
        return "what came has one slash less at the end".to_owned();
    }
    let (came_path, known_path) = (came.path(), known.path());
    if came_path != known_path {
        return if came_path.eq_ignore_ascii_case(known_path) {
            "the paths differ in upper and lower case".to_owned()
        } else {
            format!("the path that came is `{came_path}`, registered is `{known_path}`")
        };
    }
    let query = |url: &Url| url.query().unwrap_or("none").to_owned();
    if came.query() != known.query() {
        let (came, known) = (query(&came), query(&known));
        return format!("the query that came is `{came}`, registered is `{known}`");
    }
    if came.fragment().is_some() {
        return "what came has a fragment".to_owned();
    }
    "they are written differently; they must be the same byte for byte".to_owned()
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("none").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(registered: &[&str], sent: &str) -> UnregisteredUri {
        let registered: Vec<_> = registered.iter().map(|uri| uri.parse().unwrap()).collect();
        UnregisteredUri::new("app".parse().unwrap(), &registered, sent)
    }

    #[test]
    fn the_first_difference_to_the_nearest_registered_uri_is_named() {
        let registered = [
            "http://127.0.0.1:3000/callback",
            "https://app.example/callback",
            "https://app.example/other?a=b",
        ];
        for (sent, nearest, difference) in [
            (
                "http://localhost:3000/callback",
                0,
                "the host that came is `localhost`, registered is `127.0.0.1`",
            ),
            (
                "http://127.0.0.1:3001/callback",
                0,
                "the port that came is `3001`, registered is `3000`",
            ),
            (
                "http://app.example/callback",
                1,
                "the scheme that came is `http`, registered is `https`",
            ),
            (
                "https://app.example/callback/",
                1,
                "what came has one slash more at the end",
            ),
            (
                "https://app.example/Callback",
                1,
                "the paths differ in upper and lower case",
            ),
            (
                "https://app.example/other?a=c",
                2,
                "the query that came is `a=c`, registered is `a=b`",
            ),
            (
                "https://app.example/callback#x",
                1,
                "what came has a fragment",
            ),
            (
                "https://APP.example/callback",
                1,
                "they are written differently; they must be the same byte for byte",
            ),
            ("not a uri", 0, "what came is no absolute URI"),
        ] {
            let found = of(&registered, sent).nearest.unwrap();
            assert_eq!(found.difference, difference, "{sent}");
            if nearest != 0 {
                assert_eq!(found.registered, registered[nearest], "{sent}");
            }
        }
        assert_eq!(of(&[], "https://app.example/").nearest, None);
    }

    #[test]
    fn what_came_is_cut_and_written_out() {
        let long = format!(
            "https://evil.example/\u{202e}<script>{}",
            "x".repeat(400_000)
        );
        let found = of(&["https://app.example/"], &long);
        assert!(
            found
                .sent
                .starts_with("https://evil.example/\\u{202e}<script>x")
        );
        assert!(found.sent.chars().count() < 320, "{}", found.sent.len());
        assert!(found.to_text().len() < 1200);
    }
}
