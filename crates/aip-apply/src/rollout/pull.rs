//! Whether a pull that failed may succeed when the kubelet tries again. The container runtime has
//! no code for it, so its sentence is read.

/// What the sentence of a failed pull says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFailure {
    /// The registry has no such image, or does not give it to this node: the next try gets the
    /// same answer.
    Permanent,
    /// The registry was busy, down, or out of reach.
    Transient,
    /// Nothing that is known.
    Unknown,
}

/// Answers that say "later": busy, down, out of reach.
const TRANSIENT_PHRASES: [&str; 17] = [
    "toomanyrequests",
    "too many requests",
    "rate limit",
    "rate exceeded",
    "quota exceeded",
    "timeout",
    "timed out",
    "deadline exceeded",
    "context canceled",
    "connection refused",
    "connection reset",
    "broken pipe",
    "no route to host",
    "network is unreachable",
    "temporary failure",
    "service unavailable",
    "unavailable",
];

/// Answers that stay as they are.
const PERMANENT_PHRASES: [&str; 11] = [
    "not found",
    "manifest unknown",
    "name unknown",
    "does not exist",
    "denied",
    "unauthorized",
    "forbidden",
    "authentication required",
    "no basic auth credentials",
    "insufficient_scope",
    "invalid",
];

impl PullFailure {
    /// Reads the sentence about the image `image`. The image's own name proves nothing.
    pub fn of(message: &str, image: &str) -> Self {
        let said = without_names(message, image);
        let words: Vec<&str> = said
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        // An error page in the place of JSON: some gateway before the registry is ill.
        let page = said.contains("invalid character");
        let busy = words.iter().any(|word| {
            *word == "429"
                || *word == "eof"
                || (word.len() == 3
                    && word.starts_with('5')
                    && word.bytes().all(|b| b.is_ascii_digit()))
        });
        if page || busy || TRANSIENT_PHRASES.iter().any(|words| said.contains(words)) {
            Self::Transient
        } else if PERMANENT_PHRASES.iter().any(|words| said.contains(words)) {
            Self::Permanent
        } else {
            Self::Unknown
        }
    }
}

/// The message in lower case, without URLs and without the name of the image.
fn without_names(message: &str, image: &str) -> String {
    let mut said = message.to_lowercase();
    let image = image.to_lowercase();
    let by_digest = image.split('@').next().unwrap_or_default();
    let last_segment = by_digest.rfind('/').map_or(0, |slash| slash + 1);
    let repository = match by_digest[last_segment..].find(':') {
        Some(colon) => &by_digest[..last_segment + colon],
        None => by_digest,
    };
    // "docker.io/library/" is added to names that have no registry, so the name is looked for
    // without one, too.
    let path = repository
        .split_once('/')
        .map_or(repository, |(_, path)| path);
    for name in [image.as_str(), repository, path] {
        if !name.is_empty() {
            said = said.replace(name, " ");
        }
    }
    said.split_whitespace()
        .filter(|word| !word.contains("://"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_stays_is_distinguished_from_one_that_may_change() {
        const IMAGE: &str = "registry.example/team/aip:v1";
        for (message, expected) in [
            // containerd, CRI-O and Docker, as recorded in public bug reports.
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"registry.example/team/aip:v1\": failed to resolve reference \"registry.example/team/aip:v1\": registry.example/team/aip:v1: not found",
                PullFailure::Permanent,
            ),
            (
                "reading manifest v1 in registry.example/team/aip: manifest unknown",
                PullFailure::Permanent,
            ),
            (
                "manifest for registry.example/team/aip:v1 not found: manifest unknown: manifest unknown",
                PullFailure::Permanent,
            ),
            (
                "pull access denied for aip, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                PullFailure::Permanent,
            ),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://registry.example/token?scope=repository%3Ateam%2Faip%3Apull: 401 Unauthorized",
                PullFailure::Permanent,
            ),
            (
                "unexpected status from HEAD request to https://registry.example/v2/team/aip/manifests/v1: 403 Forbidden",
                PullFailure::Permanent,
            ),
            (
                "couldn't parse image reference \"Aip:v1\": invalid reference format",
                PullFailure::Permanent,
            ),
            ("no basic auth credentials", PullFailure::Permanent),
            (
                "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry.example/v2/team/aip/manifests/sha256:503503: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit. access denied",
                PullFailure::Transient,
            ),
            ("toomanyrequests: Rate exceeded", PullFailure::Transient),
            (
                "received unexpected HTTP status: 503 Service Unavailable",
                PullFailure::Transient,
            ),
            (
                "unexpected status from HEAD request to https://registry.example/v2/: 502 Bad Gateway",
                PullFailure::Transient,
            ),
            ("unexpected status: 500", PullFailure::Transient),
            (
                "failed to do request: Head \"https://registry.example/v2/\": dial tcp 192.0.2.1:443: i/o timeout",
                PullFailure::Transient,
            ),
            ("net/http: TLS handshake timeout", PullFailure::Transient),
            (
                "Get \"https://registry.example/v2/\": EOF",
                PullFailure::Transient,
            ),
            ("failed to read: unexpected EOF", PullFailure::Transient),
            ("context deadline exceeded", PullFailure::Transient),
            (
                "dial tcp 192.0.2.1:443: connect: connection refused",
                PullFailure::Transient,
            ),
            (
                "invalid character '<' looking for beginning of value",
                PullFailure::Transient,
            ),
            (
                "Back-off pulling image \"registry.example/team/aip:v1\"",
                PullFailure::Unknown,
            ),
            (
                "failed to extract layer: no space left on device",
                PullFailure::Unknown,
            ),
        ] {
            assert_eq!(PullFailure::of(message, IMAGE), expected, "{message}");
        }
    }

    #[test]
    fn the_name_of_an_image_proves_nothing() {
        for image in [
            "registry.example/denied/not-found:v503",
            "denied/invalid:429",
            "registry.example:5000/unauthorized@sha256:500",
        ] {
            let quiet = format!("Back-off pulling image \"{image}\"");
            assert_eq!(
                PullFailure::of(&quiet, image),
                PullFailure::Unknown,
                "{image}"
            );
            let busy = format!("failed to pull \"{image}\": 429 Too Many Requests");
            assert_eq!(
                PullFailure::of(&busy, image),
                PullFailure::Transient,
                "{image}"
            );
            let unknown = format!("{image}: manifest unknown");
            assert_eq!(
                PullFailure::of(&unknown, image),
                PullFailure::Permanent,
                "{image}"
            );
        }
    }
}
