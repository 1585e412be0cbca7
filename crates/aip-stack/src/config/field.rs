//! What a field of the stack file is: its path, type, range, default and description.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strum::VariantNames;
use yaml_lossless::Segment;

use super::choices::{
    AnnotationsStyle, CertificateKind, EdgeKind, ImageDigest, IssuerKind, MigrationMode,
    PostgresKind, Profile, ServiceType, ValkeyKind,
};
use super::value::{ConfigString, EnvValues, FieldValue};

/// A field of the stack file. A value that the file does not set is the default of the profile.
pub struct Field<T: 'static> {
    path: &'static str,
    shape: Shape,
    default: fn(Profile) -> T,
    description: &'static str,
}

/// Fields that stand in one map, and the maps below it.
pub struct Group {
    path: &'static str,
    description: &'static str,
    /// The fields of the map itself.
    pub fields: &'static [&'static dyn AnyField],
    /// The maps inside.
    pub groups: &'static [&'static Self],
}

/// A variable of an environment that is known by name.
pub struct Variable {
    /// Its key below the group, such as `storage_class`.
    pub name: &'static str,
    /// One line for the schema and the reference page.
    pub description: &'static str,
    /// Whether its value is encrypted in the stack file.
    pub is_secret: bool,
    /// What is wrong with a value, completing "VARIABLE …"; the message never repeats the value.
    pub check: fn(&str) -> Result<(), String>,
}

/// Type and range of a field.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Text; a value that looks like a number or a date must be in quotes.
    String,
    /// A quantity of Kubernetes: text, or a bare number.
    Quantity,
    /// `true` or `false`.
    Bool,
    /// An integer.
    Int {
        /// Inclusive.
        min: i64,
        /// Inclusive.
        max: i64,
    },
    /// One of these values.
    Word(&'static [&'static str]),
    /// A list of strings.
    StringList,
    /// A map of strings.
    StringMap,
    /// Environment: strings, of which some are known by name.
    Env(&'static [&'static Variable]),
    /// A map with these fields.
    Group(&'static Group),
}

/// A field, whatever its type.
pub trait AnyField: Sync {
    /// Where it stands: `aip_config.replicas`.
    fn path(&self) -> &'static str;
    /// Type and range.
    fn shape(&self) -> Shape;
    /// One line for the schema and the reference page.
    fn description(&self) -> &'static str;
    /// The default as JSON; null if there is none.
    fn default_json(&self, profile: Profile) -> Value;

    /// The name in the stack file.
    fn name(&self) -> &'static str {
        last_segment(self.path())
    }
}

/// A type that a field can have.
pub trait FieldType: Sized + 'static {
    /// The shape, unless the field narrows it.
    const SHAPE: Shape;

    /// The value; none if it is empty, is not decrypted, or has another shape.
    fn from_value(value: &FieldValue) -> Option<Self>;

    /// A default as JSON; null if there is none.
    fn to_json(&self) -> Value;
}

impl<T> Field<T> {
    /// `description` may begin with the blanks of a doc comment.
    pub(super) const fn new(
        path: &'static str,
        shape: Shape,
        default: fn(Profile) -> T,
        description: &'static str,
    ) -> Self {
        Self {
            path,
            shape,
            default,
            description: description.trim_ascii(),
        }
    }

    /// Where it stands: `aip_config.replicas`.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// What it is where the stack file does not set it.
    pub fn default(&self, profile: Profile) -> T {
        (self.default)(profile)
    }
}

impl<T: FieldType> AnyField for Field<T> {
    fn path(&self) -> &'static str {
        self.path
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn default_json(&self, profile: Profile) -> Value {
        self.default(profile).to_json()
    }
}

impl Group {
    /// `description` may begin with the blanks of a doc comment.
    pub(super) const fn new(
        path: &'static str,
        description: &'static str,
        fields: &'static [&'static dyn AnyField],
        groups: &'static [&'static Self],
    ) -> Self {
        Self {
            path,
            description: description.trim_ascii(),
            fields,
            groups,
        }
    }

    /// Where it stands: `aip_config.service`.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// One line for the schema and the reference page.
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// The name in the stack file.
    pub fn name(&self) -> &'static str {
        last_segment(self.path)
    }

    /// The shape of what stands under `name` in this map.
    pub fn shape_of(&self, name: &str) -> Option<Shape> {
        let field = self.fields.iter().find(|field| field.name() == name);
        let group = || self.groups.iter().find(|group| group.name() == name);
        match field {
            Some(field) => Some(field.shape()),
            None => group().map(|group| Shape::Group(group)),
        }
    }

    /// The names that the map can have.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter().map(|field| field.name());
        fields.chain(self.groups.iter().map(|group| group.name()))
    }
}

