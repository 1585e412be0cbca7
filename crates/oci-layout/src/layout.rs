//! A layout, wherever it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::de::DeserializeOwned;

use crate::archive::{self, Archive};
use crate::error::LayoutError;
use crate::json;

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// A layout on the disk.
#[derive(Debug, Clone)]
pub struct Layout(Place);

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    File(Archive),
}

impl Layout {
    /// An empty layout in a folder, in the place of one that may be there.
    pub fn create(folder: &Path) -> Result<Self, LayoutError> {
        let failed = |error| LayoutError::Write {
            path: folder.to_owned(),
            error,
        };
        if folder.exists() {
            let empty = std::fs::read_dir(folder).map_err(failed)?.next().is_none();
            if !empty && !folder.join(MARKER).is_file() {
                return Err(LayoutError::NotReplaced(folder.to_owned()));
            }
            std::fs::remove_dir_all(folder).map_err(failed)?;
        }
        std::fs::create_dir_all(folder.join(BLOBS)).map_err(failed)?;
        let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(folder.join(MARKER), marker).map_err(failed)?;
        Ok(Self(Place::Folder(folder.to_owned())))
    }

    /// A layout that is there: a folder, or one file.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let none = || LayoutError::NoLayout(path.to_owned());
        if path.is_file() {
            // Whatever else the file is, it is no archive.
            let archive = Archive::open(path).map_err(|_| none())?;
            return if archive.has(MARKER) {
                Ok(Self(Place::File(archive)))
            } else {
                Err(none())
            };
        }
        if !path.join(MARKER).is_file() {
            return Err(none());
        }
        Ok(Self(Place::Folder(path.to_owned())))
    }

    fn path(&self) -> &Path {
        match &self.0 {
            Place::Folder(folder) => folder,
            Place::File(archive) => archive.path(),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        match &self.0 {
            Place::Folder(folder) => {
                let path = folder.join(name);
                std::fs::read(&path).map_err(|error| LayoutError::Read { path, error })
            }
            Place::File(archive) => archive.read(name).map_err(|error| LayoutError::Read {
                path: archive.path().to_owned(),
                error,
            }),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let failed = |path: PathBuf, error| LayoutError::Write { path, error };
        match &self.0 {
            Place::Folder(folder) => {
                let path = folder.join(name);
                std::fs::write(&path, content).map_err(|error| failed(path, error))
            }
            Place::File(archive) => {
                let error = std::io::ErrorKind::ReadOnlyFilesystem.into();
                Err(failed(archive.path().to_owned(), error))
            }
        }
    }

    /// Adds a blob; what names it from now on.
    pub fn add(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let digest = hex(bytes);
        self.write(&format!("{BLOBS}/{digest}"), bytes)?;
        let digest: oci_spec::image::Digest = format!("sha256:{digest}").parse()?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Descriptor::new(media_type, size, digest))
    }

    /// The blob of this descriptor, compared with it.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let digest = descriptor.digest().digest();
        let name = format!("{BLOBS}/{digest}");
        let bytes = self.read(&name)?;
        if hex(&bytes) == digest {
            Ok(bytes)
        } else {
            let path = self.path().to_owned();
            Err(LayoutError::Changed { path, name })
        }
    }

    /// The document of this descriptor.
    pub fn document<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T, LayoutError> {
        self.parse(&self.blob(descriptor)?)
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, LayoutError> {
        serde_json::from_slice(bytes).map_err(|error| LayoutError::Document {
            path: self.path().to_owned(),
            error,
        })
    }

    /// The entry of the layout.
    pub fn index(&self) -> Result<ImageIndex, LayoutError> {
        self.parse(&self.read(INDEX)?)
    }

    /// The image: its digest is what a tag means that it is pushed under.
    pub fn image(&self) -> Result<Descriptor, LayoutError> {
        let index = self.index()?;
        let mut entries = index.manifests().iter();
        let image = entries.find(|entry| *entry.media_type() == MediaType::ImageIndex);
        image
            .cloned()
            .ok_or_else(|| LayoutError::NoImage(self.path().to_owned()))
    }

    /// Replaces the entry of the layout.
    pub fn set_index(&self, index: &ImageIndex) -> Result<(), LayoutError> {
        let bytes = json::sorted(index).map_err(|error| LayoutError::Document {
            path: self.path().to_owned(),
            error,
        })?;
        self.write(INDEX, &bytes)
    }

    /// All of a folder as one file, which [`Self::open`] reads, too. Dated `mtime`, in seconds since 1970.
    pub fn archive(&self, mtime: u64) -> Result<Vec<u8>, LayoutError> {
        let path = || self.path().to_owned();
        let blobs = self.path().join(BLOBS);
        let failed = |error| LayoutError::Read {
            path: path(),
            error,
        };
        let mut files = BTreeMap::new();
        for name in [MARKER, INDEX] {
            files.insert(name.to_owned(), self.read(name)?);
        }
        for entry in std::fs::read_dir(&blobs).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = format!("{BLOBS}/{}", name.to_string_lossy());
            let content = self.read(&name)?;
            files.insert(name, content);
        }
        archive::write(&files, mtime).map_err(|error| LayoutError::Write {
            path: path(),
            error,
        })
    }
}

