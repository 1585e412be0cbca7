//! Pushing a layout to a registry (OCI distribution specification 1.1).

use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
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
use crate::said::{is_declined, is_missing, is_refusal, words};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may say nothing: it may check a large blob before it answers.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// How the registry is reached.
#[derive(Debug, Default)]
pub struct Registry {
    /// Without TLS.
    pub plain_http: bool,
    /// User and password; none for a registry that asks for none.
    pub user: Option<(String, SecretString)>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest that the tag means from now on, `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// What the registry did not take besides the image, a sentence each.
    pub warnings: Vec<String>,
}

/// Why an image was not pushed. Unless the variant says more, what was pushed before stays, and the tag means what
/// it meant.
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
        "{registry} does not let us push to {repository}: {said}: set REGISTRY_USER and REGISTRY_PASSWORD to those \
         of somebody who may"
    )]
    NotAllowed {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What it said.
        said: String,
    },
    /// The registry refuses, or is out of reach.
    #[error("cannot push to {reference}: {said}")]
    Registry {
        /// What was to be pushed.
        reference: String,
        /// Why not.
        said: String,
    },
    /// The image is there, and its tag means it; the bill of materials is not.
    #[error("{image} is pushed, but not its bill of materials: {error}: push it once more")]
    WithoutSbom {
        /// The image, with its digest.
        image: String,
        /// Why not.
        error: Box<Self>,
    },
}

/// Why a step of a push was not done.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// The image cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The registry did not do it.
    #[error(transparent)]
    Registry(#[from] OciDistributionError),
}

/// What came of a step that can be done without.
enum Optional<T> {
    Done(T),
    /// In the words of the registry.
    Declined(String),
}

/// A registry that takes what is pushed to one repository.
struct Repository<'a> {
    client: Client,
    layout: &'a Layout,
    reference: &'a Reference,
}

/// Pushes the image to `reference` (`REGISTRY/REPOSITORY:TAG`), and its bill of materials beside it. A registry that
/// does not take the bill, or a user who may not list it, has the image without, with a warning.
pub async fn push(
    layout: &Layout,
    reference: &str,
    registry: &Registry,
) -> Result<Pushed, PushError> {
    let malformed = |_| PushError::Reference(reference.to_owned());
    let reference: Reference = reference.parse().map_err(malformed)?;
    let config = ClientConfig {
        protocol: if registry.plain_http {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
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

fn failed(reference: &Reference, error: impl Into<StepError>) -> PushError {
    let error = match error.into() {
        StepError::Layout(error) => return PushError::Layout(error),
        StepError::Registry(error) => error,
    };
    let said = words(&error);
    if is_refusal(&error) {
        return PushError::NotAllowed {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            said,
        };
    }
    PushError::Registry {
        reference: reference.to_string(),
        said,
    }
}

/// Of what can be done without, a registry may decline anything; it may not fail.
fn optional<T>(
    done: Result<T, StepError>,
    reference: &Reference,
) -> Result<Optional<T>, PushError> {
    match done {
        Ok(done) => Ok(Optional::Done(done)),
        Err(StepError::Registry(error)) if is_declined(&error) => {
            Ok(Optional::Declined(words(&error)))
        }
        Err(error) => Err(failed(reference, error)),
    }
}

impl Repository<'_> {
    async fn push(&self) -> Result<Pushed, PushError> {
        let image = self.layout.image()?;
        self.image(&image)
            .await
            .map_err(|error| failed(self.reference, error))?;
        let digest = image.digest().to_string();
        match self.bills().await {
            Ok(warnings) => Ok(Pushed { digest, warnings }),
            Err(error) => Err(PushError::WithoutSbom {
                image: format!("{}@{digest}", self.reference),
                error: Box::new(error),
            }),
        }
    }

    async fn image(&self, image: &Descriptor) -> Result<(), StepError> {
        let bytes = self.layout.blob(image)?;
        let index: ImageIndex = self.layout.parse(&bytes)?;
        for manifest in index.manifests() {
            self.manifest(manifest).await?;
        }
        // Last: whoever pulls the tag finds everything that it needs.
        self.put(self.reference, image.media_type(), bytes).await
    }

    /// Pushes what lies beside the image: bills of materials. What the registry declined of it.
    async fn bills(&self) -> Result<Vec<String>, PushError> {
        let top = self.layout.index()?;
        let others = top.manifests().iter();
        let mut warnings = Vec::new();
        for artifact in others.filter(|entry| *entry.media_type() != MediaType::ImageIndex) {
            let pushed = self.manifest(artifact).await;
            let declined = match optional(pushed, self.reference)? {
                Optional::Declined(said) => Some(format!(
                    "{} does not take the bill of materials of the image: {said}",
                    self.reference.registry()
                )),
                Optional::Done(manifest) => match manifest.subject() {
                    Some(subject) => self.refer(subject, artifact, &manifest).await?,
                    None => None,
                },
            };
            warnings.extend(declined);
        }
        Ok(warnings)
    }

    /// Pushes a manifest with its blobs.
    async fn manifest(&self, descriptor: &Descriptor) -> Result<ImageManifest, StepError> {
        let bytes = self.layout.blob(descriptor)?;
        let manifest: ImageManifest = self.layout.parse(&bytes)?;
        for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
            self.blob(blob).await?;
        }
        let digest = descriptor.digest().to_string();
        let reference = self.reference.clone_with_digest(digest);
        self.put(&reference, descriptor.media_type(), bytes).await?;
        Ok(manifest)
    }

    /// Pushes a blob, unless it is there.
    async fn blob(&self, blob: &Descriptor) -> Result<(), StepError> {
        let digest = blob.digest().to_string();
        match self.client.blob_exists(self.reference, &digest).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // Who may push is not always one who may read.
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let content = self.layout.blob(blob)?;
        self.client
            .push_blob(self.reference, content, &digest)
            .await?;
        Ok(())
    }

    /// Lists an artifact under the tag of its subject, for registries without the referrers API
    /// (distribution specification, "Referrers Tag Schema"). Why it is not listed there, if the registry does not
    /// let us.
    async fn refer(
        &self,
        subject: &Descriptor,
        artifact: &Descriptor,
        manifest: &ImageManifest,
    ) -> Result<Option<String>, PushError> {
        let mut entry = artifact.clone();
        entry.set_artifact_type(manifest.artifact_type().clone());
        let tag = subject.digest().to_string().replace(':', "-");
        let unlisted = |why: &str| {
            format!(
                "the bill of materials is pushed ({}), but not listed under the tag {tag}, {why}. Registries with \
                 the referrers API list it by themselves",
                artifact.digest(),
            )
        };
        let reference = Reference::with_tag(
            self.reference.registry().to_owned(),
            self.reference.repository().to_owned(),
            tag.clone(),
        );
        let listed = self.listed(&reference).await;
        let mut entries = match optional(listed, &reference)? {
            Optional::Done(Some(entries)) => entries,
            Optional::Done(None) => return Ok(Some(unlisted("which is no list"))),
            // Whatever else is listed there would be lost.
            Optional::Declined(said) => {
                return Ok(Some(unlisted(&format!("which cannot be read: {said}"))));
            }
        };
        if entries.iter().any(|it| it.digest() == entry.digest()) {
            return Ok(None);
        }
        entries.push(entry);
        let put = self.list(&reference, entries).await;
        Ok(match optional(put, &reference)? {
            Optional::Done(()) => None,
            Optional::Declined(said) => Some(unlisted(&format!("which cannot be written: {said}"))),
        })
    }

    /// What a tag lists already: signatures of others, for instance. `None` if it is no list.
    async fn listed(&self, tag: &Reference) -> Result<Option<Vec<Descriptor>>, StepError> {
        // The client has the user's credentials already; these are not used.
        let auth = RegistryAuth::Anonymous;
        let accepted = [OCI_IMAGE_INDEX_MEDIA_TYPE];
        match self.client.pull_manifest_raw(tag, &auth, &accepted).await {
            Ok((bytes, _)) => {
                let index: Option<ImageIndex> = serde_json::from_slice(&bytes).ok();
                Ok(index.map(|it| it.manifests().clone()))
            }
            Err(error) if is_missing(&error) => Ok(Some(Vec::new())),
            Err(error) => Err(error.into()),
        }
    }

    async fn list(&self, tag: &Reference, entries: Vec<Descriptor>) -> Result<(), StepError> {
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(entries)
            .build()
            .map_err(LayoutError::from)?;
        let bytes = json::sorted(&index).map_err(OciDistributionError::from)?;
        self.put(tag, &MediaType::ImageIndex, bytes).await
    }

    async fn put(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Vec<u8>,
    ) -> Result<(), StepError> {
        let media_type = media_type.to_string();
        let content_type = media_type.parse();
        let content_type = content_type.map_err(|_| LayoutError::MediaType(media_type))?;
        self.client
            .push_manifest_raw(reference, bytes, content_type)
            .await?;
        Ok(())
    }
}
