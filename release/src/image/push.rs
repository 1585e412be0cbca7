//! Pushing a layout to a registry (OCI distribution specification 1.1).

use anyhow::{Context as _, Result};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType, SCHEMA_VERSION,
};

use super::layout::Layout;
use super::sbom::CYCLONEDX;
use crate::json;

/// How the registry is reached.
#[derive(Debug, Default)]
pub struct Registry {
    /// Without TLS.
    pub plain_http: bool,
    /// User and password; none for a registry that asks for none.
    pub user: Option<(String, String)>,
}

/// A registry that takes what is pushed to one repository.
struct Repository<'a> {
    client: Client,
    layout: &'a Layout,
    reference: &'a Reference,
}

/// Pushes the image to `reference` (`REGISTRY/REPOSITORY:TAG`), and its bill of materials beside it;
/// the digest that the tag means from now on.
pub async fn push(layout: &Layout, reference: &str, registry: &Registry) -> Result<String> {
    let reference: Reference = reference
        .parse()
        .with_context(|| format!("`{reference}` is not REGISTRY/REPOSITORY:TAG"))?;
    let config = ClientConfig {
        protocol: if registry.plain_http {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        ..ClientConfig::default()
    };
    let client = Client::try_from(config)?;
    let auth = registry
        .user
        .as_ref()
        .map_or(RegistryAuth::Anonymous, |(user, password)| {
            RegistryAuth::Basic(user.clone(), password.clone())
        });
    client
        .auth(&reference, &auth, RegistryOperation::Push)
        .await
        .with_context(|| {
            format!(
                "{} does not let us push to {}: set REGISTRY_USER and REGISTRY_PASSWORD to those of \
                 somebody who may",
                reference.registry(),
                reference.repository()
            )
        })?;
    let repository = Repository {
        client,
        layout,
        reference: &reference,
    };
    let pushed = repository.push().await;
    pushed.with_context(|| format!("cannot push to {reference}"))
}

impl Repository<'_> {
    async fn push(&self) -> Result<String> {
        let top = self.layout.index()?;
        let (indexes, artifacts): (Vec<_>, Vec<_>) = top
            .manifests()
            .iter()
            .partition(|entry| *entry.media_type() == MediaType::ImageIndex);
        let image = indexes.first().context("the layout has no image")?;
        let bytes = self.layout.blob(image)?;
        let index: ImageIndex = serde_json::from_slice(&bytes)?;
        for manifest in index.manifests() {
            self.manifest(manifest).await?;
        }
        // Last: whoever pulls the tag finds everything that it needs.
        self.put(self.reference.clone(), image.media_type(), bytes)
            .await?;
        for artifact in artifacts {
            let manifest = self.manifest(artifact).await?;
            if let Some(subject) = manifest.subject() {
                self.refer(subject, artifact).await?;
            }
        }
        Ok(image.digest().to_string())
    }

    /// Pushes a manifest with its blobs.
    async fn manifest(&self, descriptor: &Descriptor) -> Result<ImageManifest> {
        let bytes = self.layout.blob(descriptor)?;
        let manifest: ImageManifest = serde_json::from_slice(&bytes)?;
        for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
            let digest = blob.digest().to_string();
            if !self.client.blob_exists(self.reference, &digest).await? {
                let content = self.layout.blob(blob)?;
                self.client
                    .push_blob(self.reference, content, &digest)
                    .await?;
            }
        }
        let digest = descriptor.digest().to_string();
        let reference = self.reference.clone_with_digest(digest);
        self.put(reference, descriptor.media_type(), bytes).await?;
        Ok(manifest)
    }

    /// Lists an artifact under the tag of its subject, for registries without the referrers API
    /// (distribution specification, "Referrers Tag Schema").
    async fn refer(&self, subject: &Descriptor, artifact: &Descriptor) -> Result<()> {
        let mut entry = artifact.clone();
        entry.set_artifact_type(Some(MediaType::Other(CYCLONEDX.to_owned())));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![entry])
            .build()?;
        let tag = subject.digest().to_string().replace(':', "-");
        let reference = Reference::with_tag(
            self.reference.registry().to_owned(),
            self.reference.repository().to_owned(),
            tag,
        );
        self.put(reference, &MediaType::ImageIndex, json::sorted(&index)?)
            .await
    }

    async fn put(
        &self,
        reference: Reference,
        media_type: &MediaType,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let media_type = media_type.to_string().parse()?;
        self.client
            .push_manifest_raw(&reference, bytes, media_type)
            .await
            .map(drop)
            .with_context(|| reference.to_string())
    }
}
