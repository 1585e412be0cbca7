//! `/openapi.yaml`: what this server answers, as an `OpenAPI` document, for generated clients. The words are those of
//! `docs/openapi.yaml`; which paths there are, the table of endpoints says.

use std::collections::HashSet;

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use strum::IntoEnumIterator as _;

use crate::endpoint::Endpoint;
use crate::state::AppState;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.yaml");
/// RFC 9512 §2.1.
const MEDIA_TYPE: &str = "application/yaml";

/// Answers with the document of this server.
pub(super) fn handle(app: &AppState) -> Response {
    let mounted = Endpoint::iter().filter(|endpoint| app.mounts(*endpoint));
    let mounted: HashSet<&str> = mounted.map(|endpoint| endpoint.spec().path).collect();
    let document = document(app.issuer().as_str(), |path| mounted.contains(path));
    ([(CONTENT_TYPE, MEDIA_TYPE)], document).into_response()
}

/// The document of the server at `base`, with the paths that are mounted there.
fn document(base: &str, is_mounted: impl Fn(&str) -> bool) -> String {
    let mut written = String::with_capacity(DOCUMENT.len() + base.len());
    let (mut is_of_paths, mut is_kept) = (false, true);
    // What comes first is for those who edit it.
    for line in DOCUMENT.lines().skip_while(|line| line.starts_with('#')) {
        if !line.starts_with(' ') {
            (is_of_paths, is_kept) = (line == "paths:", true);
            if is_of_paths {
                written.extend(["servers:\n  - url: '", base, "'\n"]);
            }
        } else if is_of_paths && let Some(path) = path_of(line) {
            is_kept = is_mounted(path);
        }
        if is_kept {
            written.push_str(match line {
                "  version: unreleased" => concat!("  version: ", env!("CARGO_PKG_VERSION")),
                line => line,
            });
            written.push('\n');
        }
    }
    written
}

/// The path whose operations follow.
fn path_of(line: &str) -> Option<&str> {
    let path = line.strip_prefix("  ")?.strip_suffix(':')?;
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_mounted_is_left_out_with_all_that_is_said_of_it() {
        let all = document("https://aip.example", |_| true);
        let one = document("https://aip.example", |path| path == "/login");
        let paths = |document: &str| document.lines().filter_map(path_of).count();
        assert!(paths(&all) > 30, "{}", paths(&all));
        assert_eq!(paths(&one), 1);
        let summaries = |document: &str| document.matches("summary:").count();
        assert_eq!(summaries(&one), 2, "GET and POST");
        assert!(summaries(&all) > 40);
        for document in [all, one] {
            assert!(
                document.starts_with("openapi: 3.1.0\ninfo:\n"),
                "{document}"
            );
            assert!(document.contains("\nservers:\n  - url: 'https://aip.example'\npaths:\n"));
            assert!(document.contains("\ncomponents:\n"));
            let version = concat!("\n  version: ", env!("CARGO_PKG_VERSION"), "\n");
            assert!(document.contains(version) && !document.contains("unreleased"));
        }
    }
}
