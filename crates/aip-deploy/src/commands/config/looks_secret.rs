//! Whether a value that is about to be stored in plain text looks like a secret.
//!
//! Pulumi asks an estimator with dictionaries; this one counts characters, and so also stops at a
//! long password of plain words. What AIP is known to keep secret is judged by its field. All are
//! answered with `--secret` or `--plaintext`.

use pulumi_files::{ConfigPath, Project};
use serde_json::Value;
use url::Url;
use yaml_lossless::Segment;

/// The parts of a name that promise a secret.
const SECRET_NAME_PARTS: [&str; 4] = ["pass", "pwd", "secret", "token"];
/// As many characters as are looked at.
const SAMPLE_CHARS: usize = 16;

/// Bits that a letter from a large alphabet adds: thousands of them are in common use.
const OTHER_CHAR_BITS: f64 = 14.0;

/// What AIP keeps secret, whatever it looks like.
const SECRET_FIELDS: [&str; 2] = ["AIP_MASTER_KEYS", "signing_keys_json_string"];
/// Members that only a private JWK has (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 2] = ["d", "k"];

/// Whether a value for `path` is a secret: by its field, by a password in a URL of the
/// configuration of AIP, by its name and look.
pub(super) fn is_secret(project: &Project, path: &ConfigPath, value: &str) -> bool {
    let field = match path.steps.last() {
        Some(Segment::Key(name)) => name.as_str(),
        Some(Segment::Index(_)) => "",
        None => path.key.name.as_str(),
    };
    let ours = path.key.namespace == project.name && path.key.name == "aip_config";
    let has_password = || Url::parse(value).is_ok_and(|url| url.password().is_some());
    !value.is_empty()
        && (SECRET_FIELDS.contains(&field)
            || (ours && has_password())
            || (ours && is_private_key_set(value))
            || looks_secret(&path.display(&project.name), value))
}

fn is_private_key_set(value: &str) -> bool {
    let value: Value = serde_json::from_str(value).unwrap_or_default();
    let keys = value.get("keys").and_then(Value::as_array);
    keys.into_iter().flatten().chain([&value]).any(|key| {
        PRIVATE_MEMBERS
            .iter()
            .any(|member| key.get(member).is_some())
    })
}

/// Whether `value` under `name` is probably a secret.
fn looks_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if !SECRET_NAME_PARTS.iter().any(|word| name.contains(word)) {
        return false;
    }
    let bits = bits(value);
    let length = value.chars().take(SAMPLE_CHARS).count().max(1);
    // Both counts are tiny.
    #[allow(clippy::cast_precision_loss, reason = "at most 16")]
    let per_character = bits / length as f64;
    bits >= 80.0 || (bits >= 40.0 && per_character >= 3.0)
}

/// The entropy of the first characters, were they drawn from the kinds that occur.
fn bits(value: &str) -> f64 {
    let looked_at: Vec<char> = value.chars().take(SAMPLE_CHARS).collect();
    let has = |kind: fn(&char) -> bool| looked_at.iter().any(kind);
    let mut alphabet = 0.0;
    for (occurs, size) in [
        (has(char::is_ascii_lowercase), 26.0),
        (has(char::is_ascii_uppercase), 26.0),
        (has(char::is_ascii_digit), 10.0),
        (has(|c| c.is_ascii() && !c.is_ascii_alphanumeric()), 33.0),
    ] {
        if occurs {
            alphabet += size;
        }
    }
    // A repeated character adds nothing new.
    let mut different = looked_at.clone();
    different.sort_unstable();
    different.dedup();
    let others = different.iter().filter(|c| !c.is_ascii()).count();
    #[allow(clippy::cast_precision_loss, reason = "at most 16")]
    let (ascii, others) = ((different.len() - others) as f64, others as f64);
    let of_ascii = if alphabet > 0.0 {
        ascii * f64::log2(alphabet)
    } else {
        0.0
    };
    of_ascii + others * OTHER_CHAR_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_random_value_together_look_like_a_secret() {
        for (name, value) in [
            ("dbPassword", "hQ9$kx2!vT7&pL0z"),
            ("api_TOKEN", "ghp_9fK2mQx7Lr4TzV8b"),
            ("password", "我的密码很长"),
            ("SECRET", "パスワード"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("image_tag", "hQ9$kx2!vT7&pL0z"),
            ("token_ttl", "86400"),
            ("secretName", "aip"),
            ("pwd", "aaaaaaaaaaaaaaaa"),
            ("pass", "密码"),
            ("greeting", "我的密码很长"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }

    #[test]
    fn what_aip_keeps_secret_is_known_by_its_field_or_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Pulumi.yaml");
        std::fs::write(&file, "name: aip\nruntime: python\n").unwrap();
        let project = Project::load(&file).unwrap();
        let judged = |path: &str, value: &str| {
            is_secret(&project, &ConfigPath::parse(path, "aip").unwrap(), value)
        };
        for (path, value) in [
            ("aip_config.extra_env.AIP_MASTER_KEYS", "{}"),
            ("aip_config.required_env[\"AIP_MASTER_KEYS\"]", "x"),
            ("aip_config.signing_keys_json_string", "{\"keys\":[]}"),
            (
                "aip_config.required_env.DATABASE_URL",
                "postgresql+asyncpg://u:p@h/db",
            ),
            ("aip_config.required_env.REDIS_DSN", "redis://:p@h:6379"),
            (
                "aip_config.extra_env.OTHER",
                "{\"keys\":[{\"kty\":\"EC\",\"d\":\"x\"}]}",
            ),
        ] {
            assert!(judged(path, value), "{path}");
        }
        for (path, value) in [
            (
                "aip_config.required_env.DATABASE_URL",
                "postgresql://u@h/db",
            ),
            ("aip_config.extra_env.AIP_MASTER_KEYS", ""),
            ("aip_config.required_env.ACTIVE_SIGNING_KEYS", "[\"k1\"]"),
            ("home_page", "https://u:p@h/"),
        ] {
            assert!(!judged(path, value), "{path}");
        }
    }
}
