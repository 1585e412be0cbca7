//! The form of the table of settings: the macro that makes typed sections and their description
//! from one text.

use crate::value::Shape;

/// A group of settings: a table of `aip.toml`.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) settings: &'static [Setting],
}

/// Everything there is to say about a setting.
pub(crate) struct Setting {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// The canonical name in the environment, then the names of older versions.
    pub(crate) variables: &'static [Variable],
    pub(crate) default: Option<&'static str>,
    pub(crate) shape: Shape,
    pub(crate) secret: bool,
}

/// A name in the environment.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// How a text under this name is written as the setting has it.
    pub(crate) reading: fn(&str) -> String,
}

impl Setting {
    /// `section.name`, its name for flags and in messages.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// A table of sections: `section: Struct { field: Type = default, [ENVIRONMENT NAMES]; }`.
///
/// A type that is no `Option` needs a default. `NAME as function` rewrites a text that an older
/// version wrote differently.
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $Type:ty $(= $default:literal)?,
                [$($variable:literal $(as $reading:ident)?),+];
            )+
        }
    )+) => {
        /// All settings, section by section.
        #[derive(Debug, Clone)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $field: $Type, )+
            }

            impl $Section {
                const SETTINGS: &[crate::table::Setting] = &[$(
                    crate::table::Setting {
                        section: stringify!($section),
                        name: stringify!($field),
                        description: concat!($($doc),+),
                        variables: &[$(
                            crate::table::Variable {
                                name: $variable,
                                reading: settings!(@reading $($reading)?),
                            }
                        ),+],
                        default: settings!(@default $($default)?),
                        shape: <$Type as crate::value::Value>::SHAPE,
                        secret: <$Type as crate::value::Value>::SECRET,
                    }
                ),+];

                fn read(reader: &mut crate::reader::Reader<'_>) -> Option<Self> {
                    let [$($field),+] = Self::SETTINGS else { return None };
                    // All are read before any is missed, so that every problem is found.
                    $( let $field = reader.take::<$Type>($field); )+
                    Some(Self { $( $field: $field? ),+ })
                }
            }
        )+

        pub(crate) static SECTIONS: &[crate::table::Section] = &[$(
            crate::table::Section {
                name: stringify!($section),
                description: concat!($($section_doc),+),
                settings: $Section::SETTINGS,
            }
        ),+];

        impl Config {
            /// Reads every setting; `None` when one has no usable value, which the reader noted.
            pub(crate) fn read(reader: &mut crate::reader::Reader<'_>) -> Option<Self> {
                $( let $section = $Section::read(reader); )+
                Some(Self { $( $section: $section? ),+ })
            }
        }
    };
    (@reading) => { str::to_owned };
    (@reading $reading:ident) => { $reading };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}
pub(crate) use settings;
