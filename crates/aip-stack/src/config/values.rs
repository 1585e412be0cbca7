//! The fields that a stack file sets, and the defaults of the others.

use std::collections::BTreeMap;

use super::choices::Profile;
use super::field::{AnyField, Field, FieldType, Group};
use super::fields::{AIP_CONFIG, PROFILE};
use super::value::FieldValue;

/// `aip_config` of one stack: what a field is, set or not.
#[derive(Clone)]
pub struct Values {
    profile: Profile,
    set: BTreeMap<&'static str, FieldValue>,
    /// Lines in the stack file, from 1, by path: of fields, of maps, of values that were refused.
    lines: BTreeMap<&'static str, usize>,
}

impl Values {
    /// Values that were read. The profile is one of them, and decides the defaults of the others.
    pub(super) fn new(
        set: BTreeMap<&'static str, FieldValue>,
        lines: BTreeMap<&'static str, usize>,
    ) -> Self {
        let mut values = Self {
            profile: Profile::Compat,
            set,
            lines,
        };
        values.profile = values.get(&PROFILE);
        values
    }

    /// The value of a field, or its default. An empty text is as good as none.
    pub fn get<T: FieldType>(&self, field: &Field<T>) -> T {
        // A value is kept only if it has the shape of its field.
        let set = self.set.get(field.path()).and_then(T::from_value);
        set.unwrap_or_else(|| field.default(self.profile))
    }

    /// Whether the file sets the field, to whatever value of its shape.
    pub(super) fn is_set(&self, field: &dyn AnyField) -> bool {
        self.set.contains_key(field.path())
    }

    /// Whether the file has the map.
    pub(super) fn has(&self, group: &Group) -> bool {
        self.lines.contains_key(group.path())
    }

    /// Where `aip_config` begins.
    pub(super) fn line(&self) -> Option<usize> {
        self.line_of_group(&AIP_CONFIG)
    }

    /// Where the field stands, if it does.
    pub(super) fn line_of(&self, field: &dyn AnyField) -> Option<usize> {
        self.lines.get(field.path()).copied()
    }

    /// Where the map begins, if it is there.
    pub(super) fn line_of_group(&self, group: &Group) -> Option<usize> {
        self.lines.get(group.path()).copied()
    }
}
