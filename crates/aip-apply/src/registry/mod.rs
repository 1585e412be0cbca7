//! Which digest the tag of an image means now, asked of its registry (OCI distribution specification
//! 1.1.1, "Pulling manifests"); and pushing an image there. Manifest requests, challenges and tokens are those of
//! `oci-client`.

mod credentials;
mod push;

use std::time::Duration;

use aip_base::{Environment, terminal_excerpt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use url::{Host, Url};

pub use self::push::{PushImageError, push};
use crate::error_text::root_cause;
use oci_layout::is_refusal;
pub use oci_layout::{PushError, Pushed};

/// How long all requests may take together: a registry that is slow delays a deployment no longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a registry says about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The digest of the manifest, `sha256:` and 64 hexadecimal digits.
    Digest(String),
    /// There is no such manifest, in the words of the registry.
    Missing(String),
    /// Nobody knows, for this reason: the registry refuses, is out of reach or answers something else.
    Unknown(String),
}

/// Asks the registry of `image`, `repository:tag`, with the credentials that `docker login` keeps.
/// Registries on loopback are asked without TLS, all others with it.
pub async fn lookup(image: &str, environment: &Environment) -> Lookup {
    let Ok(reference) = image.parse::<Reference>() else {
        return Lookup::Unknown(format!("`{image}` is not REPOSITORY:TAG"));
    };
    let registry = reference.resolve_registry();
    match tokio::time::timeout(TIMEOUT, ask(&reference, registry, environment)).await {
        Ok(Ok(digest)) if is_sha256(&digest) => Lookup::Digest(digest),
        Ok(Ok(_)) => Lookup::Unknown(format!("the digest that {registry} names is no SHA-256")),
        Ok(Err(NoDigest::Credentials(reason))) => Lookup::Unknown(reason),
        Ok(Err(NoDigest::Registry(error))) => lookup_of_error(&error, registry),
        Err(_) => Lookup::Unknown(format!(
            "{registry} did not answer within {} s",
            TIMEOUT.as_secs()
        )),
    }
}

enum NoDigest {
    Credentials(String),
    Registry(OciDistributionError),
}

async fn ask(
    reference: &Reference,
    registry: &str,
    environment: &Environment,
) -> Result<String, NoDigest> {
    let login = credentials::of(registry, environment)
        .await
        .map_err(NoDigest::Credentials)?;
    let auth = login.map_or(RegistryAuth::Anonymous, |login| {
        RegistryAuth::Basic(login.user, login.password)
    });
    let protocol = if is_loopback(registry) {
        ClientProtocol::Http
    } else {
        ClientProtocol::Https
    };
    let config = ClientConfig {
        protocol,
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).map_err(NoDigest::Registry)?;
    let digest = client.fetch_manifest_digest(reference, &auth).await;
    digest.map_err(NoDigest::Registry)
}

/// Whether requests to `HOST` or `HOST:PORT` do not leave this machine.
fn is_loopback(registry: &str) -> bool {
    let url = Url::parse(&format!("http://{registry}"));
    match url.as_ref().ok().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_sha256(digest: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn lookup_of_error(error: &OciDistributionError, registry: &str) -> Lookup {
    match error {
        error if is_refusal(error) => Lookup::Unknown(format!(
            "{registry} refuses to say it: `docker login {registry}` keeps credentials"
        )),
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |codes: &[OciErrorCode]| {
                let mut all = envelope.errors.iter();
                all.any(|error| codes.contains(&error.code))
            };
            let words = envelope.errors.first().map(|error| error.message.as_str());
            let words = terminal_excerpt(words.unwrap_or_default());
            if has(&[
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::NotFound,
            ]) {
                Lookup::Missing(words)
            } else {
                Lookup::Unknown(format!("{registry} answered: {words}"))
            }
        }
        OciDistributionError::ServerError { code, .. } => {
            Lookup::Unknown(format!("{registry} answered with the status {code}"))
        }
        OciDistributionError::RequestError(error) => Lookup::Unknown(format!(
            "{registry} cannot be reached: {}",
            root_cause(error)
        )),
        other => Lookup::Unknown(format!(
            "{registry}: {}",
            terminal_excerpt(&other.to_string())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_stay_on_this_machine_go_without_tls() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "index.docker.io",
            "localhost.example.com",
            "127.0.0.1.example.com:80",
            "10.0.0.1:5000",
            "",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn a_digest_is_sha256() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(is_sha256(&format!("sha256:{hex}")));
        for other in [
            "",
            "sha256:",
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
        ] {
            assert!(!is_sha256(other), "{other}");
        }
    }
}