impl Shape {
    /// The shape of the value at `steps` below a value of this shape; `None` where nothing is
    /// known.
    pub fn at(self, steps: &[Segment]) -> Option<Self> {
        steps
            .iter()
            .try_fold(self, |shape, step| match (shape, step) {
                (Self::Group(group), Segment::Key(name)) => group.shape_of(name),
                (Self::StringMap | Self::Env(_), Segment::Key(_))
                | (Self::StringList, Segment::Index(_)) => Some(Self::String),
                _ => None,
            })
    }

    /// Completes "must be …".
    pub fn describe(self) -> String {
        match self {
            Self::String => "a string".to_owned(),
            Self::Quantity => "a Kubernetes quantity such as 500m, 2 or 128Mi".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::Word(words) => words.join(" or "),
            Self::StringList => "a list of strings".to_owned(),
            Self::StringMap | Self::Env(_) => "a map of strings".to_owned(),
            Self::Group(_) => "a map".to_owned(),
        }
    }
}

fn last_segment(path: &'static str) -> &'static str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}

impl<T: FieldType> FieldType for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn from_value(value: &FieldValue) -> Option<Self> {
        T::from_value(value).map(Some)
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
}

/// Implements [`FieldType`]: shape, the value out of a [`FieldValue`], and its JSON.
macro_rules! field_type {
    ($type:ty, $shape:expr, $pattern:pat => $value:expr, $to_json:expr) => {
        impl FieldType for $type {
            const SHAPE: Shape = $shape;

            fn from_value(value: &FieldValue) -> Option<Self> {
                match value {
                    $pattern => $value,
                    _ => None,
                }
            }

            fn to_json(&self) -> Value {
                let to_json: fn(&Self) -> Value = $to_json;
                to_json(self)
            }
        }
    };
}

field_type!(
    bool,
    Shape::Bool,
    FieldValue::Bool(value) => Some(*value),
    |value| json!(value)
);
field_type!(
    String,
    Shape::String,
    FieldValue::String(text) => plain(text).filter(|text| !text.is_empty()),
    |text| json!(text)
);
field_type!(
    ConfigString,
    Shape::String,
    FieldValue::String(text) => Some(text.clone()),
    |_| Value::Null
);
field_type!(
    Vec<String>,
    Shape::StringList,
    FieldValue::StringList(texts) => Some(texts.iter().filter_map(plain).collect()),
    |texts| json!(texts)
);
field_type!(
    BTreeMap<String, String>,
    Shape::StringMap,
    FieldValue::StringMap(map) => {
        let pairs = map.iter();
        Some(pairs.filter_map(|(name, text)| Some((name.clone(), plain(text)?))).collect())
    },
    |map| json!(map)
);
field_type!(
    BTreeMap<String, ConfigString>,
    Shape::StringMap,
    FieldValue::StringMap(map) => Some(map.clone()),
    |_| json!({})
);
field_type!(
    EnvValues,
    Shape::Env(&[]),
    FieldValue::Env(env) => Some(env.clone()),
    |_| json!({})
);

/// Integers; a field narrows the range of its type.
macro_rules! integer_fields {
    ($($type:ty),+) => {$(
        field_type!(
            $type,
            Shape::Int { min: 0, max: <$type>::MAX as i64 },
            FieldValue::Int(number) => Self::try_from(*number).ok(),
            |number| json!(number)
        );
    )+};
}

integer_fields!(u16, u32);

/// Enums whose variants are the words of the field.
macro_rules! word_fields {
    ($($type:ty),+) => {$(
        field_type!(
            $type,
            Shape::Word(Self::VARIANTS),
            FieldValue::String(text) => text.plaintext()?.parse().ok(),
            |word| json!(<&'static str>::from(word))
        );
    )+};
}

word_fields!(
    AnnotationsStyle,
    CertificateKind,
    EdgeKind,
    ImageDigest,
    IssuerKind,
    MigrationMode,
    PostgresKind,
    Profile,
    ServiceType,
    ValkeyKind
);

fn plain(text: &ConfigString) -> Option<String> {
    text.plaintext().map(str::to_owned)
}

/// Declares the fields of one map, each once: a constant that reads it, and its row in the table of
/// the map. The doc comment is the description. `as` narrows the shape of the type; behind `=>`
/// stands the default for a profile.
macro_rules! fields {
    (@shape $type:ty) => { <$type as FieldType>::SHAPE };
    (@shape $type:ty, $shape:expr) => { $shape };
    (
        $(#[doc = $about:literal])+
        $group:ident at $path:literal {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty = $key:literal $(as $shape:expr)? => $default:expr;
            )*
        }
        $(with [$($below:ident),+ $(,)?])?
    ) => {
        $(
            $(#[doc = $doc])+
            pub const $name: Field<$type> = Field::new(
                concat!($path, ".", $key),
                fields!(@shape $type $(, $shape)?),
                $default,
                concat!($($doc),+),
            );
        )*

        $(#[doc = $about])+
        pub const $group: Group = Group::new(
            $path,
            concat!($($about),+),
            &[$(&$name),*],
            &[$($(&$below),+)?],
        );
    };
}

pub(super) use fields;
