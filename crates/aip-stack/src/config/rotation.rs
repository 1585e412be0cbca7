//! The periods of the rotation of keys, `aip_config.keys`.

use std::time::Duration;

use crate::signing_keys::Schedule;

/// The longest life of a token that an app can be given is 24 hours (`aip clients`), and the key sets
/// are served with a `max-age` of five minutes.
const MIN_OVERLAP: Duration = Duration::from_hours(25);

/// `aip_config.keys.overlap` if it is not set.
pub(super) const DEFAULT_OVERLAP: &str = "2d";

/// Between two keys lie a publication and an activation, each a deployment, and one run a day.
const MIN_ROTATE_EVERY: Duration = Duration::from_hours(7 * 24);

/// No calendar of an operator reaches further.
const MAX_PERIOD: Duration = Duration::from_hours(24 * 3650);

const UNITS: [(char, u64); 3] = [('h', 3600), ('d', 24 * 3600), ('w', 7 * 24 * 3600)];

/// Reads a whole number of hours, days or weeks: `36h`, `90d`, `12w`.
fn period(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let period = Duration::from_secs(number.checked_mul(seconds)?);
    (period <= MAX_PERIOD && text.starts_with(|c: char| c.is_ascii_digit())).then_some(period)
}

/// How long a key signs, completing "FIELD …" if it is refused.
pub fn rotate_every(text: &str) -> Result<Duration, String> {
    bounded(text, MIN_ROTATE_EVERY, "at least 7d, such as 90d")
}

fn overlap(text: &str) -> Result<Duration, String> {
    bounded(
        text,
        MIN_OVERLAP,
        "at least 25h, such as 2d: tokens last for 24 hours",
    )
}

fn bounded(text: &str, least: Duration, needed: &str) -> Result<Duration, String> {
    match period(text) {
        Some(period) if period >= least => Ok(period),
        Some(_) => Err(format!("is {text}, and has to be {needed}")),
        None => Err(format!(
            "must be a whole number of hours, days or weeks of at most ten years: {needed}"
        )),
    }
}

/// Both periods, which have to go together. Completes "FIELD …" of the overlap if they do not.
pub fn key_schedule(every: Duration, overlap_text: Option<&str>) -> Result<Schedule, String> {
    let overlap_text = overlap_text.unwrap_or(DEFAULT_OVERLAP);
    let overlap = overlap(overlap_text)?;
    if overlap < every {
        Ok(Schedule { every, overlap })
    } else {
        Err(format!(
            "is {overlap_text}, and has to be shorter than the time for which a key signs"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_of_hours_days_or_weeks_within_bounds() {
        let days = |days: u64| Duration::from_hours(24 * days);
        assert_eq!(rotate_every("90d"), Ok(days(90)));
        assert_eq!(rotate_every("12w"), Ok(days(84)));
        assert_eq!(rotate_every("168h"), Ok(days(7)));
        assert_eq!(overlap("25h"), Ok(Duration::from_hours(25)));
        for text in [
            "",
            "d",
            "90",
            "-1d",
            "+90d",
            "9.5d",
            "90 d",
            "90D",
            "3m",
            "1y",
            "3651d",
            "90dd",
            "99999999999999999999w",
            "90\u{0434}",
        ] {
            assert!(rotate_every(text).is_err(), "{text}");
        }
        assert!(rotate_every("6d").unwrap_err().contains("at least 7d"));
        assert!(overlap("24h").unwrap_err().contains("at least 25h"));
        assert!(key_schedule(days(7), Some("26h")).is_ok());
        let default = key_schedule(days(7), None).unwrap();
        assert_eq!((default.every, default.overlap), (days(7), days(2)));
        assert!(
            key_schedule(days(7), Some("1w"))
                .unwrap_err()
                .contains("shorter")
        );
    }
}
