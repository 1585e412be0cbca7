//! What a server says about a request's credentials: challenges (RFC 9110 §11.6.1), nonces (RFC
//! 9449 §8, §9) and rejected tokens (RFC 6750 §3.1).
//!
//! The parser is our own because those at hand do not read `token68`, with which one challenge of
//! another scheme would hide all others of the header.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};

/// The most challenges and the most parameters of one that are read.
const MAX_CHALLENGES: usize = 32;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    /// The scheme, in lower case.
    scheme: String,
    /// The parameters, their names in lower case.
    params: Vec<(String, String)>,
}

impl Challenge {
    fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.params.iter();
        params
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The nonce that an answer carries.
pub fn nonce_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("dpop-nonce")?
        .to_str()
        .ok()
        .filter(|nonce| !nonce.is_empty())
}

/// Whether a server asks in a challenge to repeat the request with the nonce it gives.
pub fn is_nonce_challenge(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST)
        && nonce_of(headers).is_some()
        && challenges(headers)
            .iter()
            .any(|it| it.scheme == "dpop" && it.param("error") == Some("use_dpop_nonce"))
}

/// Whether a resource server says in a challenge that the access token is expired, revoked or
/// otherwise no good.
pub fn rejects_token(status: StatusCode, headers: &HeaderMap) -> bool {
    let ours = |scheme: &str| matches!(scheme, "dpop" | "bearer");
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST)
        && challenges(headers)
            .iter()
            .any(|it| ours(&it.scheme) && it.param("error") == Some("invalid_token"))
}

/// The words with which a resource server explains its errors about access tokens.
pub fn token_error_descriptions(headers: &HeaderMap) -> Vec<String> {
    let challenges = challenges(headers).into_iter();
    let ours = challenges.filter(|it| matches!(it.scheme.as_str(), "dpop" | "bearer"));
    ours.filter_map(|it| it.param("error_description").map(str::to_owned))
        .collect()
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        Parser(value.as_bytes()).read(&mut found);
    }
    found
}

