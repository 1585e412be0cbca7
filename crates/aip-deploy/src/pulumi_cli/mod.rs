//! Flags and commands of Pulumi that scripts pass and this program does not have: those without an
//! effect here are taken, with a note; those that would promise something are refused with the
//! reason. What the table of commands knows itself is left to it.

mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use pulumi_files::coerce::ValueType;
use yaml_lossless::Tree;

use table::FlagHandling::{Ignored, Refused};
use table::FlagValue::{Nothing, Value};
use table::{COMMANDS, Flag, flags_of};

/// Why a command line of Pulumi is not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PulumiCliError {
    #[error("the Pulumi flag `{flag}` is not supported: {reason}")]
    Flag { flag: String, reason: &'static str },
    #[error("the Pulumi command `{command}` is not supported: {reason}")]
    Command {
        command: String,
        reason: &'static str,
    },
    #[error("{0} must be true or false")]
    NotABool(String),
    /// Two stacks are named.
    #[error("conflicting stacks: the command line names `{0}` and `{1}`")]
    TwoStacks(String, String),
}

/// The command line without what has no effect here, and what to say about that.
pub(crate) fn translate_arguments(
    arguments: Vec<OsString>,
    root: &Command,
) -> Result<(Vec<OsString>, Vec<String>), PulumiCliError> {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut notes = Vec::new();
    let mut command = root;
    let mut descending = true;
    let mut stack: Option<String> = None;
    let mut remaining = arguments.into_iter();
    kept.extend(remaining.next());
    while let Some(argument) = remaining.next() {
        let Some(text) = argument.to_str().map(str::to_owned) else {
            kept.push(argument);
            continue;
        };
        if text == "--" {
            kept.push(argument);
            break;
        }
        let Some(parsed) = ParsedFlag::of(&text) else {
            if descending && let Some(below) = command.find_subcommand(&text) {
                command = below;
            } else if descending {
                refuse_command(command, root, &text)?;
                descending = false;
            }
            kept.push(argument);
            continue;
        };
        if let Some(own) = own_flag(command, root, &parsed) {
            let takes_next = own.get_action().takes_values()
                && parsed.value.is_none()
                && !own.is_require_equals_set();
            kept.push(argument);
            let value = if takes_next {
                remaining.next()
            } else {
                parsed.value.map(OsString::from)
            };
            if own.get_long() == Some("stack")
                && let Some(name) = value.as_ref().and_then(|value| value.to_str())
            {
                one_stack(&mut stack, name)?;
            }
            kept.extend(value.filter(|_| takes_next));
            continue;
        }
        let Some(pulumi_flag) = pulumi_flag(command, &parsed) else {
            kept.push(argument);
            continue;
        };
        if pulumi_flag.value == Value && parsed.value.is_none() {
            remaining.next();
        }
        let name = format!("--{}", pulumi_flag.long);
        match pulumi_flag.handling {
            Refused(reason) => return Err(PulumiCliError::Flag { flag: name, reason }),
            Ignored(reason) => notes.push(format!("note: `{name}` has no effect here: {reason}")),
        }
    }
    kept.extend(remaining);
    Ok((kept, notes))
}

/// Flags that are given or not, also with `=true` and `=false`, as Go programs take them. The last
/// one counts.
pub(crate) fn normalize_bool_flags(
    arguments: Vec<OsString>,
    root: &Command,
) -> Result<Vec<OsString>, PulumiCliError> {
    let mut kept: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut command = root;
    let mut remaining = arguments.into_iter();
    kept.extend(remaining.next());
    for argument in remaining.by_ref() {
        let text = argument.to_str().unwrap_or_default().to_owned();
        if text == "--" {
            kept.push(argument);
            break;
        }
        let Some(parsed) = ParsedFlag::of(&text) else {
            command = command.find_subcommand(&text).unwrap_or(command);
            kept.push(argument);
            continue;
        };
        let own = own_flag(command, root, &parsed);
        let own = own.filter(|own| matches!(own.get_action(), ArgAction::SetTrue));
        let (Some(own), Some(value)) = (own, parsed.value) else {
            kept.push(argument);
            continue;
        };
        let name = match own.get_long() {
            Some(long) => format!("--{long}"),
            None => parsed.name(),
        };
        let given = ValueType::Bool.coerce(value);
        match given {
            Ok(Tree::Plain(yes)) if yes == "true" => kept.push(name.into()),
            Ok(_) => {
                let short = own.get_short().map(|short| format!("-{short}"));
                kept.retain(|argument| {
                    let argument = argument.to_str().unwrap_or_default();
                    argument != name && short.as_deref() != Some(argument)
                });
            }
            Err(_) => return Err(PulumiCliError::NotABool(name)),
        }
    }
    kept.extend(remaining);
    Ok(kept)
}

fn one_stack(named: &mut Option<String>, name: &str) -> Result<(), PulumiCliError> {
    match named.replace(name.to_owned()) {
        Some(former) if former != name => Err(PulumiCliError::TwoStacks(former, name.to_owned())),
        _ => Ok(()),
    }
}

fn refuse_command(command: &Command, root: &Command, argument: &str) -> Result<(), PulumiCliError> {
    let typed = if std::ptr::eq(command, root) {
        argument.to_owned()
    } else {
        format!("{} {argument}", command.get_name())
    };
    match COMMANDS.iter().find(|(name, _)| *name == typed) {
        Some((_, reason)) => Err(PulumiCliError::Command {
            command: typed,
            reason,
        }),
        None => Ok(()),
    }
}

/// A flag as it is written.
struct ParsedFlag<'w> {
    long: Option<&'w str>,
    short: Option<char>,
    value: Option<&'w str>,
}

impl<'w> ParsedFlag<'w> {
    fn of(argument: &'w str) -> Option<Self> {
        let flag = argument.strip_prefix('-').filter(|flag| !flag.is_empty())?;
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
fn own_flag<'c>(
    command: &'c Command,
    root: &'c Command,
    parsed: &ParsedFlag<'_>,
) -> Option<&'c Arg> {
    let mut all = command.get_arguments().chain(root.get_arguments());
    all.find(|arg| match (parsed.long, parsed.short) {
        (Some(long), _) => {
            arg.get_long() == Some(long)
                || arg
                    .get_all_aliases()
                    .is_some_and(|aliases| aliases.contains(&long))
        }
        (None, short) => arg.get_short().is_some() && arg.get_short() == short,
    })
}

fn pulumi_flag(command: &Command, parsed: &ParsedFlag<'_>) -> Option<Flag> {
    flags_of(command.get_name()).find(|flag| {
        let named = match parsed.long {
            Some(long) => flag.long == long,
            None => flag.short.is_some() && flag.short == parsed.short,
        };
        // A cluster of short flags is left to the table of commands.
        let whole = parsed.long.is_some() || flag.value != Nothing || parsed.value.is_none();
        named && whole
    })
}
