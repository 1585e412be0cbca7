//! The configuration file (TOML 1.0) as texts with their lines.
//!
//! Everything becomes text, as it is in the environment: one parser per type is enough. An array
//! becomes a JSON array.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::reader::nearest;
use crate::settings::SECTIONS;
use crate::{ConfigFile, Problem, Source};

/// The texts of the file by `section.name`.
pub(crate) type FileValues = BTreeMap<String, (String, Source)>;

/// Reads the file; what is wrong with its form or its names is added to `problems`.
pub(crate) fn read_file_values(file: &ConfigFile, problems: &mut Vec<Problem>) -> FileValues {
    let mut reader = FileReader {
        file,
        problems: Vec::new(),
        values: FileValues::new(),
    };
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        // The error's own display quotes the line, which may hold a secret.
        let at = error.span().map_or(0, |span| span.start);
        reader.problem(at, error.message().to_owned());
    }
    for (name, value) in document.get_ref() {
        reader.section(name.get_ref(), name.span().start, value.get_ref());
    }
    // The parser has sorted tables by name.
    reader.problems.sort_by_key(|(at, _)| *at);
    for (at, message) in &reader.problems {
        problems.push(Problem {
            source: reader.source_at(*at),
            setting: None,
            message: message.clone(),
        });
    }
    reader.values
}

struct FileReader<'a> {
    file: &'a ConfigFile,
    /// Where in the text, and what.
    problems: Vec<(usize, String)>,
    values: FileValues,
}

impl FileReader<'_> {
    fn section(&mut self, name: &str, at: usize, value: &DeValue<'_>) {
        let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
            let hint = nearest(name, SECTIONS.iter().map(|section| section.name));
            return self.problem(at, format!("there is no section `{name}`{hint}"));
        };
        let Some(table) = value.as_table() else {
            return self.problem(at, format!("`{name}` is a section: write `[{name}]`"));
        };
        let known: Vec<String> = section
            .settings
            .iter()
            .flat_map(|setting| {
                let file_variant = setting.secret.then(|| format!("{}_file", setting.name));
                std::iter::once(setting.name.to_owned()).chain(file_variant)
            })
            .collect();
        for (key, value) in table {
            let at = key.span().start;
            let key = key.get_ref();
            if !known.iter().any(|name| name == key) {
                let hint = nearest(key, known.iter().map(String::as_str));
                self.problem(at, format!("there is no setting `{name}.{key}`{hint}"));
                continue;
            }
            match scalar_text(value.get_ref()) {
                Some(text) => {
                    let source = self.source_at(at);
                    self.values.insert(format!("{name}.{key}"), (text, source));
                }
                None => self.problem(at, format!("`{name}.{key}` is a single value or a list")),
            }
        }
    }

    fn problem(&mut self, at: usize, message: String) {
        self.problems.push((at, message));
    }

    fn source_at(&self, at: usize) -> Source {
        let before = self.file.text.bytes().take(at);
        Source::File {
            path: self.file.path.clone(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
        }
    }
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        DeValue::Array(members) => {
            let members: Option<Vec<String>> = members
                .iter()
                .map(|member| scalar_text(member.get_ref()))
                .collect();
            serde_json::to_string(&members?).ok()
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
