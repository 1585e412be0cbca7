//! Which text a setting has: the highest layer that has one wins, and within a layer all names of
//! a setting must agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aip_base::without_credentials;

use crate::file::{self, FileValues};
use crate::settings::SECTIONS;
use crate::sources::CONFIG_FILE_VARIABLE;
use crate::table::Setting;
use crate::value::Value;
use crate::{Problem, Source, Sources};

/// The text that a setting has, and where it stands.
pub(crate) struct Reading {
    pub(crate) setting: &'static Setting,
    pub(crate) text: Option<String>,
    pub(crate) source: Source,
}

/// Reads settings from their sources and collects what is wrong with them.
pub(crate) struct Reader<'a> {
    sources: &'a Sources<'a>,
    file: FileValues,
    pub(crate) readings: Vec<Reading>,
    pub(crate) problems: Vec<Problem>,
    /// Files that a variable or a line named, as the place of a text.
    pub(crate) named_files: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    /// Checks all names, so that a misspelt one is not taken for one that is missing.
    pub(crate) fn new(sources: &'a Sources<'a>) -> Self {
        let mut problems = Vec::new();
        unknown_flags(sources, &mut problems);
        unknown_variables(sources, &mut problems);
        let file = sources.file.as_ref();
        Self {
            sources,
            file: file.map_or_else(FileValues::new, |file| {
                file::read_file_values(file, &mut problems)
            }),
            readings: Vec::new(),
            problems,
            named_files: Vec::new(),
        }
    }

    /// The value of `setting`. After a problem the default goes on in its place, so that other
    /// settings can still be judged.
    pub(crate) fn take<T: Value>(&mut self, setting: &'static Setting) -> Option<T> {
        let found = self.find(setting);
        let (text, source) = match found {
            Some((text, source)) => (Some(text), source),
            None => (setting.default.map(str::to_owned), Source::Default),
        };
        let value = text.as_deref().map(T::parse);
        self.readings.push(Reading {
            setting,
            text,
            source: source.clone(),
        });
        match value {
            Some(Ok(value)) => Some(value),
            Some(Err(reason)) => {
                let message = self.refusal(setting, reason);
                self.problem(setting, source, message);
                let default = setting.default.map(T::parse);
                default.and_then(Result::ok).or_else(T::absent)
            }
            None => T::absent(),
        }
    }

    pub(crate) fn problem(&mut self, setting: &Setting, source: Source, message: String) {
        self.problems.push(Problem {
            source,
            setting: Some(setting.key()),
            message,
        });
    }

    /// What settings are read from.
    pub(crate) fn sources(&self) -> &'a Sources<'a> {
        self.sources
    }

    /// The reason, with the text itself unless it is a secret or holds one.
    fn refusal(&self, setting: &Setting, reason: String) -> String {
        let text = self.readings.last().and_then(|last| last.text.as_deref());
        match text {
            Some(text) if !setting.secret => {
                let reason = without_credentials(&reason);
                format!("`{}`: {reason}", without_credentials(text))
            }
            _ => reason,
        }
    }

    fn find(&mut self, setting: &'static Setting) -> Option<(String, Source)> {
        let flag = self.flag(setting);
        let layers = [flag, self.variables(setting), self.lines(setting)];
        let mut layer = layers.into_iter().find(|layer| !layer.is_empty())?;
        let first = layer.remove(0);
        if let Some((_, other)) = layer.iter().find(|(text, _)| *text != first.0) {
            let message = format!("{other} says something else; set only one of them");
            self.problem(setting, first.1.clone(), message);
        }
        Some(first)
    }

    fn flag(&self, setting: &Setting) -> Vec<(String, Source)> {
        let key = setting.key();
        let last = self.sources.flags.iter().rfind(|flag| flag.key == key);
        last.map(|flag| (flag.text.clone(), Source::Flag(flag.flag.clone())))
            .into_iter()
            .collect()
    }

    /// An empty variable is one that is not set, as in the defaults of many container set-ups.
    fn variables(&mut self, setting: &Setting) -> Vec<(String, Source)> {
        let mut found = Vec::new();
        for variable in setting.variables {
            let source = || Source::Variable(variable.name.to_owned());
            if let Some(text) = self.variable(variable.name) {
                found.push(((variable.reading)(text), source()));
            }
            let file_variant = file_variant(variable.name);
            if setting.secret
                && let Some(path) = self.variable(&file_variant).map(str::to_owned)
            {
                found.extend(self.content(setting, &path, Source::Variable(file_variant)));
            }
        }
        found
    }

    fn lines(&mut self, setting: &Setting) -> Vec<(String, Source)> {
        let key = setting.key();
        let mut found: Vec<_> = self.file.get(&key).cloned().into_iter().collect();
        if let Some((path, source)) = self.file.get(&format!("{key}_file")).cloned() {
            found.extend(self.content(setting, &path, source));
        }
        found
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let text = self.sources.environment.get(name)?;
        (!text.is_empty()).then_some(text.as_str())
    }

    /// The content of a file, without the newline that editors end it with.
    fn content(
        &mut self,
        setting: &Setting,
        path: &str,
        named_by: Source,
    ) -> Option<(String, Source)> {
        match (self.sources.read_file)(Path::new(path)) {
            Ok(text) => {
                self.named_files.push(PathBuf::from(path));
                let source = Source::FileNamedBy(Box::new(named_by));
                Some((text.trim_end_matches(['\r', '\n']).to_owned(), source))
            }
            Err(error) => {
                let path = without_credentials(path);
                let message = format!("cannot read `{path}`: {error}");
                self.problem(setting, named_by, message);
                None
            }
        }
    }
}

