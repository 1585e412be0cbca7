//! Why an image on the disk cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an image cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Something else is there.
    #[error(
        "{} is no OCI layout: name the file `aip-VERSION-image.tar` of a release, or a folder that `cargo xtask image` \
         has written", .0.display()
    )]
    NoLayout(PathBuf),
    /// Something else is there, which is not replaced.
    #[error("{} is no OCI layout, and is not replaced: choose another folder", .0.display())]
    NotReplaced(PathBuf),
    /// It is one, and has no image for a tag.
    #[error("{} has no image index", .0.display())]
    NoImage(PathBuf),
    /// A file that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file or folder that cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A copy that went wrong.
    #[error("{name} in {} does not have the digest of its name: copy the image again", path.display())]
    Changed {
        /// The layout.
        path: PathBuf,
        /// The blob.
        name: String,
    },
    /// A document of it.
    #[error("{} has a document that is not understood: {error}", path.display())]
    Document {
        /// The layout.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// A document of an unknown kind.
    #[error("`{0}` is no media type")]
    MediaType(String),
    /// What is to be written is no document of the specification.
    #[error(transparent)]
    Specification(#[from] oci_spec::OciSpecError),
}
