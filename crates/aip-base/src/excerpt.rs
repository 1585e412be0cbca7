//! Text of somebody else in a message of ours: short, on one line, and visible.

/// The most characters of an excerpt.
const MAX_CHARS: usize = 200;

/// The beginning of `text`, at most 200 characters, for an error or a log line: what is not
/// printable ASCII is escaped, and a cut is marked by `…`.
pub fn excerpt(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_CHARS));
    let mut room = MAX_CHARS;
    for character in text.chars() {
        let escaped = match character {
            ' '..='~' => character.to_string(),
            _ => character.escape_default().to_string(),
        };
        if escaped.len() > room {
            shown.push('…');
            break;
        }
        room -= escaped.len();
        shown.push_str(&escaped);
    }
    shown
}

/// The most characters of an excerpt for a terminal.
const MAX_TERMINAL_CHARS: usize = 300;

/// The beginning of what another program says, at most 300 characters, for an operator at a terminal:
/// control characters are spaces, and a cut is marked by `…`.
pub fn terminal_excerpt(text: &str) -> String {
    let text = text.trim();
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text
        .chars()
        .take(MAX_TERMINAL_CHARS)
        .map(printable)
        .collect();
    if text.chars().nth(MAX_TERMINAL_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_printable_and_says_where_it_is_cut() {
        assert_eq!(excerpt("https://pds.org"), "https://pds.org");
        assert_eq!(excerpt("a\n\u{202e}b"), "a\\n\\u{202e}b");
        assert_eq!(excerpt(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(
            excerpt(&"x".repeat(400_000)),
            format!("{}…", "x".repeat(200))
        );
        assert!(excerpt(&"\u{1f600}".repeat(1000)).chars().count() <= 201);
    }

    #[test]
    fn what_is_shown_at_a_terminal_moves_no_cursor_and_is_short() {
        assert_eq!(terminal_excerpt(" a\x1b[31mb\n"), "a [31mb");
        assert_eq!(terminal_excerpt("Zürich"), "Zürich");
        assert_eq!(terminal_excerpt(&"x".repeat(300)), "x".repeat(300));
        let cut = terminal_excerpt(&"x".repeat(400_000));
        assert_eq!(cut, format!("{}…", "x".repeat(300)));
    }
}
