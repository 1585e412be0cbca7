//! Cleans what people type or paste into the login field, before it is parsed.

/// Longer input than this cannot become an identifier (a DID has at most 2048 characters), and
/// reading it all would be work for nothing.
const MAX_INPUT: usize = 4096;

/// Removes spaces and invisible characters (anywhere: copying from a chat or a mobile keyboard
/// leaves them behind dots and at the ends), then one leading `at://` or `@`.
///
/// Input that is too long comes back unchanged and fails in the parser.
pub(crate) fn clean(input: &str) -> String {
    if input.len() > MAX_INPUT {
        return input.to_owned();
    }
    let visible: String = input.chars().filter(|c| !is_invisible(*c)).collect();
    let rest = visible
        .strip_prefix("at://")
        .or_else(|| visible.strip_prefix('@'));
    rest.map_or_else(|| visible.clone(), str::to_owned)
}

/// White space, control characters, and the code points that Unicode gives no glyph
/// (`Default_Ignorable_Code_Point`), among them the bidirectional controls.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}
