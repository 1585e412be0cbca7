//! What is given to operators, made of programs that are already built: container images as OCI
//! layouts, and release folders. The same programs and the same commit give the same bytes.

pub mod folder;
pub mod image;
pub mod origin;
pub mod program;
