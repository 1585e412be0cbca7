//! An OCI image on the disk: blobs that are named for their digest, and an index, in a folder or in one file (OCI
//! image specification 1.1, "OCI Image Layout Specification"); and pushing it to a registry.

mod archive;
mod error;
mod json;
mod layout;
mod push;
mod said;

pub use self::error::LayoutError;
pub use self::json::sorted as sorted_json;
pub use self::layout::{Layout, hex};
pub use self::push::{PushError, Pushed, Registry, push};
pub use self::said::is_refusal;
