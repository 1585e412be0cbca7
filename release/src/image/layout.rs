//! An OCI image layout: a folder with blobs that are named for their digest, and an index.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use crate::json;

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// A layout on the disk.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// An empty layout in the place of one that may be there.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        if folder.exists() {
            let empty = std::fs::read_dir(folder)?.next().is_none();
            if !empty && !folder.join(MARKER).is_file() {
                bail!("{shown} is no OCI layout, and is not replaced: choose another folder");
            }
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot replace {shown}"))?;
        }
        std::fs::create_dir_all(folder.join(BLOBS))
            .with_context(|| format!("cannot make {shown}"))?;
        std::fs::write(folder.join(MARKER), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self(folder.to_owned()))
    }

    /// A layout that is there.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join(MARKER).is_file() {
            bail!(
                "{} is no OCI layout: `cargo xtask image` writes one",
                folder.display()
            );
        }
        Ok(Self(folder.to_owned()))
    }

    /// Adds a blob; what names it from now on.
    pub(super) fn add(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let digest = hex(bytes);
        std::fs::write(self.0.join(BLOBS).join(&digest), bytes)
            .with_context(|| format!("cannot write a blob of {}", self.0.display()))?;
        let digest: oci_spec::image::Digest = format!("sha256:{digest}").parse()?;
        Ok(Descriptor::new(media_type, bytes.len().try_into()?, digest))
    }

    /// The blob of this descriptor, compared with it.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = descriptor.digest().digest();
        let path = self.0.join(BLOBS).join(digest);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            hex(&bytes) == digest,
            "{} does not have the digest of its name",
            path.display()
        );
        Ok(bytes)
    }

    /// The entry of the layout.
    pub fn index(&self) -> Result<ImageIndex> {
        let path = self.0.join(INDEX);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    pub(super) fn set_index(&self, index: &ImageIndex) -> Result<()> {
        Ok(std::fs::write(self.0.join(INDEX), json::sorted(index)?)?)
    }
}

/// The SHA-256 hash in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
