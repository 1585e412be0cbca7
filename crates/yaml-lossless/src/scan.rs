//! Small scanners over the text: the places that the parser's events do not give exactly.

/// Skips blanks, line ends and comments.
pub(crate) fn skip_blank(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'#' => at = line_end(text, at),
            _ => break,
        }
    }
    at
}

/// Skips blanks, comments, anchors (`&a`) and tags (`!t`) before a node's content.
pub(crate) fn skip_properties(text: &str, mut at: usize) -> usize {
    loop {
        at = skip_blank(text, at);
        match text.as_bytes().get(at) {
            Some(b'&' | b'!') => {
                let rest = &text[at..];
                at += rest
                    .find([' ', '\t', '\r', '\n', ',', ']', '}'])
                    .unwrap_or(rest.len());
            }
            _ => return at,
        }
    }
}

/// The end of the line that holds `at`, before its line break.
pub(crate) fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    if end > at && text.as_bytes()[end - 1] == b'\r' {
        end - 1
    } else {
        end
    }
}

/// The start of the line that holds `at`.
pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |found| found + 1)
}

/// The start of the line behind the one that holds `at`, or the end of the text.
pub(crate) fn next_line(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |found| at + found + 1)
}

/// The column of `at`, in bytes from 0.
pub(crate) fn column(text: &str, at: usize) -> usize {
    at - line_start(text, at)
}

/// The offset behind the quote that closes the one at `open`.
pub(crate) fn quoted_end(text: &str, open: usize) -> usize {
    let bytes = text.as_bytes();
    let quote = bytes[open];
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 2,
            // In single quotes, two are one.
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            _ if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// `at` moved back over blanks and line ends, but not before `floor`.
pub(crate) fn trim_back(text: &str, floor: usize, at: usize) -> usize {
    floor + text[floor..at].trim_end().len()
}
