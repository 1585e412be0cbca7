//! Pushing a layout to a registry (OCI distribution specification 1.1).

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType, SCHEMA_VERSION,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::LayoutError;
use crate::json;
use crate::layout::Layout;

/// How the registry is reached.
#[derive(Debug, Default)]
pub struct Registry {
    /// Without TLS.
    pub plain_http: bool,
    /// User and password; none for a registry that asks for none.
    pub user: Option<(String, SecretString)>,
}

/// Why an image was not pushed. What was pushed before stays, and the tag means what it meant.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not the name of an image.
    #[error("`{0}` is not REGISTRY/REPOSITORY:TAG")]
    Reference(String),
    /// The image cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Nobody, or this user, may push there.
    #[error(
        "{registry} does not let us push to {repository}: {error}: set REGISTRY_USER and REGISTRY_PASSWORD to those \
         of somebody who may"
    )]
    NotAllowed {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What it said.
        error: OciDistributionError,
    },
    /// The registry refuses, or is out of reach.
    #[error("cannot push to {reference}: {error}")]
    Registry {
        /// What was to be pushed.
        reference: String,
        /// Why not.
        error: OciDistributionError,
    },
}

/// A registry that takes what is pushed to one repository.
struct Repository<'a> {
    client: Client,
    layout: &'a Layout,
    reference: &'a Reference,
}

/// Pushes the image to `reference` (`REGISTRY/REPOSITORY:TAG`), and its bill of materials beside it; the digest
/// that the tag means from now on.
pub async fn push(
    layout: &Layout,
    reference: &str,
    registry: &Registry,
) -> Result<String, PushError> {
    let malformed = |_| PushError::Reference(reference.to_owned());
    let reference: Reference = reference.parse().map_err(malformed)?;
    let config = ClientConfig {
        protocol: if registry.plain_http {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).map_err(|error| failed(&reference, error))?;
    let auth = registry
        .user
        .as_ref()
        .map_or(RegistryAuth::Anonymous, |(user, password)| {
            RegistryAuth::Basic(user.clone(), password.expose_secret().to_owned())
        });
    client
        .auth(&reference, &auth, RegistryOperation::Push)
        .await
        .map_err(|error| failed(&reference, error))?;
    let repository = Repository {
        client,
        layout,
        reference: &reference,
    };
    repository.push().await
}

fn failed(reference: &Reference, error: OciDistributionError) -> PushError {
    if is_refusal(&error) {
        return PushError::NotAllowed {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            error,
        };
    }
    PushError::Registry {
        reference: reference.to_string(),
        error,
    }
}

/// Whether somebody else might be let in.
fn is_refusal(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => true,
        OciDistributionError::RegistryError { envelope, .. } => {
            let refusals = [OciErrorCode::Unauthorized, OciErrorCode::Denied];
            let mut all = envelope.errors.iter();
            all.any(|error| refusals.contains(&error.code))
        }
        _ => false,
    }
}

/// Whether there is no such tag.
fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => true,
        OciDistributionError::RegistryError { envelope, .. } => {
            let missing = [
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::NotFound,
            ];
            let mut all = envelope.errors.iter();
            all.any(|error| missing.contains(&error.code))
        }
        _ => false,
    }
}

impl Repository<'_> {
    async fn push(&self) -> Result<String, PushError> {
        let image = self.layout.image()?;
        let bytes = self.layout.blob(&image)?;
        let index: ImageIndex = self.layout.parse(&bytes)?;
        for manifest in index.manifests() {
            self.manifest(manifest).await?;
        }
        // Last: whoever pulls the tag finds everything that it needs.
        self.put(self.reference, image.media_type(), bytes).await?;
        let top = self.layout.index()?;
        let others = top.manifests().iter();
        for artifact in others.filter(|entry| *entry.media_type() != MediaType::ImageIndex) {
            let manifest = self.manifest(artifact).await?;
            if let Some(subject) = manifest.subject() {
                self.refer(subject, artifact, &manifest).await?;
            }
        }
        Ok(image.digest().to_string())
    }

    /// Pushes a manifest with its blobs.
    async fn manifest(&self, descriptor: &Descriptor) -> Result<ImageManifest, PushError> {
        let bytes = self.layout.blob(descriptor)?;
        let manifest: ImageManifest = self.layout.parse(&bytes)?;
        for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
            let digest = blob.digest().to_string();
            let is_there = self.client.blob_exists(self.reference, &digest).await;
            if !is_there.map_err(|error| failed(self.reference, error))? {
                let content = self.layout.blob(blob)?;
                self.client
                    .push_blob(self.reference, content, &digest)
                    .await
                    .map_err(|error| failed(self.reference, error))?;
            }
        }
        let digest = descriptor.digest().to_string();
        let reference = self.reference.clone_with_digest(digest);
        self.put(&reference, descriptor.media_type(), bytes).await?;
        Ok(manifest)
    }

    /// Lists an artifact under the tag of its subject, for registries without the referrers API
    /// (distribution specification, "Referrers Tag Schema").
    async fn refer(
        &self,
        subject: &Descriptor,
        artifact: &Descriptor,
        manifest: &ImageManifest,
    ) -> Result<(), PushError> {
        let mut entry = artifact.clone();
        entry.set_artifact_type(manifest.artifact_type().clone());
        let tag = subject.digest().to_string().replace(':', "-");
        let reference = Reference::with_tag(
            self.reference.registry().to_owned(),
            self.reference.repository().to_owned(),
            tag,
        );
        let mut entries = self.referrers(&reference).await?;
        if !entries.iter().any(|it| it.digest() == entry.digest()) {
            entries.push(entry);
        }
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(entries)
            .build()
            .map_err(LayoutError::from)?;
        let bytes = json::sorted(&index)
            .map_err(|error| failed(&reference, OciDistributionError::from(error)))?;
        self.put(&reference, &MediaType::ImageIndex, bytes).await
    }

    /// What the tag lists already: signatures of others, for instance.
    async fn referrers(&self, tag: &Reference) -> Result<Vec<Descriptor>, PushError> {
        // The client has the user's credentials already; these are not used.
        let auth = RegistryAuth::Anonymous;
        let accepted = [OCI_IMAGE_INDEX_MEDIA_TYPE];
        let listed = self.client.pull_manifest_raw(tag, &auth, &accepted).await;
        let bytes = match listed {
            Ok((bytes, _)) => bytes,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(tag, error)),
        };
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|error| failed(tag, OciDistributionError::from(error)))?;
        Ok(index.manifests().clone())
    }

    async fn put(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Vec<u8>,
    ) -> Result<(), PushError> {
        let media_type = media_type.to_string();
        let content_type = media_type.parse();
        let content_type = content_type.map_err(|_| LayoutError::MediaType(media_type))?;
        self.client
            .push_manifest_raw(reference, bytes, content_type)
            .await
            .map(drop)
            .map_err(|error| failed(reference, error))
    }
}
