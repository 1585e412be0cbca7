//! Writing an image: one manifest per architecture, and one index over them.

use std::path::Path;

use anyhow::{Result, ensure};
use oci_layout::{Layout, hex, sorted_json};
use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os,
    PlatformBuilder, SCHEMA_VERSION,
};

use super::config::{LABELS, config, label, oci_name};
use super::files::{archive, compress, files};
use super::sbom;
use crate::origin::Origin;
use crate::program::Program;

/// Names the image in the index of a layout.
const REFERENCE: &str = "org.opencontainers.image.ref.name";

/// What an image is made of.
pub struct Contents<'a> {
    /// The program, once for each architecture.
    pub programs: &'a [Program],
    /// The bill of materials of the program, as `CycloneDX` JSON.
    pub sbom: Option<&'a [u8]>,
    /// Version and commit.
    pub origin: &'a Origin,
}

/// Writes a layout with the image; the digest of its index.
pub fn write(folder: &Path, contents: &Contents<'_>) -> Result<String> {
    let programs = contents.programs;
    ensure!(!programs.is_empty(), "an image needs a program");
    let mut architectures: Vec<_> = programs.iter().map(|it| it.architecture).collect();
    architectures.sort_unstable();
    architectures.dedup();
    ensure!(
        architectures.len() == programs.len(),
        "an image has one program for each architecture; there are two for the same one"
    );
    let layout = Layout::create(folder)?;
    let mut images = Vec::new();
    let mut entries = Vec::new();
    for program in programs {
        let image = manifest(&layout, program, contents.origin)?;
        if let Some(sbom) = contents.sbom {
            entries.push(sbom::attach(&layout, sbom, &image, contents.origin)?);
        }
        images.push(image);
    }
    let mut index = layout.add(MediaType::ImageIndex, &sorted_json(&index(images)?)?)?;
    let digest = index.digest().to_string();
    let reference = (REFERENCE.to_owned(), contents.origin.version.clone());
    index.set_annotations(Some([reference].into()));
    entries.insert(0, index);
    layout.set_index(&self::index(entries)?)?;
    Ok(digest)
}

/// The image for one architecture.
fn manifest(layout: &Layout, program: &Program, origin: &Origin) -> Result<Descriptor> {
    let files = archive(&files(program), origin.epoch())?;
    let layer = layout.add(MediaType::ImageLayerGzip, &compress(&files)?)?;
    let config = config(
        program.architecture,
        format!("sha256:{}", hex(&files)),
        origin,
    )?;
    let config = layout.add(MediaType::ImageConfig, &sorted_json(&config)?)?;
    let annotations = LABELS.map(|name| (name.to_owned(), label(name, origin)));
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(vec![layer])
        .annotations(
            annotations
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        )
        .build()?;
    let mut manifest = layout.add(MediaType::ImageManifest, &sorted_json(&manifest)?)?;
    let platform = PlatformBuilder::default()
        .architecture(oci_name(program.architecture))
        .os(Os::Linux)
        .build()?;
    manifest.set_platform(Some(platform));
    Ok(manifest)
}

fn index(manifests: Vec<Descriptor>) -> Result<ImageIndex> {
    Ok(ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()?)
}
