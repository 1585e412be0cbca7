//! Configuration keys, `namespace:name`, and the path grammar of `--path`.
//!
//! The grammar is the one of Pulumi's `resource.ParsePropertyPathStrict`, with its oddities:
//! `a..b` is `a.b`, text may follow a bracket without a dot, `["a"]` knows only `\"` as an escape.

use std::fmt::{self, Write as _};

use yaml_lossless::Segment;

/// `NAMESPACE:NAME` of the stack file; the namespace is the project's unless it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// The namespace, the project's name unless said otherwise.
    pub namespace: String,
    /// Behind the colon.
    pub name: String,
}

/// A key and the way into its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPath {
    /// The first step of the path.
    pub key: ConfigKey,
    /// The steps into its value; none is the value itself.
    pub steps: Vec<Segment>,
}

/// Why a key or path is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// More than `namespace:name`.
    #[error(
        "could not parse `{text}` as a configuration key (it should be of the form `<namespace>:<name>`)"
    )]
    Malformed {
        /// The key.
        text: String,
    },
    /// The path is not well formed.
    #[error("invalid configuration path `{text}`: {reason}")]
    Path {
        /// The path.
        text: String,
        /// What the parser or check reported; never a secret value.
        reason: &'static str,
    },
}

/// Deeper than any configuration is.
const MAX_PATH_STEPS: usize = 48;

impl ConfigKey {
    /// Reads `name`, `namespace:name` or the old `namespace:config:name`.
    pub fn parse(text: &str, project: &str) -> Result<Self, KeyError> {
        let key = |namespace: &str, name: &str| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match text.split(':').collect::<Vec<_>>()[..] {
            [name] => Ok(key(project, name)),
            [namespace, name] | [namespace, "config", name] => Ok(key(namespace, name)),
            _ => Err(KeyError::Malformed {
                text: text.to_owned(),
            }),
        }
    }

