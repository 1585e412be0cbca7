//! Times as people say them.

use aip_base::Timestamp;

/// How long ago an RFC 3339 time was: `7 seconds ago`.
pub(crate) fn ago(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else {
        return time.to_owned();
    };
    let seconds = now
        .since(Timestamp::from_micros(then.as_microsecond()))
        .as_secs();
    let units = [
        (86_400 * 7, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| seconds >= *size)
        .unwrap_or((1, "second"));
    let count = seconds / size;
    let plural = if count == 1 { "" } else { "s" };
    if count == 0 {
        "now".to_owned()
    } else {
        format!("{count} {unit}{plural} ago")
    }
}

/// How long it took: `6s`, `2m10s`.
pub(crate) fn duration_text(started: &str, ended: &str) -> String {
    let parse = |text: &str| {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_second)
    };
    match (parse(started), parse(ended)) {
        (Some(started), Some(ended)) if ended - started >= 60 => {
            format!("{}m{}s", (ended - started) / 60, (ended - started) % 60)
        }
        (Some(started), Some(ended)) => format!("{}s", (ended - started).max(0)),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_one_unit() {
        let now = Timestamp::from_secs(1_800_000_000);
        let table = [
            ("2027-01-15T08:00:00Z", "now"),
            ("2027-01-15T07:59:59Z", "1 second ago"),
            ("2027-01-15T07:58:00Z", "2 minutes ago"),
            ("2027-01-12T08:00:00Z", "3 days ago"),
            ("junk", "junk"),
        ];
        for (time, said) in table {
            assert_eq!(ago(time, now), said);
        }
        assert_eq!(
            duration_text("2027-01-15T08:00:00Z", "2027-01-15T08:02:10Z"),
            "2m10s"
        );
    }
}
