//! Words of others on our pages and in our log: never longer than they need to be, and without
//! characters that cannot be seen.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The text as it may be shown: at most `max` characters, with an ellipsis where it was cut. What
/// cannot be seen (control and format characters, such as those that change the direction of
/// writing) is written as its code point.
pub(crate) fn printable_excerpt(text: &str, max: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max {
            shown.push('…');
            break;
        }
        match c.general_category() {
            GeneralCategory::Control | GeneralCategory::Format => {
                shown.extend(c.escape_unicode());
            }
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out_and_the_rest_is_cut() {
        assert_eq!(printable_excerpt("alice.example", 200), "alice.example");
        assert_eq!(printable_excerpt("Zürich 東京 👩🏽", 200), "Zürich 東京 👩🏽");
        assert_eq!(
            printable_excerpt("a\u{202e}b\nc", 200),
            "a\\u{202e}b\\u{a}c"
        );
        assert_eq!(
            printable_excerpt("a\u{200b}\u{feff}", 200),
            "a\\u{200b}\\u{feff}"
        );
        assert_eq!(printable_excerpt(&"x".repeat(400_000), 3), "xxx…");
    }
}
