//! What a value means, beyond its type. Messages never repeat a value that may be secret.

use serde_json::Value;
use url::Url;

/// The outcome of a check that has one refusal.
fn ensure(fits: bool, refusal: &str) -> Result<(), String> {
    if fits {
        Ok(())
    } else {
        Err(refusal.to_owned())
    }
}

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

/// `s3://BUCKET/PREFIX`.
pub(super) fn bucket(text: &str) -> Result<(), String> {
    url(text, &["s3://"]).map_err(|_| "is not s3://BUCKET/PREFIX".to_owned())
}

/// A cron expression as `CloudNativePG` reads it
/// (<https://pkg.go.dev/github.com/robfig/cron#hdr-CRON_Expression_Format>).
pub(super) fn schedule(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let known = |field: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*/,-?".contains(c);
        field.chars().all(allowed)
    };
    ensure(
        fields.len() == 6 && fields.iter().all(known),
        "is not a cron expression with six fields: seconds, minutes, hours, day of month, month, day of week",
    )
}

/// A password that stands in a URL and in a configuration file as it is (RFC 3986 §2.3).
pub(super) fn url_safe_password(text: &str) -> Result<(), String> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    ensure(
        (16..=128).contains(&text.len()) && text.bytes().all(unreserved),
        "must have 16 to 128 characters of A-Z, a-z, 0-9 and `._~-`",
    )
}

/// `kid`s: a JSON array of strings, or separated by commas.
pub fn kids(text: &str) -> Result<Vec<String>, String> {
    let kids: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|_| "must be a JSON array of strings".to_owned())?
    } else {
        text.split(',')
            .map(|kid| kid.trim().to_owned())
            .filter(|kid| !kid.is_empty())
            .collect()
    };
    ensure(!kids.is_empty(), "names no key")?;
    Ok(kids)
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
        if kids.iter().any(|it| it == kid) {
            return Err(format!(
                "has two keys with the `kid` `{}`",
                truncate_value(kid)
            ));
        }
        kids.push(kid.to_owned());
    }
    ensure(!kids.is_empty(), "holds no keys")?;
    Ok(kids)
}

/// Refuses keys that cannot sign: symmetric ones, and public halves without the private one, `d` (RFC 7518 §6).
pub(super) fn private_halves(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let keys = value.get("keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten() {
        let has = |member| key.get(member).is_some();
        let kid = key.get("kid").and_then(Value::as_str).unwrap_or_default();
        let kid = truncate_value(kid);
        if key.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err(format!(
                "has the symmetric key `{kid}` (`kty` is oct), with which AIP signs nothing"
            ));
        }
        if (has("x") || has("n")) && !has("d") {
            return Err(format!(
                "has only the public half of the key `{kid}`: the private one is the member `d`"
            ));
        }
    }
    Ok(())
}

/// The text of `master-keys.json`, which `aip` makes.
pub(super) fn master_keys(text: &str) -> Result<(), String> {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let has = |member| {
        value
            .as_ref()
            .is_some_and(|value| value.get(member).is_some())
    };
    ensure(
        ["primary", "keys", "token_pepper"].into_iter().all(has),
        "is not JSON with `primary`, `keys` and `token_pepper`, as generated by `aip`",
    )
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
    let example = format!("arn:aws:{service}:REGION:123456789012:{resource}ID");
    ensure(fits, &format!("must be an ARN like {example}"))
}

/// The tag of an image, with or without a digest.
pub(super) fn image_tag(text: &str) -> Result<(), String> {
    let (tag, digest) = match text.split_once('@') {
        Some((tag, digest)) => (tag, Some(digest)),
        None => (text, None),
    };
    let fits = is_tag(tag) && digest.is_none_or(is_digest);
    ensure(fits, "is not a valid image tag")
}

/// A whole image reference: a repository with a tag, a digest or both, as the OCI distribution
/// specification and the container runtimes have it
/// (<https://pkg.go.dev/github.com/distribution/reference>).
pub(super) fn image(text: &str) -> Result<(), String> {
    const REFUSED: &str = "is not a valid image reference";
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[last..].split_once(':') {
        Some((_, tag)) => (&named[..named.len() - tag.len() - 1], Some(tag)),
        None => (named, None),
    };
    image_repository(repository)?;
    let (tag, digest) = (tag.is_none_or(is_tag), digest.is_none_or(is_digest));
    ensure(tag, &format!("{REFUSED}: invalid tag after `:`"))?;
    ensure(digest, &format!("{REFUSED}: invalid digest after `@`"))
}

