//! Pushing the image of a release, as whom `lookup` asks.

use std::path::Path;

use aip_base::Environment;
use oci_client::Reference;
use oci_layout::{Layout, Pushed, Registry};

use super::{credentials, is_loopback};

/// Who pushes; in their place the credentials that `docker login` keeps.
const USER: &str = "REGISTRY_USER";
const PASSWORD: &str = "REGISTRY_PASSWORD";

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushImageError {
    /// One of the two variables is missing.
    #[error("{USER} and {PASSWORD} belong together: set both, or none")]
    IncompleteLogin,
    /// The credentials of `docker login` cannot be used.
    #[error("{0}")]
    Credentials(String),
    /// The image, the registry or its answer.
    #[error(transparent)]
    Push(#[from] oci_layout::PushError),
}

/// Pushes the image in a file of a release, or in the folder of an OCI layout, to `REGISTRY/REPOSITORY:TAG`.
/// Registries on loopback are reached without TLS, all others with it.
pub async fn push(
    image: &Path,
    reference: &str,
    environment: &Environment,
) -> Result<Pushed, PushImageError> {
    let layout = Layout::open(image).map_err(oci_layout::PushError::from)?;
    let malformed = |_| oci_layout::PushError::Reference(reference.to_owned());
    let parsed: Reference = reference.parse().map_err(malformed)?;
    let registry = parsed.resolve_registry();
    let named = (environment.non_empty(USER), environment.non_empty(PASSWORD));
    let user = match named {
        (Some(user), Some(password)) => Some((user.to_owned(), password.to_owned())),
        (None, None) => credentials::of(registry, environment)
            .await
            .map_err(PushImageError::Credentials)?
            .map(|login| (login.user, login.password)),
        _ => return Err(PushImageError::IncompleteLogin),
    };
    let registry = Registry {
        plain_http: is_loopback(registry),
        user: user.map(|(user, password)| (user, password.into())),
    };
    Ok(oci_layout::push(&layout, reference, &registry).await?)
}