/// What is left of a header value.
struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    /// Reads challenges until the end. What is none is passed over; commas between parameters may
    /// be missing.
    fn read(mut self, found: &mut Vec<Challenge>) {
        let mut open = false;
        while !self.0.is_empty() && found.len() <= MAX_CHALLENGES {
            let name = self.take_while(is_tchar);
            if name.is_empty() {
                self.0 = &self.0[1..];
                continue;
            }
            let spaces = self.take_while(is_space).len();
            if self.0.first() == Some(&b'=') {
                self.0 = &self.0[1..];
                self.take_while(is_space);
                let value = self.value();
                if let (true, Some(challenge)) = (open, found.last_mut())
                    && challenge.params.len() < MAX_CHALLENGES
                {
                    challenge.params.push((name, value));
                }
            } else {
                found.push(Challenge {
                    scheme: name,
                    params: Vec::new(),
                });
                open = true;
                if spaces > 0 {
                    self.pass_token68();
                }
            }
        }
    }

    /// A token or a quoted string, with its escapes undone.
    fn value(&mut self) -> String {
        if self.0.first() != Some(&b'"') {
            let length = self.0.iter().position(|byte| !is_tchar(*byte));
            let (value, rest) = self.0.split_at(length.unwrap_or(self.0.len()));
            self.0 = rest;
            return String::from_utf8_lossy(value).into_owned();
        }
        let mut value = Vec::new();
        let mut bytes = self.0[1..].iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => value.extend(bytes.next()),
                byte => value.push(*byte),
            }
        }
        self.0 = bytes.as_slice();
        String::from_utf8_lossy(&value).into_owned()
    }

    /// Passes over the `token68` of a scheme like `Basic`: it ends the challenge, so whatever
    /// looks like one and goes on is a parameter.
    fn pass_token68(&mut self) {
        let is_token68 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        let length = self.0.iter().take_while(|byte| is_token68(byte)).count();
        let padding = self.0[length..]
            .iter()
            .take_while(|byte| **byte == b'=')
            .count();
        let rest = &self.0[length + padding..];
        let next = rest.iter().find(|byte| !is_space(**byte));
        if length > 0 && matches!(next, None | Some(b',')) {
            self.0 = rest;
        }
    }

    /// The longest prefix of such bytes, in lower case.
    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> String {
        let length = self.0.iter().position(|byte| !accepts(*byte));
        let (taken, rest) = self.0.split_at(length.unwrap_or(self.0.len()));
        self.0 = rest;
        String::from_utf8_lossy(taken).to_ascii_lowercase()
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut found = Vec::new();
        Parser(header.as_bytes()).read(&mut found);
        found.into_iter().map(|it| (it.scheme, it.params)).collect()
    }

    fn shown(header: &str) -> String {
        let challenges = parsed(header).into_iter().map(|(scheme, params)| {
            let params = params
                .into_iter()
                .map(|(name, value)| format!(" {name}=<{value}>"));
            scheme + &params.collect::<String>()
        });
        challenges.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn challenges_are_read_by_the_grammar_of_rfc_9110() {
        for (header, challenges) in [
            ("", ""),
            ("DPoP", "dpop"),
            ("DPoP error=use_dpop_nonce", "dpop error=<use_dpop_nonce>"),
            (
                r#"dpop  Error = "use_dpop_nonce""#,
                "dpop error=<use_dpop_nonce>",
            ),
            (
                r#"DPoP algs="ES256 ES256K", error="invalid_token""#,
                "dpop algs=<ES256 ES256K> error=<invalid_token>",
            ),
            // RFC 9110 §11.6.1.
            (
                r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#,
                r#"basic realm=<simple>; newauth realm=<apps> type=<1> title=<Login to "apps">"#,
            ),
            ("Negotiate, DPoP error=x", "negotiate; dpop error=<x>"),
            (
                "Negotiate YWJj==, DPoP error=x",
                "negotiate; dpop error=<x>",
            ),
            (
                "Negotiate YW/+Jj , DPoP error=x",
                "negotiate; dpop error=<x>",
            ),
            (
                ", ,Bearer realm=\"a, b\",,error=y,",
                "bearer realm=<a, b> error=<y>",
            ),
            (
                r#"DPoP error="a" error_description="b""#,
                "dpop error=<a> error_description=<b>",
            ),
            (r#"DPoP error="cut off"#, "dpop error=<cut off>"),
            (
                r#"DPoP error_description="error=\"invalid_token\"""#,
                r#"dpop error_description=<error="invalid_token">"#,
            ),
            ("error=invalid_token", ""),
            ("DPoP error=", "dpop"),
            ("DPoP error=, algs=ES256", "dpop algs=<ES256>"),
        ] {
            assert_eq!(shown(header), challenges, "{header}");
        }
    }

    #[test]
    fn no_bytes_are_too_strange_and_none_too_many() {
        let many = "DPoP error=a,".repeat(10_000);
        assert!(parsed(&many).len() <= MAX_CHALLENGES + 1);
        let params = format!("DPoP {}", "a=b,".repeat(10_000));
        assert!(parsed(&params)[0].1.len() <= MAX_CHALLENGES);
        for bytes in [
            &b"\"\\"[..],
            b"\xff\xfe DPoP \"",
            b"= = =",
            b"DPoP error=\"\\",
        ] {
            Parser(bytes).read(&mut Vec::new());
        }
    }

    #[test]
    fn nonces_and_rejections_are_recognized_by_their_parameter_alone() {
        let of = |challenge: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("dpop-nonce", HeaderValue::from_static("n-1"));
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            let status = StatusCode::UNAUTHORIZED;
            (
                is_nonce_challenge(status, &headers),
                rejects_token(status, &headers),
            )
        };
        for (challenge, expected) in [
            ("DPoP error=use_dpop_nonce", (true, false)),
            (r#"DPoP error="use_dpop_nonce""#, (true, false)),
            ("Bearer error=use_dpop_nonce", (false, false)),
            ("DPoP error=invalid_token", (false, true)),
            (
                r#"Bearer realm="x", error = "invalid_token""#,
                (false, true),
            ),
            (
                r#"DPoP error="x", error_description="not error=\"invalid_token\"""#,
                (false, false),
            ),
            ("Basic error=invalid_token", (false, false)),
            ("DPoP", (false, false)),
        ] {
            assert_eq!(of(challenge), expected, "{challenge}");
        }
        assert!(!rejects_token(StatusCode::FORBIDDEN, &HeaderMap::new()));
    }
}