/// The variable that names a file with the text instead of the text.
fn file_variant(name: &str) -> String {
    format!("{name}_FILE")
}

fn unknown_flags(sources: &Sources<'_>, problems: &mut Vec<Problem>) {
    let known: BTreeSet<String> = all_settings().map(Setting::key).collect();
    for flag in &sources.flags {
        if !known.contains(&flag.key) {
            let hint = nearest(&flag.key, known.iter().map(String::as_str));
            problems.push(Problem {
                source: Source::Flag(flag.flag.clone()),
                setting: None,
                message: format!(
                    "there is no setting `{}`{hint}",
                    without_credentials(&flag.key)
                ),
            });
        }
    }
}

fn unknown_variables(sources: &Sources<'_>, problems: &mut Vec<Problem>) {
    let mut known = BTreeSet::from([CONFIG_FILE_VARIABLE.to_owned()]);
    for setting in all_settings() {
        for variable in setting.variables {
            known.insert(variable.name.to_owned());
            if setting.secret {
                known.insert(file_variant(variable.name));
            }
        }
    }
    let ours = |name: &&String| name.starts_with("AIP_");
    for name in sources.environment.keys().filter(ours) {
        if !known.contains(name) && !is_service_link(name, sources) {
            let hint = nearest_variable(name, known.iter().map(String::as_str));
            problems.push(Problem {
                source: Source::Variable(name.clone()),
                setting: None,
                message: format!("there is no setting of this name{hint}"),
            });
        }
    }
}

/// Whether Kubernetes put the variable there, for a Service of the namespace whose name begins with
/// `aip-` (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(name: &str, sources: &Sources<'_>) -> bool {
    let services = sources
        .environment
        .keys()
        .filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    services
        .filter_map(|service| name.strip_prefix(service))
        .any(|rest| {
            rest == "_SERVICE_HOST"
                || rest.starts_with("_SERVICE_PORT")
                || rest.starts_with("_PORT")
        })
}

/// Every row of the table.
pub(crate) fn all_settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// A hint at the variable that was probably meant. The prefix that all share is left out:
/// otherwise every short name would be near every other.
fn nearest_variable<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    const PREFIX: &str = "AIP_";
    let known = known.filter_map(|known| known.strip_prefix(PREFIX));
    hint(near(name.trim_start_matches(PREFIX), known).map(|near| format!("{PREFIX}{near}")))
}

/// A hint at the name that was probably meant, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    hint(near(name, known))
}

fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    known
        .min_by_key(distance)
        .filter(|near| distance(near) <= 1 + name.len() / 4)
}

fn hint(near: Option<impl std::fmt::Display>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}
