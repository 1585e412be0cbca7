//! What every source file must look like.

use crate::checkout::{Text, assert_clean, sources};

/// Readable in one sitting.
const MAX_LINES: usize = 700;

fn findings(judge: impl Fn(&Text) -> Vec<String>) -> Vec<String> {
    sources()
        .iter()
        .flat_map(|text| {
            judge(text)
                .into_iter()
                .map(|finding| format!("{}: {finding}", text.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Where `needle` stands, as findings.
fn found(text: &Text, needle: &str) -> Vec<String> {
    text.lines_with(needle)
        .into_iter()
        .map(|line| format!("line {line}: {needle}"))
        .collect()
}

#[test]
fn every_module_says_what_it_is_for() {
    let findings = findings(|text| {
        let first = text.content.lines().next().unwrap_or_default();
        match first.strip_prefix("//! ") {
            Some(words) if words.len() > 10 => Vec::new(),
            _ => vec!["no `//!` on its first line".to_owned()],
        }
    });
    assert_clean(
        &findings,
        "begin the file with `//! what it is for`, with the section of the RFC or specification",
    );
}

#[test]
fn no_file_is_too_long_to_read() {
    let findings = findings(|text| match text.content.lines().count() {
        lines if lines > MAX_LINES => vec![format!("{lines} lines")],
        _ => Vec::new(),
    });
    assert_clean(&findings, "split it by topic");
}

#[test]
fn no_test_is_ignored() {
    let needle = concat!("#[", "ignore");
    assert_clean(
        &findings(|text| found(text, needle)),
        "mend the test, or delete it: what is not run proves nothing",
    );
}

#[test]
fn nothing_is_left_to_do_later() {
    let needles = [concat!("TO", "DO"), concat!("FIX", "ME")];
    assert_clean(
        &findings(|text| {
            needles
                .iter()
                .flat_map(|needle| found(text, needle))
                .collect()
        }),
        "do it now, or open an issue and leave the code honest",
    );
}

/// Words that were once used for what has a name in the field (`docs/glossary.md`).
#[test]
fn log_lines_use_the_terms_of_the_field() {
    let macros = ["info", "warn", "error", "debug"].map(|level| format!("{level}!("));
    let unusual = [
        "told to",
        "is away",
        "are away",
        "is read again",
        "stays the old",
        "left alone",
        "comes too late",
        "came too late",
        "given back",
        "begun anew",
        "takes again",
        "does not take",
        "left out",
        "heard",
        "is over",
        "told of",
        "not noted",
    ];
    let findings = findings(|text| {
        // A call may go over several lines; its message ends with it.
        let mut inside = false;
        let logged = text.content.lines().zip(1..).filter(|(line, _)| {
            let is_logged = inside || macros.iter().any(|it| line.contains(it.as_str()));
            inside = is_logged && !line.trim_end_matches([';', ',', '}', ' ']).ends_with(')');
            is_logged
        });
        logged
            .filter_map(|(line, number)| {
                let found = unusual.iter().find(|it| line.contains(**it))?;
                Some(format!("line {number}: {found}"))
            })
            .collect()
    });
    assert_clean(
        &findings,
        "say what happened in the words that operators search for, such as `Valkey unreachable, \
         retrying`, `key set reloaded`, `shutdown requested`",
    );
}

/// Doc tests are slow to build and easy to leave out of a suite: an example is a test, or no Rust.
#[test]
fn no_example_in_the_docs_is_rust_that_nobody_runs() {
    let findings = findings(|text| {
        let mut inside = false;
        let fences = text.content.lines().zip(1..).filter_map(|(line, number)| {
            let doc = line.trim_start();
            let doc = doc.strip_prefix("//!").or(doc.strip_prefix("///"))?;
            Some((doc.trim().strip_prefix("```")?, number))
        });
        let mut rust = Vec::new();
        for (language, number) in fences {
            inside = !inside;
            if inside && (language.is_empty() || language.starts_with("rust")) {
                rust.push(format!("line {number}: an example in Rust"));
            }
        }
        rust
    });
    assert_clean(
        &findings,
        "make the example a test, or name the language of the fence (`text`, `json`, `sql`)",
    );
}

/// Domain types are written to the wire by types made for the wire, so that renaming a field here
/// never changes an answer there. A private struct beside its one writer is such a type.
#[test]
fn domain_types_do_not_serialize() {
    let crates = ["crates/aip-oauth/src/", "crates/aip-sessions/src/"];
    let findings = findings(|text| {
        let domain = crates.iter().any(|folder| text.path.starts_with(folder));
        if !domain || text.path.contains("/wire") {
            return Vec::new();
        }
        public_types_that_serialize(&text.content)
    });
    assert_clean(
        &findings,
        "move the shape that is written into `wire.rs` or `wire/` of the crate, or to the rim",
    );
}

fn public_types_that_serialize(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("#[derive("))
        .filter(|(_, line)| line.replace("Deserialize", "").contains("Serialize"))
        .filter_map(|(at, _)| {
            let declaration = lines[at..].iter().find(|line| !line.starts_with("#["))?;
            Some((at + 1, *declaration))
        })
        .filter(|(_, declaration)| declaration.starts_with("pub"))
        .map(|(number, declaration)| format!("line {number}: {declaration}"))
        .collect()
}

#[test]
fn only_public_types_that_serialize_are_found() {
    let source = "#[derive(Serialize)]\n#[serde(untagged)]\npub enum A {}\n\
                  #[derive(Serialize)]\nstruct B;\n\
                  #[derive(Deserialize)]\npub struct C;\n";
    assert_eq!(
        public_types_that_serialize(source),
        ["line 1: pub enum A {}"]
    );
}
