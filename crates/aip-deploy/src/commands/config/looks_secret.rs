//! Whether a value that is about to be stored in plain text looks like a secret.
//!
//! Pulumi asks an estimator with dictionaries; this one counts characters, and so also stops at a
//! long password of plain words. Both are answered with `--secret` or `--plaintext`.

/// The parts of a name that promise a secret.
const WORDS: [&str; 4] = ["pass", "pwd", "secret", "token"];
/// As many characters as are looked at.
const LOOKED_AT: usize = 16;

/// Whether `value` under `name` is probably a secret.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if !WORDS.iter().any(|word| name.contains(word)) {
        return false;
    }
    let bits = bits(value);
    let length = value.chars().take(LOOKED_AT).count().max(1);
    // Both counts are tiny.
    #[allow(clippy::cast_precision_loss, reason = "at most 16")]
    let per_character = bits / length as f64;
    bits >= 80.0 || (bits >= 40.0 && per_character >= 3.0)
}

/// The entropy of the first characters, were they drawn from the kinds that occur.
fn bits(value: &str) -> f64 {
    let looked_at: Vec<char> = value.chars().take(LOOKED_AT).collect();
    let has = |kind: fn(&char) -> bool| looked_at.iter().any(kind);
    let mut alphabet = 0.0;
    for (occurs, size) in [
        (has(char::is_ascii_lowercase), 26.0),
        (has(char::is_ascii_uppercase), 26.0),
        (has(char::is_ascii_digit), 10.0),
        (has(|c| !c.is_ascii_alphanumeric()), 33.0),
    ] {
        if occurs {
            alphabet += size;
        }
    }
    // A repeated character adds nothing new.
    let mut different = looked_at.clone();
    different.sort_unstable();
    different.dedup();
    #[allow(clippy::cast_precision_loss, reason = "at most 16")]
    let count = different.len() as f64;
    if alphabet > 0.0 {
        count * f64::log2(alphabet)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_random_value_together_look_like_a_secret() {
        for (name, value) in [
            ("dbPassword", "hQ9$kx2!vT7&pL0z"),
            ("api_TOKEN", "ghp_9fK2mQx7Lr4TzV8b"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("image_tag", "hQ9$kx2!vT7&pL0z"),
            ("token_ttl", "86400"),
            ("secretName", "aip"),
            ("pwd", "aaaaaaaaaaaaaaaa"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }
}