    /// How to show it: without the namespace where that is the project's name.
    pub fn display(&self, project: &str) -> String {
        if self.namespace == project {
            self.name.clone()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

impl ConfigPath {
    /// A key without steps; any text is a key.
    pub fn key(text: &str, project: &str) -> Result<Self, KeyError> {
        Ok(Self {
            key: ConfigKey::parse(text, project)?,
            steps: Vec::new(),
        })
    }

    /// A key followed by steps, as `--path` has it.
    pub fn parse(text: &str, project: &str) -> Result<Self, KeyError> {
        let error = |reason| KeyError::Path {
            text: text.to_owned(),
            reason,
        };
        // A namespace stands before the first step: `ns:a.b` is `b` in `ns:a`.
        let head_end = text.find(['.', '[']).unwrap_or(text.len());
        let (namespace, path) = match text[..head_end].rfind(':') {
            Some(colon) => (Some(&text[..colon]), &text[colon + 1..]),
            None => (None, text),
        };
        let mut steps = parse_steps(path).map_err(error)?.into_iter();
        let Some(Segment::Key(name)) = steps.next().filter(|s| *s != Segment::Key(String::new()))
        else {
            return Err(error("the first step must be a name"));
        };
        let key = match namespace {
            None => ConfigKey {
                namespace: project.to_owned(),
                name,
            },
            Some(namespace) => match namespace.split_once(':') {
                None => ConfigKey {
                    namespace: namespace.to_owned(),
                    name,
                },
                Some((namespace, "config")) => ConfigKey {
                    namespace: namespace.to_owned(),
                    name,
                },
                Some(_) => {
                    return Err(KeyError::Malformed {
                        text: text.to_owned(),
                    });
                }
            },
        };
        let steps: Vec<_> = steps.collect();
        if steps.len() > MAX_PATH_STEPS {
            return Err(error("it has too many steps"));
        }
        Ok(Self { key, steps })
    }

    /// How to write it on a command line.
    pub fn display(&self, project: &str) -> String {
        let mut out = self.key.display(project);
        for step in &self.steps {
            push_step(&mut out, step);
        }
        out
    }

    /// A displayed path with one more step, as [`ConfigPath::display`] writes it.
    pub fn join(path: &str, step: &Segment) -> String {
        let mut out = path.to_owned();
        push_step(&mut out, step);
        out
    }
}

fn push_step(out: &mut String, step: &Segment) {
    match step {
        Segment::Index(index) => {
            let _ = write!(out, "[{index}]");
        }
        Segment::Key(name) if name.is_empty() || name.contains(['.', '[', ']', '"']) => {
            let _ = write!(out, "[\"{}\"]", name.replace('"', "\\\""));
        }
        Segment::Key(name) => {
            out.push('.');
            out.push_str(name);
        }
    }
}

fn parse_steps(mut rest: &str) -> Result<Vec<Segment>, &'static str> {
    let mut steps = Vec::new();
    if rest.starts_with('.') {
        return Err("it begins with a dot");
    }
    while !rest.is_empty() {
        match rest.as_bytes()[0] {
            b'.' => {
                rest = &rest[1..];
                if rest.is_empty() {
                    return Err("it ends with a dot");
                }
                if rest.starts_with('[') {
                    return Err("a bracket follows a dot");
                }
            }
            b'[' if rest[1..].starts_with('"') => {
                let (name, behind) = quoted(&rest[2..])?;
                steps.push(Segment::Key(name));
                rest = behind;
            }
            b'[' => {
                let end = rest.find(']').ok_or("a bracket is not closed")?;
                let index = &rest[1..end];
                steps.push(match index {
                    "*" => Segment::Key("*".to_owned()),
                    _ => Segment::Index(
                        index
                            .strip_prefix('+')
                            .unwrap_or(index)
                            .parse()
                            .map_err(|_| "an index must be a number")?,
                    ),
                });
                rest = &rest[end + 1..];
            }
            _ => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                steps.push(Segment::Key(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
    }
    Ok(steps)
}

/// The text up to `"]`, and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or("a quote is not closed")?;
        name.push_str(&rest[..end]);
        let escaped = name.ends_with('\\');
        rest = &rest[end + 1..];
        if !escaped {
            let behind = rest.strip_prefix(']').ok_or("a bracket is not closed")?;
            return Ok((name, behind));
        }
        name.pop();
        name.push('"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(text: &str) -> Result<String, String> {
        ConfigPath::parse(text, "aip")
            .map(|path| format!("{}|{:?}", path.key, path.steps))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn keys_take_the_projects_namespace_unless_they_have_one() {
        let key = |text| ConfigKey::parse(text, "aip").map(|key| key.to_string());
        assert_eq!(key("a").unwrap(), "aip:a");
        assert_eq!(key("kubernetes:context").unwrap(), "kubernetes:context");
        assert_eq!(key("old:config:a").unwrap(), "old:a");
        assert!(key("a:b:c").is_err());
        assert_eq!(
            ConfigKey::parse("aip:a", "aip").unwrap().display("aip"),
            "a"
        );
    }

    #[test]
    fn paths_are_read_as_pulumi_reads_them() {
        let table = [
            ("a", "aip:a|[]"),
            ("a.b", "aip:a|[Key(\"b\")]"),
            ("a..b", "aip:a|[Key(\"b\")]"),
            ("a[0]b", "aip:a|[Index(0), Key(\"b\")]"),
            ("a[\"b.\\\"c\"]d", "aip:a|[Key(\"b.\\\"c\"), Key(\"d\")]"),
            ("a[+1][00]", "aip:a|[Index(1), Index(0)]"),
            ("a[*]", "aip:a|[Key(\"*\")]"),
            ("ns:a-b.c:d", "ns:a-b|[Key(\"c:d\")]"),
            ("[\"x\"].y", "aip:x|[Key(\"y\")]"),
        ];
        for (text, read) in table {
            assert_eq!(steps(text).unwrap(), read, "{text}");
        }
        for text in [
            "", ".a", "a.", "a.[0]", "a[", "a[\"b", "a[\"b\"", "a[x]", "a[-1]", "[0]",
        ] {
            assert!(steps(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_is_shown_is_read_back(
            name in "[a-z_-]{1,6}",
            steps in prop::collection::vec(
                prop_oneof!["[a-z.\"-]{1,6}".prop_map(Segment::Key), (0_usize..99).prop_map(Segment::Index)], 0..5),
        ) {
            let path = ConfigPath { key: ConfigKey { namespace: "aip".into(), name }, steps };
            prop_assert_eq!(ConfigPath::parse(&path.display("aip"), "aip").unwrap(), path);
        }

        #[test]
        fn no_path_panics(text in "[a-c.\\[\\]\"\\\\:*+0-9é]{0,16}") {
            let _ = ConfigPath::parse(&text, "aip");
        }
    }
}
