//! Reading header fields of HTTP.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AsHeaderName, RETRY_AFTER};

/// A header field that may be there once is repeated, or is not visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header is repeated or unreadable")]
pub struct AmbiguousHeader;

/// The value of the header field `name`, at most once and as text: one that two parties could read
/// differently is an error.
pub fn single_header(
    headers: &HeaderMap,
    name: impl AsHeaderName,
) -> Result<Option<&str>, AmbiguousHeader> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(AmbiguousHeader);
    }
    first
        .map(|value| value.to_str().map_err(|_| AmbiguousHeader))
        .transpose()
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3), at most 2^32 - 1; the form with a date is ignored.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(u32::MAX.into())))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_that_could_be_read_in_two_ways_is_an_error() {
        const NAME: &str = "dpop";
        let mut headers = HeaderMap::new();
        assert_eq!(single_header(&headers, NAME), Ok(None));
        headers.append(NAME, HeaderValue::from_static("one"));
        assert_eq!(single_header(&headers, NAME), Ok(Some("one")));
        headers.append(NAME, HeaderValue::from_static("one"));
        assert_eq!(single_header(&headers, NAME), Err(AmbiguousHeader));
        headers.insert(NAME, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(single_header(&headers, NAME), Err(AmbiguousHeader));
    }

    #[test]
    fn a_pause_is_read_in_seconds() {
        let read = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(
                RETRY_AFTER,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(read(" 17 "), Some(Duration::from_secs(17)));
        assert_eq!(
            read("99999999999"),
            Some(Duration::from_secs(u32::MAX.into()))
        );
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
