//! What a value means, beyond its type. Messages never repeat a value that may be secret.

use serde_json::Value;
use url::Url;

/// A URL with one of these schemes and a host (or, for SQLite, a path).
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let allowed = || format!("must be a URL that begins with {}", schemes.join(", "));
    let (scheme, _) = text.split_once(':').ok_or_else(allowed)?;
    if !schemes
        .iter()
        .any(|allowed| allowed.trim_end_matches("://") == scheme)
    {
        return Err(allowed());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) && scheme != "sqlite" {
        return Err("is a URL without a host".to_owned());
    }
    Ok(())
}

/// `kid`s: a JSON array of texts, or separated by commas.
pub(crate) fn kids(text: &str) -> Result<Vec<String>, String> {
    let kids: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|_| "must be a JSON array of texts".to_owned())?
    } else {
        text.split(',')
            .map(|kid| kid.trim().to_owned())
            .filter(|kid| !kid.is_empty())
            .collect()
    };
    if kids.is_empty() {
        Err("names no key".to_owned())
    } else {
        Ok(kids)
    }
}

/// The `kid`s of a JWK Set (RFC 7517 §5).
pub(super) fn key_set(text: &str) -> Result<Vec<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!(
            "is not JSON (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let keys = value
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("is not a JWK Set: it has no list `keys`")?;
    let mut kids = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        if key.get("kty").and_then(Value::as_str).is_none() {
            return Err(format!("is not a JWK Set: key {index} has no `kty`"));
        }
        let kid = key
            .get("kid")
            .and_then(Value::as_str)
            .ok_or_else(|| format!("key {index} has no `kid`"))?;
        kids.push(kid.to_owned());
    }
    if kids.is_empty() {
        Err("holds no keys".to_owned())
    } else {
        Ok(kids)
    }
}

/// The text of `master-keys.json`, which `aip` makes.
pub(super) fn master_keys(text: &str) -> Result<(), String> {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let has = |member| {
        value
            .as_ref()
            .is_some_and(|value| value.get(member).is_some())
    };
    if ["primary", "keys", "token_pepper"].into_iter().all(has) {
        Ok(())
    } else {
        Err("is not JSON with `primary`, `keys` and `token_pepper`, as `aip` makes it".to_owned())
    }
}

/// `arn:partition:service:…` of the given service.
pub(super) fn arn(text: &str, service: &str, resource: &str) -> Result<(), String> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let fits = matches!(parts[..], ["arn", partition, of, _, account, what]
        if partition.starts_with("aws")
            && of == service
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && what.strip_prefix(resource).is_some_and(|id| !id.is_empty()));
    if fits {
        Ok(())
    } else {
        Err(format!(
            "must be an ARN like arn:aws:{service}:REGION:123456789012:{resource}ID"
        ))
    }
}

/// The tag of an image, with or without a digest.
pub(super) fn image_tag(text: &str) -> Result<(), String> {
    let (tag, digest) = match text.split_once('@') {
        Some((tag, digest)) => (tag, Some(digest)),
        None => (text, None),
    };
    let tag_fits = (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let digest_fits = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if tag_fits && digest_fits {
        Ok(())
    } else {
        Err("is not the tag of an image".to_owned())
    }
}

/// An image reference, or the part before the tag.
pub(super) fn image(text: &str) -> Result<(), String> {
    let fits = !text.is_empty()
        && text.len() <= 512
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("//");
    if fits {
        Ok(())
    } else {
        Err("is not an image reference".to_owned())
    }
}

/// A quantity of Kubernetes: `500m`, `2`, `128Mi`.
pub(super) fn quantity(text: &str) -> Result<(), String> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number = text[..digits]
        .parse::<f64>()
        .is_ok_and(|number| number > 0.0);
    let suffixes = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    if number && suffixes.contains(&&text[digits..]) {
        Ok(())
    } else {
        Err("is not a quantity like 500m, 2, 128Mi".to_owned())
    }
}

/// The name of an environment variable.
pub(super) fn variable(name: &str) -> Result<(), String> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits {
        Ok(())
    } else {
        Err("is not the name of an environment variable".to_owned())
    }
}

/// A block of addresses, `10.0.0.0/8`.
pub(super) fn cidr(text: &str) -> Result<(), String> {
    let fits = text.split_once('/').is_some_and(|(address, bits)| {
        let longest = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
    });
    if fits {
        Ok(())
    } else {
        Err("is not a block of addresses like 10.0.0.0/8".to_owned())
    }
}

/// A name of Kubernetes (RFC 1123 label).
pub(super) fn dns_label(text: &str) -> Result<(), String> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(())
    } else {
        Err("is not a name for Kubernetes: 1 to 63 of a-z, 0-9 and `-`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_for_what_they_mean() {
        let database = ["postgresql://", "postgresql+asyncpg://", "sqlite://"];
        for good in [
            "postgresql+asyncpg://u:p@h:5432/db",
            "sqlite:///data/aip.db",
            "sqlite://data.db",
        ] {
            assert_eq!(url(good, &database), Ok(()), "{good}");
        }
        for bad in ["", "h:5432", "mysql://h/db", "postgresql:///db"] {
            assert!(url(bad, &database).is_err(), "{bad}");
        }
        assert_eq!(kids("[\"a\", \"b\"]").unwrap(), ["a", "b"]);
        assert_eq!(kids("a, b,").unwrap(), ["a", "b"]);
        for bad in ["", "[]", "[1]", "["] {
            assert!(kids(bad).is_err(), "{bad}");
        }
        assert_eq!(
            key_set(r#"{"keys":[{"kid":"a","kty":"EC"}]}"#).unwrap(),
            ["a"]
        );
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"EC"}]}"#,
            r#"{"keys":[{"kid":"a"}]}"#,
        ] {
            assert!(key_set(bad).is_err(), "{bad}");
        }
        assert!(
            arn(
                "arn:aws:acm:us-east-1:123456789012:certificate/1",
                "acm",
                "certificate/"
            )
            .is_ok()
        );
        for bad in [
            "",
            "arn:aws:acm:us-east-1:1:certificate/1",
            "arn:aws:iam::123456789012:role/x",
            "arn:aws:acm:r:123456789012:certificate/",
        ] {
            assert!(arn(bad, "acm", "certificate/").is_err(), "{bad}");
        }
        assert!(image_tag(&format!("v1@sha256:{}", "a".repeat(64))).is_ok());
        for bad in ["", "a b", ".x", "v1@sha256:1", "a:b"] {
            assert!(image_tag(bad).is_err(), "{bad}");
        }
        assert!(
            quantity("1.5").is_ok()
                && quantity("128Mi").is_ok()
                && quantity("0").is_err()
                && quantity("x").is_err()
        );
        assert!(
            cidr("10.0.0.0/8").is_ok()
                && cidr("::/0").is_ok()
                && cidr("10.0.0.0/33").is_err()
                && cidr("x/1").is_err()
        );
    }
}
