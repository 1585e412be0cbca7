//! Unpacking an image as a container runtime does, for those who run one without a runtime.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use oci_layout::Layout;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};

use super::config::oci_name;
use crate::program::Architecture;

/// What a container of the image starts with.
#[derive(Debug)]
pub struct Unpacked {
    /// The folder with the image's files.
    pub root: PathBuf,
    /// The configuration: entry point, arguments, variables, user.
    pub config: ImageConfiguration,
}

/// Unpacks the image for an architecture into the folder `root`, which is made.
pub fn unpack(layout: &Layout, architecture: Architecture, root: &Path) -> Result<Unpacked> {
    let manifest = manifest(layout, architecture)?;
    let manifest: ImageManifest = layout.document(&manifest)?;
    let config = layout.document(manifest.config())?;
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    for layer in manifest.layers() {
        ensure!(
            *layer.media_type() == MediaType::ImageLayerGzip,
            "a layer is {}, which is not understood",
            layer.media_type()
        );
        let bytes = layout.blob(layer)?;
        let mut files = tar::Archive::new(GzDecoder::new(&*bytes));
        // All bits of a mode, the one of `/tmp` too.
        files.set_preserve_permissions(true);
        files
            .unpack(root)
            .with_context(|| format!("cannot unpack a layer into {}", root.display()))?;
    }
    Ok(Unpacked {
        root: root.to_owned(),
        config,
    })
}

/// The manifest for an architecture.
fn manifest(layout: &Layout, architecture: Architecture) -> Result<Descriptor> {
    let index: ImageIndex = layout.document(&layout.image()?)?;
    let mut manifests = index.manifests().iter();
    let found = manifests.find(|entry| {
        let platform = entry.platform().as_ref();
        platform.is_some_and(|it| *it.architecture() == oci_name(architecture))
    });
    let found = found.with_context(|| format!("the image is not for {}", architecture.name()))?;
    Ok(found.clone())
}
