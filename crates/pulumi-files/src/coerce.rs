//! What type a value from the command line has: by its look (Pulumi's rule for paths) or as asked
//! for with `--type`.

use yaml_lossless::Tree;

/// A type asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Text, whatever it looks like.
    String,
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A finite number.
    Float,
}

/// The value does not have the type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is not {expected}")]
pub struct CoerceError {
    /// The type in words.
    pub expected: &'static str,
}

/// By the look: `true` and `false`, and decimal numbers that do not begin with a zero.
pub fn by_look(text: &str) -> Tree {
    let number = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    match text {
        "true" | "false" | "0" => Tree::Plain(text.to_owned()),
        _ if number && !text.starts_with('0') => {
            Tree::Plain(text.strip_prefix('+').unwrap_or(text).to_owned())
        }
        _ => Tree::String(text.to_owned()),
    }
}

impl ValueType {
    /// The value as this type. Pulumi turns an unknown bool into `false` and writes `inf` into a
    /// file that it then cannot read; here both are errors.
    pub fn coerce(self, text: &str) -> Result<Tree, CoerceError> {
        match self {
            Self::String => Ok(Tree::String(text.to_owned())),
            Self::Bool => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Tree::Plain("true".to_owned())),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => {
                    Ok(Tree::Plain("false".to_owned()))
                }
                _ => Err(CoerceError {
                    expected: "true or false",
                }),
            },
            Self::Int => match text.parse::<i64>() {
                Ok(number) => Ok(Tree::Plain(number.to_string())),
                Err(_) => Err(CoerceError {
                    expected: "an integer",
                }),
            },
            Self::Float => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Tree::Plain(format!("{number:?}"))),
                _ => Err(CoerceError {
                    expected: "a finite number",
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_path_has_the_type_it_looks_like() {
        let plain = ["true", "false", "0", "5", "-5", "18446744073709551615"];
        for text in plain {
            assert_eq!(by_look(text), Tree::Plain(text.to_owned()));
        }
        assert_eq!(by_look("+5"), Tree::Plain("5".to_owned()));
        for text in [
            "True",
            "007",
            "1.10",
            "1e3",
            "",
            "-",
            "18446744073709551616",
            "0x1",
        ] {
            assert_eq!(by_look(text), Tree::String(text.to_owned()));
        }
    }

    #[test]
    fn a_type_that_does_not_fit_is_an_error_and_not_false() {
        assert_eq!(
            ValueType::Bool.coerce("T"),
            Ok(Tree::Plain("true".to_owned()))
        );
        assert_eq!(
            ValueType::Int.coerce("007"),
            Ok(Tree::Plain("7".to_owned()))
        );
        assert_eq!(
            ValueType::Float.coerce("1.50"),
            Ok(Tree::Plain("1.5".to_owned()))
        );
        assert_eq!(
            ValueType::String.coerce("5"),
            Ok(Tree::String("5".to_owned()))
        );
        for (kind, text) in [
            (ValueType::Bool, "yes"),
            (ValueType::Int, "1.5"),
            (ValueType::Float, "inf"),
            (ValueType::Float, "NaN"),
        ] {
            assert!(kind.coerce(text).is_err(), "{text}");
        }
    }
}
