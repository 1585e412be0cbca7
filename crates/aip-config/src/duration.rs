//! Durations as people write them: a whole number and a unit, `500ms`, `30s`, `10m`, `1h`, `14d`.

use std::time::Duration;

const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];

/// What [`parse`] takes, as a regular expression of JSON Schema.
pub(crate) const PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";

/// Reads a number with its unit.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(*millis)?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_make_a_duration() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        assert_eq!(parse("10m"), Some(Duration::from_mins(10)));
        assert_eq!(parse("14d"), Some(Duration::from_hours(14 * 24)));
    }

    #[test]
    fn anything_else_does_not() {
        for text in [
            "",
            "s",
            "30",
            "-1s",
            "1.5h",
            "1 s",
            "1S",
            "1w",
            "99999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
