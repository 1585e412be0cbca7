//! Objects of somebody else that a stack builds on.

use super::ObjectRef;

/// An object that has to exist before the one that refers to it can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The object that has to be there, which is not the stack's own.
    pub object: ObjectRef,
    /// The field of the stack file that names it.
    pub field: &'static str,
    /// What has to be in it.
    pub entry: Option<ListEntry>,
}

/// An element of a list in an object, by its `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Where the list is, as a JSON Pointer (RFC 6901): `/spec/listeners`.
    pub list: &'static str,
    /// What its elements are called: `listener`.
    pub element_kind: &'static str,
    /// The name of the element.
    pub name: String,
    /// The field of the stack file that names it.
    pub field: &'static str,
}
