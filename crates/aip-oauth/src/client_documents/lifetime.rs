//! For how long a document is taken to be as it was read: as its headers say (RFC 9111 §5.2.2), within
//! bounds (draft-ietf-oauth-client-id-metadata-document-02 §5.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// However short its headers say: a person signs in with several requests.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
/// However long its headers say: what an app takes back is taken back within that time.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// For a document that says nothing.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);

/// The lifetime of an answer with these headers.
pub(super) fn lifetime(headers: &HeaderMap) -> Duration {
    let mut max_age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim().to_ascii_lowercase();
            match name.as_str() {
                "no-store" | "no-cache" => return MIN_LIFETIME,
                "max-age" => max_age = seconds(value),
                _ => {}
            }
        }
    }
    let Some(max_age) = max_age else {
        return DEFAULT_LIFETIME;
    };
    let age = headers.get(AGE).and_then(|it| it.to_str().ok());
    let age = age.and_then(seconds).unwrap_or_default();
    max_age
        .saturating_sub(age)
        .clamp(MIN_LIFETIME, MAX_LIFETIME)
}

/// RFC 9111 §1.2.2, and in quotes as some servers write it.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim().trim_matches('"');
    digits.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_how_long_a_document_holds_within_bounds() {
        let of = |headers: &[(http::HeaderName, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, value.parse().unwrap());
            }
            lifetime(&map).as_secs()
        };
        for (value, expected) in [
            ("max-age=600", 600),
            ("public, Max-Age=900, must-revalidate", 900),
            ("max-age=\"120\"", 120),
            ("max-age=0", 60),
            ("no-store", 60),
            ("max-age=600, no-cache", 60),
            ("max-age=99999999999", 3600),
            ("max-age=99999999999999999999999", 600),
            ("max-age=-1", 600),
            ("max-age", 600),
            ("", 600),
            ("private", 600),
        ] {
            assert_eq!(of(&[(CACHE_CONTROL, value)]), expected, "{value}");
        }
        assert_eq!(of(&[]), 600);
        let aged = of(&[(CACHE_CONTROL, "max-age=600"), (AGE, "500")]);
        assert_eq!(aged, 100);
        let over = of(&[(CACHE_CONTROL, "max-age=600"), (AGE, "5000")]);
        assert_eq!(over, 60);
    }
}