/// The part of an image reference before the tag.
pub(super) fn image_repository(text: &str) -> Result<(), String> {
    const REFUSED: &str = "is not a valid image repository";
    let is_registry = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.to_ascii_lowercase() != first
    };
    let path = match text.split_once('/') {
        Some((registry, path)) if is_registry(registry) => {
            let (host, port) = match registry.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (registry, None),
            };
            let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let label = |label: &str| {
                let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                !label.is_empty()
                    && label.bytes().all(inner)
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            let is_host = host.split('.').all(label)
                || url::Host::parse(host).is_ok_and(|host| matches!(host, url::Host::Ipv6(_)));
            if !is_host || !port.is_none_or(digits) {
                return Err(format!(
                    "{REFUSED}: `{}` is not a registry",
                    truncate_value(registry)
                ));
            }
            path
        }
        _ => text,
    };
    let tagged = path.contains([':', '@']);
    let lowercase = !path.bytes().any(|b| b.is_ascii_uppercase());
    let fits = text.len() <= 255 && path.split('/').all(is_path_component);
    ensure(
        !tagged,
        &format!("{REFUSED}: a tag or digest belongs in aip_config.image_tag"),
    )?;
    ensure(
        lowercase,
        &format!("{REFUSED}: only lowercase letters are allowed"),
    )?;
    ensure(fits, REFUSED)
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(alphanumeric).filter(|s| !s.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators.into_iter().all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// The beginning of a value that is not secret, for a message.
pub(super) fn truncate_value(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// A quantity of Kubernetes, in billionths: `500m`, `2`, `1e3`, `128Mi`
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
pub(super) fn quantity(text: &str) -> Result<u128, String> {
    let refused = || "is not a Kubernetes quantity such as 500m, 2 or 128Mi".to_owned();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // A leading zero is octal to some readers of the file, and long numbers are a slip.
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.len() + fraction.len() == 0
        || leading_zero
        || whole.len() > 18
        || fraction.len() > 9
        || fraction.contains('.')
    {
        return Err(refused());
    }
    let billionths: u128 = format!("{whole}{fraction:0<9}")
        .parse()
        .map_err(|_| refused())?;
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    let scaled = match suffix {
        "n" => Some(billionths / 1_000_000_000),
        "u" => Some(billionths / 1_000_000),
        "m" => Some(billionths / 1000),
        "" => Some(billionths),
        _ => {
            let factor = if let Some(exponent) = suffix.strip_prefix(['e', 'E'])
                && let Ok(exponent) = exponent.strip_prefix('+').unwrap_or(exponent).parse()
            {
                power(10, exponent)
            } else {
                let places = ["k", "M", "G", "T", "P", "E"];
                let binary = suffix.strip_suffix('i');
                let letter = match binary {
                    Some("K") => "k",
                    Some("k") => "",
                    Some(letter) => letter,
                    None => suffix,
                };
                let place = places.iter().position(|place| *place == letter);
                place
                    .and_then(|place| u32::try_from(place + 1).ok())
                    .and_then(|place| power(if binary.is_some() { 1024 } else { 1000 }, place))
            };
            factor.and_then(|factor| billionths.checked_mul(factor))
        }
    };
    scaled.filter(|scaled| *scaled > 0).ok_or_else(refused)
}

/// The name of an object of Kubernetes (RFC 1123 subdomain).
pub(super) fn object_name(text: &str) -> Result<(), String> {
    ensure(!text.is_empty(), "is empty")?;
    ensure(
        text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok()),
        "is not a valid RFC 1123 subdomain: a-z, 0-9, `-` and `.`",
    )
}

/// The host in the address under which people reach AIP: a host name, or an https origin. `development`
/// also takes this machine.
pub(super) fn external_base(text: &str, development: bool) -> Result<url::Host, String> {
    const REFUSED: &str =
        "is not a host name like auth.example.com, or its https:// URL without a path";
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("https://{text}"))
    };
    let url = url.map_err(|_| REFUSED.to_owned())?;
    let host = url.host().ok_or_else(|| REFUSED.to_owned())?.to_owned();
    let (unspecified, loopback) = match &host {
        url::Host::Ipv4(address) => (address.is_unspecified(), address.is_loopback()),
        url::Host::Ipv6(address) => (address.is_unspecified(), address.is_loopback()),
        url::Host::Domain(name) => (false, name == "localhost" || name.ends_with(".localhost")),
    };
    if unspecified || (loopback && !development) {
        return Err("is not reachable from outside the Pod".to_owned());
    }
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let secure = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    ensure(bare && secure, REFUSED).map(|()| host)
}

