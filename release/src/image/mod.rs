//! The container image of `aip`: the static program, certificate authorities, a user without a name
//! on any machine, and nothing that could start anything else.
//!
//! OCI image specification 1.1: <https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md>.

mod config;
mod files;
mod sbom;
mod unpack;
mod write;

pub use config::{ENTRY_POINT, LABELS, PORTS, USER_ID};
pub(crate) use files::compress;
pub use files::{File, Files, files, write_below};
pub(crate) use oci_layout::hex;
pub use oci_layout::{Layout, Registry, push};
pub use unpack::{Unpacked, unpack};
pub use write::{Contents, write};
