//! What other libraries' errors say, as far as it may be shown: they repeat what they were given,
//! and that may be secret.

use aip_base::terminal_excerpt;

/// The innermost cause says what happened: "connection refused", "certificate has expired".
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root_cause = error;
    while let Some(source) = root_cause.source() {
        root_cause = source;
    }
    terminal_excerpt(&root_cause.to_string())
}

/// Where a JSON text stops being one. The library's own sentence repeats values.
pub fn json_error_position(error: &serde_json::Error) -> String {
    format!(
        "line {}, column {} is not what was expected",
        error.line(),
        error.column()
    )
}

/// A line that a program of the cluster wrote, without escape sequences and control characters: it
/// cannot move the cursor or change colours.
pub fn printable_line(line: &str) -> String {
    anstream::adapter::strip_str(line)
        .to_string()
        .chars()
        .filter(|character| !character.is_control() || *character == '\t')
        .collect()
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
            json_error_position(&error),
            "line 1, column 9 is not what was expected"
        );
    }

    #[test]
    fn a_log_line_cannot_move_the_cursor_or_change_colours() {
        assert_eq!(
            printable_line("\x1b[31mred\x1b[0m\tcolumn\x1b[2J\x07\r"),
            "red\tcolumn"
        );
    }
}
