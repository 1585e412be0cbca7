//! The bill of materials beside an image: an artifact whose subject is the image (OCI image
//! specification, "Guidelines for Artifact Usage").

use anyhow::Result;
use oci_layout::{Layout, sorted_json};
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use super::config::LABELS;
use crate::origin::Origin;

/// <https://www.iana.org/assignments/media-types/application/vnd.cyclonedx+json>
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
/// What stands for the configuration that an artifact has not.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const CREATED: &str = LABELS[0];

/// Adds it; its entry in the index of the layout.
pub(super) fn attach(
    layout: &Layout,
    sbom: &[u8],
    image: &Descriptor,
    origin: &Origin,
) -> Result<Descriptor> {
    let media_type = MediaType::Other(CYCLONEDX.to_owned());
    let config = layout.add(MediaType::Other(EMPTY.to_owned()), b"{}")?;
    let content = layout.add(media_type.clone(), sbom)?;
    let mut subject = image.clone();
    subject.set_platform(None);
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .artifact_type(media_type.clone())
        .config(config)
        .layers(vec![content])
        .subject(subject)
        .annotations([(CREATED.to_owned(), origin.rfc3339())])
        .build()?;
    let mut entry = layout.add(MediaType::ImageManifest, &sorted_json(&manifest)?)?;
    entry.set_artifact_type(Some(media_type));
    Ok(entry)
}
