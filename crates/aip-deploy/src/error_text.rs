//! What other libraries' errors say, as far as it may be shown: they repeat what they were given,
//! and that may be secret.

/// The innermost cause says what happened: "connection refused", "certificate has expired".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    shortened(&innermost.to_string())
}

/// Where a JSON text stops being one. The library's own sentence repeats values.
pub(crate) fn unreadable(error: &serde_json::Error) -> String {
    format!(
        "line {}, column {} is not what was expected",
        error.line(),
        error.column()
    )
}

/// The beginning of a text that somebody else wrote, printable.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    let text = text.trim();
    let mut short: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_that_was_not_expected_is_not_repeated() {
        let error = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        assert!(
            error.to_string().contains("hunter2"),
            "the library does repeat it"
        );
        assert_eq!(
            unreadable(&error),
            "line 1, column 9 is not what was expected"
        );
    }

    #[test]
    fn what_is_shown_of_a_text_is_short_and_printable() {
        assert_eq!(shortened(" a\x1b[31mb\n"), "a [31mb");
        assert_eq!(shortened(&"x".repeat(1000)).chars().count(), 301);
    }
}
