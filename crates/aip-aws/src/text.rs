//! What may be shown of what AWS, or something in its place, says.

use std::error::Error;

use aip_base::terminal_excerpt;

/// The text of an element of a flat XML answer, as far as it can be shown: printable and short.
pub fn xml_field(answer: &str, name: &str) -> Option<String> {
    let rest = answer.split_once(&format!("<{name}>"))?.1;
    let text = rest.split_once(&format!("</{name}>"))?.0;
    Some(terminal_excerpt(text))
}

/// An error and its causes, outermost first.
pub(crate) fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
