//! A value that was sent and is wrong, as it is shown in `error_description` and in the log: short,
//! and of the characters that RFC 6749 §5.2 allows there.

use aip_atproto::{Scope, ScopeSet};

/// The most characters of a value that are shown.
const MAX_SHOWN_CHARS: usize = 80;
/// The most scopes that are named.
const MAX_NAMED_SCOPES: usize = 3;

/// The value between backticks.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value
        .chars()
        .take(MAX_SHOWN_CHARS)
        .map(|c| match c {
            '"' | '\\' | '`' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .collect();
    if value.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

/// The scopes of `asked` that `allowed` does not cover, each with the one of `allowed` that was most
/// likely meant.
pub(crate) fn scopes_not_allowed(asked: &ScopeSet, allowed: &ScopeSet) -> String {
    let known: Vec<String> = allowed.iter().map(Scope::to_string).collect();
    let beyond: Vec<String> = asked
        .iter()
        .filter(|scope| !allowed.covers(scope))
        .map(Scope::to_string)
        .collect();
    let mut words: Vec<String> = beyond
        .iter()
        .take(MAX_NAMED_SCOPES)
        .map(|scope| match nearest(scope, &known) {
            Some(near) => format!("{} (did it mean {}?)", quoted(scope), quoted(near)),
            None => quoted(scope),
        })
        .collect();
    if beyond.len() > MAX_NAMED_SCOPES {
        words.push(format!("and {} more", beyond.len() - MAX_NAMED_SCOPES));
    }
    words.join(", ")
}

fn nearest<'a>(scope: &str, known: &'a [String]) -> Option<&'a str> {
    // Long scopes are not compared: the time that it takes grows with the square.
    let short = |text: &&String| text.len() <= 2 * MAX_SHOWN_CHARS;
    let distance = |known: &&String| strsim::damerau_levenshtein(scope, known);
    known
        .iter()
        .filter(short)
        .filter(|_| short(&&scope.to_owned()))
        .min_by_key(distance)
        .filter(|near| distance(near) <= 1 + scope.len() / 4)
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(quoted("token"), "`token`");
        assert_eq!(quoted("a\"b\\c`d\u{202e}\n"), "`a'b'c'd??`");
        let long = quoted(&"x".repeat(400_000));
        assert_eq!(long.len(), MAX_SHOWN_CHARS + "...``".len());
    }

    #[test]
    fn scopes_that_go_too_far_are_named_with_what_is_near() {
        let allowed: ScopeSet = "openid atproto repo:app.bsky.feed.post".parse().unwrap();
        let words = |asked: &str| scopes_not_allowed(&asked.parse().unwrap(), &allowed);
        assert_eq!(
            words("openid repo:app.bsky.feed.pots email"),
            "`email`, `repo:app.bsky.feed.pots` (did it mean `repo:app.bsky.feed.post`?)"
        );
        let many = words("blob:image/* email profile offline_access transition:generic");
        assert!(many.ends_with(", and 2 more"), "{many}");
    }
}