/// The host name in the address under which people reach AIP, which a certificate can be for.
pub fn public_host(text: &str) -> Result<String, String> {
    match external_base(text, false)? {
        url::Host::Domain(name) => Ok(name),
        address => Err(format!(
            "is the address {address}: certificates are for host names"
        )),
    }
}

/// The name of an environment variable.
pub(super) fn variable(name: &str) -> Result<(), String> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    ensure(fits, "is not a valid environment variable name")
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
    ensure(fits, "is not a CIDR block such as 10.0.0.0/8")
}

/// A name of Kubernetes (RFC 1123 label).
pub(super) fn dns_label(text: &str) -> Result<(), String> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    ensure(
        fits,
        "is not a valid RFC 1123 label: 1 to 63 characters of a-z, 0-9 and `-`",
    )
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
            r#"{"keys":[{"kid":"a","kty":"EC"},{"kid":"b","kty":"EC"},{"kid":"a","kty":"RSA"}]}"#,
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert!(key_set(bad).is_err(), "{bad}");
        }
        for (key, is_fine) in [
            (r#"{"kid":"a","kty":"EC","x":"x","y":"y","d":"d"}"#, true),
            (r#"{"kid":"a","kty":"RSA","n":"n","e":"e","d":"d"}"#, true),
            (r#"{"kid":"a","kty":"EC","x":"x","y":"y"}"#, false),
            (r#"{"kid":"a","kty":"OKP","x":"x"}"#, false),
            (r#"{"kid":"a","kty":"RSA","n":"n","e":"e"}"#, false),
            (r#"{"kid":"a","kty":"oct","k":"k"}"#, false),
        ] {
            let set = format!(r#"{{"keys":[{key}]}}"#);
            assert_eq!(private_halves(&set).is_ok(), is_fine, "{key}");
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
        let digest = format!("sha256:{}", "a".repeat(64));
        for good in [
            "aip",
            "repo/aip:v1",
            "localhost:5000/aip",
            "Registry.example.com:5000/team/aip__x:V1",
            &format!("repo/aip@{digest}"),
            &format!("repo/aip:v1@{digest}"),
        ] {
            assert_eq!(image(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Repo/AIP:v1",
            "repo/AIP:v1",
            "repo/aip:a:b",
            "repo//aip",
            "repo/aip:",
            "repo/-aip",
            "repo/a..b:v1",
            "reg:port/aip",
            "repo/aip@sha256:1",
            "https://repo/aip",
        ] {
            assert!(image(bad).is_err(), "{bad}");
        }
        assert!(
            image_repository("repo/aip:v1")
                .unwrap_err()
                .contains("image_tag")
        );
        assert!(
            cidr("10.0.0.0/8").is_ok()
                && cidr("::/0").is_ok()
                && cidr("10.0.0.0/33").is_err()
                && cidr("x/1").is_err()
        );
    }
    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        for (smaller, larger) in [
            ("500m", "2"),
            ("1000m", "1001m"),
            ("128Mi", "1Gi"),
            ("1M", "1Mi"),
            ("999", "1k"),
            ("1e3", "1001"),
            ("0.5", "500.1m"),
        ] {
            assert!(
                quantity(smaller).unwrap() < quantity(larger).unwrap(),
                "{smaller} {larger}"
            );
        }
        assert_eq!(quantity("1"), quantity("1000m"));
        for bad in [
            "", "0", "x", ".", "1.2.3", "-1", "1 Gi", "1ki", "010", "1KiB", "1e99",
        ] {
            assert!(quantity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_external_base_is_a_host_or_an_origin() {
        for good in ["auth.example.com", "https://auth.example.com:8443/"] {
            assert!(external_base(good, false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "0.0.0.0",
            "a b",
            "localhost",
            "http://127.0.0.1:8080",
            "http://auth.example.com",
            "https://auth.example.com/path",
            "ftp://auth.example.com",
            "https://u:p@auth.example.com",
        ] {
            assert!(external_base(bad, false).is_err(), "{bad}");
        }
        assert!(external_base("http://127.0.0.1:8080", true).is_ok());
        assert!(external_base("http://0.0.0.0", true).is_err());
    }
}
