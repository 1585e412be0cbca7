//! Texts for logs, messages and screens without the credentials that URLs in them may hold
//! (RFC 3986 §3.2.1: applications should not render as clear text what follows the first colon).

use std::borrow::Cow;

/// What stands in their place.
const REPLACEMENT: &str = "***";
/// Parts of the names of query parameters whose values are credentials.
const SECRET_NAMES: &[&str] = &[
    "pass", "pwd", "secret", "token", "key", "auth", "sig", "cred", "dsn",
];

/// `text` with `***` for the user information of every URL in it, and for the values of query
/// parameters that are named like credentials. A URL may stand alone, in a list with commas or
/// blanks, or between quotes; one whose scheme was forgotten counts if it has a colon before an
/// `@`.
#[must_use]
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    if !text.contains(['@', '=']) {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(|c: char| c.is_whitespace() || "\"'`<>()".contains(c));
    Cow::Owned(words.flat_map(urls).map(shown).collect())
}

/// The URLs of a list with commas, each with what stands before it.
fn urls(word: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.find("://") {
        let begin = first + "://".len();
        let next = rest[begin..].find("://").map(|next| begin + next);
        let Some(comma) = next.and_then(|next| rest[begin..next].rfind(',')) else {
            break;
        };
        let (url, others) = rest.split_at(begin + comma + 1);
        urls.push(url);
        rest = others;
    }
    urls.push(rest);
    urls
}

fn shown(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + "://".len()),
        None => ("", url),
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user = match rest[..authority].rfind('@') {
        Some(at) if !scheme.is_empty() || rest[..at].contains(':') => Some(at),
        // A password may hold a slash that was not encoded: then a colon comes before the slash.
        None if rest[..authority].contains(':') => rest.rfind('@'),
        _ => None,
    };
    let (hidden, rest) = user.map_or(("", rest), |at| (REPLACEMENT, &rest[at..]));
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let mut shown = format!("{scheme}{hidden}{path}");
    for parameter in query.split_inclusive(['?', '&', '#', ',', ';']) {
        match parameter.split_once('=') {
            Some((name, value)) if is_secret(name) => {
                let end = value.find(|c: char| "&#,;\"'`<>()".contains(c) || c.is_whitespace());
                let end = end.unwrap_or(value.len());
                shown.extend([name, "=", REPLACEMENT, &value[end..]]);
            }
            _ => shown.push_str(parameter),
        }
    }
    shown
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_hidden() {
        for (text, shown) in [
            (
                "https://aip:hunter2@example.org/x",
                "https://***@example.org/x",
            ),
            ("https://hunter2@example.org", "https://***@example.org"),
            (
                "redis://:hun@ter2@valkey:6379/1",
                "redis://***@valkey:6379/1",
            ),
            ("postgres://aip:hun/ter2@db/aip", "postgres://***@db/aip"),
            ("aip:hunter2@example.org", "***@example.org"),
            (
                "http://a:hunter2@one, http://b:hunter2@two",
                "http://***@one, http://***@two",
            ),
            (
                "http://a:hunter2@one,http://two,http://c:hun,ter2@three",
                "http://***@one,http://two,http://***@three",
            ),
            (
                r#"["http://a:hunter2@one","http://b:hunter2@two"]"#,
                r#"["http://***@one","http://***@two"]"#,
            ),
            (
                "cannot reach `http://a:hunter2@one`: refused",
                "cannot reach `http://***@one`: refused",
            ),
        ] {
            assert_eq!(without_credentials(text), shown, "{text}");
        }
    }

    #[test]
    fn parameters_that_are_credentials_are_hidden() {
        for (text, shown) in [
            (
                "http://c:4318/v1/traces?api_key=hunter2&tenant=a",
                "http://c:4318/v1/traces?api_key=***&tenant=a",
            ),
            (
                "redis+sentinel://s/x?sentinel_password=hunter2",
                "redis+sentinel://s/x?sentinel_password=***",
            ),
            ("https://a/?token=hunter2#x", "https://a/?token=***#x"),
        ] {
            assert_eq!(without_credentials(text), shown, "{text}");
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in [
            "https://example.org:8443/path?a=1",
            "https://example.org/@alice",
            "@alice.test",
            "alice@example.org",
            "pds.test=127.0.0.1:443",
            "atproto repo:app.bsky.feed.post?action=create",
            "info,aip=debug",
            "",
        ] {
            assert_eq!(without_credentials(text), text);
        }
    }
}
