//! What somebody meant who wrote a scope that does not exist: for those who register apps and for
//! those who read why a call was refused.

use super::{PLAIN_SCOPES, Scope};

/// How alike two texts must be for one to be taken for the other, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.6;

/// Whole scopes that a typing mistake may lead to, besides the words.
const COMMON_SCOPES: [&str; 12] = [
    "account:email",
    "account:email?action=manage",
    "account:repo",
    "account:repo?action=manage",
    "account:status",
    "account:status?action=manage",
    "identity:handle",
    "identity:*",
    "repo:*",
    "blob:*/*",
    "blob:image/*",
    "blob:video/*",
];

/// A resource and a scope of it, for whoever wrote its parameters wrong.
const EXAMPLES: [(&str, &str); 6] = [
    ("account", "account:email"),
    ("identity", "identity:handle"),
    ("repo", "repo:app.bsky.feed.post"),
    (
        "rpc",
        "rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview",
    ),
    ("blob", "blob:image/*"),
    ("include", "include:app.bsky.authFullApp"),
];

/// Where methods of these authorities are usually served.
const SERVICES: [(&str, &str); 2] = [
    ("app.bsky.", "did:web:api.bsky.app%23bsky_appview"),
    ("chat.bsky.", "did:web:api.bsky.chat%23bsky_chat"),
];

impl Scope {
    /// A scope that exists and is like `word`, which does not; `None` when nothing is.
    pub fn suggestion(word: &str) -> Option<String> {
        let end = word.find([':', '?']).unwrap_or(word.len());
        let (resource, rest) = word.split_at(end);
        if resource == "rpc" {
            return with_audience(rest).or_else(|| example("rpc"));
        }
        let words = PLAIN_SCOPES.iter().map(|(word, _)| *word);
        let nearest = nearest(word, words.chain(COMMON_SCOPES));
        if EXAMPLES.iter().any(|(known, _)| *known == resource) {
            return nearest
                .filter(|it| it.starts_with(resource))
                .map(str::to_owned)
                .or_else(|| example(resource));
        }
        // The resource itself may be misspelt, with good parameters.
        let resources = EXAMPLES.iter().map(|(resource, _)| *resource);
        if !rest.is_empty()
            && let Some(resource) = self::nearest(resource, resources)
            && let corrected = format!("{resource}{rest}")
            && !matches!(Self::parse(&corrected), Self::Other(_))
        {
            return Some(corrected);
        }
        nearest.map(str::to_owned)
    }
}

fn example(resource: &str) -> Option<String> {
    let mut examples = EXAMPLES.iter();
    let (_, example) = examples.find(|(known, _)| *known == resource)?;
    Some((*example).to_owned())
}

/// A method without a usable audience, with one that the person can be asked about.
fn with_audience(rest: &str) -> Option<String> {
    let method = rest.strip_prefix(':')?.split('?').next()?;
    let mut services = SERVICES.iter();
    let service = services.find(|(authority, _)| method.starts_with(authority));
    let audience = service.map_or("*", |(_, audience)| audience);
    let scope = format!("rpc:{method}?aud={audience}");
    (!matches!(Scope::parse(&scope), Scope::Other(_))).then_some(scope)
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    let alike = |it: &str| strsim::normalized_damerau_levenshtein(&lower, it);
    known
        .map(|it| (alike(it), it))
        .filter(|(how, _)| *how >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_scope_leads_to_one_that_exists() {
        for (word, meant) in [
            ("profiles", "profile"),
            ("OpenID", "openid"),
            ("e-mail", "email"),
            ("offline-access", "offline_access"),
            ("transition:general", "transition:generic"),
            ("atprotocol", "atproto"),
            ("account:mail", "account:email"),
            ("identity:handel", "identity:handle"),
            ("repo:psot", "repo:app.bsky.feed.post"),
            ("repos:app.bsky.feed.post", "repo:app.bsky.feed.post"),
            ("blob:images", "blob:image/*"),
            (
                "rpc:app.bsky.feed.getTimeline",
                "rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview",
            ),
            (
                "rpc:com.example.thing.get?aud=nobody",
                "rpc:com.example.thing.get?aud=*",
            ),
        ] {
            let suggested = Scope::suggestion(word).unwrap();
            assert_eq!(suggested, meant, "{word}");
            assert!(
                !matches!(Scope::parse(&suggested), Scope::Other(_)),
                "{word}"
            );
        }
    }

    #[test]
    fn what_is_like_nothing_leads_nowhere() {
        for word in ["", "payments", "https://example.org/scope", "x"] {
            assert_eq!(Scope::suggestion(word), None, "{word}");
        }
    }

    #[test]
    fn every_example_exists() {
        for example in COMMON_SCOPES
            .iter()
            .chain(EXAMPLES.iter().map(|(_, it)| it))
        {
            assert!(
                !matches!(Scope::parse(example), Scope::Other(_)),
                "{example}"
            );
        }
    }
}