/// The SHA-256 hash in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a surprise is a failure")]
mod tests {
    use oci_spec::image::{ImageIndexBuilder, SCHEMA_VERSION};
    use tempfile::TempDir;

    use super::*;

    /// A layout with an image of two blobs.
    fn layout(folder: &Path) -> (Layout, Descriptor) {
        let layout = Layout::create(folder).unwrap();
        let index = |manifests| {
            let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION);
            index.manifests(manifests).build().unwrap()
        };
        let blob = layout.add(MediaType::ImageManifest, b"{}").unwrap();
        let image = json::sorted(&index(vec![blob])).unwrap();
        let image = layout.add(MediaType::ImageIndex, &image).unwrap();
        layout.set_index(&index(vec![image.clone()])).unwrap();
        (layout, image)
    }

    #[test]
    fn one_file_holds_what_the_folder_holds() {
        let folder = TempDir::new().unwrap();
        let (written, image) = layout(&folder.path().join("layout"));
        let bytes = written.archive(1).unwrap();
        assert_eq!(written.archive(1).unwrap(), bytes);
        let path = folder.path().join("image.tar");
        std::fs::write(&path, bytes).unwrap();
        let read = Layout::open(&path).unwrap();
        assert_eq!(read.image().unwrap(), image);
        let index: ImageIndex = read.document(&image).unwrap();
        assert_eq!(read.blob(&index.manifests()[0]).unwrap(), b"{}");
        let refused = read.add(MediaType::ImageManifest, b"{}").unwrap_err();
        assert!(matches!(refused, LayoutError::Write { .. }), "{refused}");
    }

    #[test]
    fn what_is_no_layout_is_refused_and_not_replaced() {
        let folder = TempDir::new().unwrap();
        let other = folder.path().join("other");
        for content in ["", "not an archive", &"\0".repeat(2048)] {
            std::fs::write(&other, content).unwrap();
            for path in [
                &other,
                &folder.path().join("nothing"),
                &folder.path().to_owned(),
            ] {
                let refused = Layout::open(path).unwrap_err();
                assert!(matches!(refused, LayoutError::NoLayout(_)), "{refused}");
            }
        }
        let refused = Layout::create(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("is not replaced"), "{refused}");
        assert!(other.is_file());
    }

    #[test]
    fn a_blob_that_was_changed_or_cut_off_is_noticed() {
        let folder = TempDir::new().unwrap();
        let (written, image) = layout(&folder.path().join("layout"));
        let mut bytes = written.archive(1).unwrap();
        let at = bytes.windows(8).position(|it| it == b"\"digest\"").unwrap();
        bytes[at + 1] = b'D';
        let path = folder.path().join("image.tar");
        std::fs::write(&path, &bytes).unwrap();
        let refused = Layout::open(&path).unwrap().blob(&image).unwrap_err();
        assert!(refused.to_string().contains("digest"), "{refused}");
    }
}
