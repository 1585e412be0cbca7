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
}
