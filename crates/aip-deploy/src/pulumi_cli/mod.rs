//! Flags and commands of Pulumi that scripts pass and this program does not have: those without an
//! effect here are taken, with a note; those that would promise something are refused with the
//! reason. What the table of commands knows itself is left to it.

mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use pulumi_files::coerce::ValueType;
use pulumi_files::yaml::Tree;

use table::Fate::{Ignored, Refused};
use table::Takes::{Nothing, Value};
use table::{COMMANDS, FLAGS, Flag};

/// Why a command line of Pulumi is not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// The flag would change what is done.
    #[error("`{flag}` of Pulumi is not supported: {reason}")]
    Flag {
        /// The flag.
        flag: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The command does something that is not done here.
    #[error("`{command}` of Pulumi has no counterpart: {reason}")]
    Command {
        /// The command.
        command: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A flag that is given or not.
    #[error("{0} must be true or false")]
    NotABool(String),
    /// Two stacks are named.
    #[error("the command line names two stacks, `{0}` and `{1}`: say which one is meant")]
    TwoStacks(String, String),
}

/// The command line without what has no effect here, and what to say about that.
pub fn translated(
    arguments: Vec<OsString>,
    root: &Command,
) -> Result<(Vec<OsString>, Vec<String>), WordsError> {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut notes = Vec::new();
    let mut command = root;
    let mut descending = true;
    let mut stack: Option<String> = None;
    let mut words = arguments.into_iter();
    kept.extend(words.next());
    while let Some(word) = words.next() {
        let Some(text) = word.to_str().map(str::to_owned) else {
            kept.push(word);
            continue;
        };
        if text == "--" {
            kept.push(word);
            break;
        }
        let Some(spelled) = Spelled::of(&text) else {
            if descending && let Some(below) = command.find_subcommand(&text) {
                command = below;
            } else if descending {
                refuse_command(command, root, &text)?;
                descending = false;
            }
            kept.push(word);
            continue;
        };
        if let Some(own) = known(command, root, &spelled) {
            let takes_next = own.get_action().takes_values()
                && spelled.value.is_none()
                && !own.is_require_equals_set();
            kept.push(word);
            let value = if takes_next {
                words.next()
            } else {
                spelled.value.map(OsString::from)
            };
            if own.get_long() == Some("stack")
                && let Some(name) = value.as_ref().and_then(|value| value.to_str())
            {
                one_stack(&mut stack, name)?;
            }
            kept.extend(value.filter(|_| takes_next));
            continue;
        }
        let Some(foreign) = foreign(command, &spelled) else {
            kept.push(word);
            continue;
        };
        if foreign.takes == Value && spelled.value.is_none() {
            words.next();
        }
        let name = format!("--{}", foreign.long);
        match foreign.fate {
            Refused(reason) => return Err(WordsError::Flag { flag: name, reason }),
            Ignored(reason) => notes.push(format!("note: `{name}` has no effect here: {reason}")),
        }
    }
    kept.extend(words);
    Ok((kept, notes))
}

/// Flags that are given or not, also with `=true` and `=false`, as Go programs take them. The last
/// one counts.
pub fn booleans(arguments: Vec<OsString>, root: &Command) -> Result<Vec<OsString>, WordsError> {
    let mut kept: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut command = root;
    let mut words = arguments.into_iter();
    kept.extend(words.next());
    for word in words.by_ref() {
        let text = word.to_str().unwrap_or_default().to_owned();
        if text == "--" {
            kept.push(word);
            break;
        }
        let Some(spelled) = Spelled::of(&text) else {
            command = command.find_subcommand(&text).unwrap_or(command);
            kept.push(word);
            continue;
        };
        let own = known(command, root, &spelled);
        let own = own.filter(|own| matches!(own.get_action(), ArgAction::SetTrue));
        let (Some(own), Some(value)) = (own, spelled.value) else {
            kept.push(word);
            continue;
        };
        let name = match own.get_long() {
            Some(long) => format!("--{long}"),
            None => spelled.name(),
        };
        let given = ValueType::Bool.coerce(value);
        match given {
            Ok(Tree::Plain(yes)) if yes == "true" => kept.push(name.into()),
            Ok(_) => {
                let short = own.get_short().map(|short| format!("-{short}"));
                kept.retain(|word| {
                    let word = word.to_str().unwrap_or_default();
                    word != name && short.as_deref() != Some(word)
                });
            }
            Err(_) => return Err(WordsError::NotABool(name)),
        }
    }
    kept.extend(words);
    Ok(kept)
}

fn one_stack(named: &mut Option<String>, name: &str) -> Result<(), WordsError> {
    match named.replace(name.to_owned()) {
        Some(former) if former != name => Err(WordsError::TwoStacks(former, name.to_owned())),
        _ => Ok(()),
    }
}

fn refuse_command(command: &Command, root: &Command, word: &str) -> Result<(), WordsError> {
    let below = (!std::ptr::eq(command, root)).then(|| command.get_name());
    let found = COMMANDS
        .iter()
        .find(|(parent, name, _)| *parent == below && *name == word);
    match found {
        Some((parent, name, reason)) => {
            let parent = parent.map(|parent| format!("{parent} "));
            Err(WordsError::Command {
                command: format!("{}{name}", parent.unwrap_or_default()),
                reason,
            })
        }
        None => Ok(()),
    }
}

/// A flag as it is written.
struct Spelled<'w> {
    long: Option<&'w str>,
    short: Option<char>,
    value: Option<&'w str>,
}

impl<'w> Spelled<'w> {
    fn of(word: &'w str) -> Option<Self> {
        let flag = word.strip_prefix('-').filter(|flag| !flag.is_empty())?;
        if let Some(long) = flag.strip_prefix('-') {
            let (long, value) = match long.split_once('=') {
                Some((long, value)) => (long, Some(value)),
                None => (long, None),
            };
            return Some(Self {
                long: Some(long),
                short: None,
                value,
            });
        }
        let short = flag.chars().next()?;
        let rest = &flag[short.len_utf8()..];
        let value = rest
            .strip_prefix('=')
            .or((!rest.is_empty()).then_some(rest));
        Some(Self {
            long: None,
            short: Some(short),
            value,
        })
    }

    fn name(&self) -> String {
        match (self.long, self.short) {
            (Some(long), _) => format!("--{long}"),
            (None, short) => format!("-{}", short.unwrap_or('-')),
        }
    }
}

/// The flag among those of the command and of the program.
fn known<'c>(command: &'c Command, root: &'c Command, spelled: &Spelled<'_>) -> Option<&'c Arg> {
    let mut all = command.get_arguments().chain(root.get_arguments());
    all.find(|arg| match (spelled.long, spelled.short) {
        (Some(long), _) => {
            arg.get_long() == Some(long)
                || arg
                    .get_all_aliases()
                    .is_some_and(|aliases| aliases.contains(&long))
        }
        (None, short) => arg.get_short().is_some() && arg.get_short() == short,
    })
}

fn foreign(command: &Command, spelled: &Spelled<'_>) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| {
        let named = match spelled.long {
            Some(long) => flag.long == long,
            None => flag.short.is_some() && flag.short == spelled.short,
        };
        // A cluster of short flags is left to the table of commands.
        let whole = spelled.long.is_some() || flag.takes != Nothing || spelled.value.is_none();
        let here = flag.commands.is_empty() || flag.commands.contains(&command.get_name());
        named && whole && here
    })
}
