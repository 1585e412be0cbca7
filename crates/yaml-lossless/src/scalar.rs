//! What a plain scalar means: the resolution table of `gopkg.in/yaml.v3` (`resolve.go`).

/// A scalar as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text without quotes and escapes; of a plain scalar exactly what is written.
    pub text: String,
    /// What the text means.
    pub kind: ScalarKind,
}

/// The quotes of an inline scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    None,
    Single,
    Double,
}

/// The type a scalar has for a YAML reader. Quoted scalars are always [`ScalarKind::String`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false` (in YAML 1.2 `yes`, `no`, `on` and `off` are text).
    Bool(bool),
    /// A whole number, however it is written (`0x1F`, `017`, `1_000`).
    Int,
    /// A number with a fraction or an exponent, infinity, or "not a number".
    Float,
    /// An unquoted date or time.
    Date,
    /// Everything else.
    String,
}

impl ScalarKind {
    /// What to call this type in a message to a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Date => "a date",
            Self::String => "a string",
        }
    }

    /// The type of an unquoted scalar.
    pub(crate) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float,
            _ => {}
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
            return Self::Float;
        }
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Self::String;
        }
        if is_date(text) {
            return Self::Date;
        }
        let digits = unsigned.replace('_', "");
        if is_int(&digits) {
            Self::Int
        } else if is_float(&digits) {
            Self::Float
        } else {
            Self::String
        }
    }
}

/// Go's `ParseInt(s, 0, 64)`: `0x`, `0o`, `0b` and a leading zero (octal) are understood. What
/// does not fit 64 bits is a float for Go, and for us too.
fn is_int(digits: &str) -> bool {
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    !digits.starts_with(['+', '-']) && u64::from_str_radix(digits, radix).is_ok()
}

/// `^(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    // `12e4567` overflows, and Go then leaves it as text.
    exponent_fits && mantissa_fits && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether Go would read a `time.Time`: `2006-1-2`, alone or followed by a clock time.
fn is_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((text.as_bytes()[at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let number = |s: &str, lengths: &[usize], range: std::ops::RangeInclusive<u32>| {
        lengths.contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_digit())
            && s.parse().is_ok_and(|n| range.contains(&n))
    };
    let date_fits = number(year, &[4], 0..=9999)
        && number(month, &[1, 2], 1..=12)
        && number(day, &[1, 2], 1..=31);
    let clock_fits = |clock: &str| {
        let mut parts = clock.splitn(3, ':');
        let hour = parts.next().is_some_and(|s| number(s, &[1, 2], 0..=23));
        let minute = parts.next().is_some_and(|s| number(s, &[1, 2], 0..=59));
        let second = parts.next().is_some_and(|s| {
            let (whole, fraction) = s.split_once('.').unwrap_or((s, "0"));
            number(whole, &[1, 2], 0..=59)
                && !fraction.is_empty()
                && fraction.bytes().all(|b| b.is_ascii_digit())
        });
        hour && minute && second
    };
    date_fits
        && match time {
            None => true,
            // A space takes no offset, a `T` needs one (Go's four layouts).
            Some((b' ', clock)) => clock_fits(clock.trim_start_matches(' ')),
            Some((_, rest)) => match rest.strip_suffix('Z') {
                Some(clock) => clock_fits(clock),
                None => rest
                    .rfind(['+', '-'])
                    .is_some_and(|at| rest.len() - at == 6 && clock_fits(&rest[..at])),
            },
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_that_go_gives_them() {
        use ScalarKind::{Bool, Date, Float, Int, Null, String};
        let table = [
            ("", Null),
            ("~", Null),
            ("true", Bool(true)),
            ("False", Bool(false)),
            ("yes", String),
            ("on", String),
            ("5", Int),
            ("-5", Int),
            ("017", Int),
            ("089", Float),
            ("0x1F", Int),
            ("1_000", Int),
            ("0b11", Int),
            ("18446744073709551615", Int),
            ("18446744073709551616", Float),
            ("1.10", Float),
            (".5", Float),
            ("1e3", Float),
            ("12e4567", String),
            (".inf", Float),
            ("v0.1.2", String),
            ("1.2.3", String),
            ("2024-01-01", Date),
            ("2024-1-1T10:00:00Z", Date),
            ("2024-01-01 10:00:00", Date),
            ("2024-01-01 10:00:00 +01:00", String),
            ("2024-13-01", String),
            ("8f3a9c1", String),
            ("1234567e8", Float),
            ("0x", String),
            ("-", String),
            (".", String),
        ];
        for (text, kind) in table {
            assert_eq!(ScalarKind::of_plain(text), kind, "{text:?}");
        }
    }
}
