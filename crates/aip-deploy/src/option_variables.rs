//! `PULUMI_OPTION_<FLAG>`: every flag may also come from the environment, as in Pulumi. What the
//! command line says counts more.

use std::ffi::OsString;

use aip_base::Environment;
use clap::{Arg, ArgAction, Command};
use pulumi_files::coerce::ValueType;
use yaml_lossless::Tree;

const VARIABLE_PREFIX: &str = "PULUMI_OPTION_";

/// Flags whose value is said each time: it proves that somebody means it.
const COMMAND_LINE_ONLY: &[&str] = &["confirm", "help", "version"];

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be true or false")]
pub(crate) struct NotABool(String);

/// The command line with the flags of the environment put before those that were typed, so that
/// these win. `command` must let a later flag override an earlier one.
pub(crate) fn with_options(
    arguments: Vec<OsString>,
    environment: &Environment,
    command: &Command,
) -> Result<Vec<OsString>, NotABool> {
    let (place, deepest) = subcommand(&arguments, command);
    let mut all = arguments;
    if !std::ptr::eq(deepest, command) {
        let own = deepest.get_arguments().filter(|arg| !arg.is_global_set());
        all.splice(place..place, flags(own, environment)?);
    }
    let start = 1.min(all.len());
    all.splice(start..start, flags(command.get_arguments(), environment)?);
    Ok(all)
}

/// The innermost command that was typed, and the place behind its name.
fn subcommand<'c>(arguments: &[OsString], root: &'c Command) -> (usize, &'c Command) {
    let (mut place, mut command) = (1, root);
    let mut at = 1;
    while let Some(word) = arguments.get(at).and_then(|word| word.to_str()) {
        at += 1;
        if let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) {
            // Only what is global may stand before a subcommand.
            let takes_next = root.get_arguments().any(|arg| {
                let named = match flag.strip_prefix('-') {
                    Some(long) => arg.get_long() == Some(long),
                    None => arg.get_short().map(String::from).as_deref() == Some(flag),
                };
                named && arg.get_action().takes_values()
            });
            at += usize::from(takes_next);
        } else if let Some(below) = command.find_subcommand(word) {
            (place, command) = (at, below);
        } else {
            break;
        }
    }
    (place, command)
}

/// The flags among `arguments` that the environment sets.
fn flags<'c>(
    arguments: impl Iterator<Item = &'c Arg>,
    environment: &Environment,
) -> Result<Vec<OsString>, NotABool> {
    let mut flags = Vec::new();
    for arg in arguments {
        let Some(long) = arg
            .get_long()
            .filter(|long| !COMMAND_LINE_ONLY.contains(long))
        else {
            continue;
        };
        let name = format!(
            "{VARIABLE_PREFIX}{}",
            long.replace('-', "_").to_ascii_uppercase()
        );
        let Some(value) = environment.non_empty(&name) else {
            continue;
        };
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            match ValueType::Bool.coerce(value) {
                Ok(Tree::Plain(text)) if text == "true" => flags.push(format!("--{long}").into()),
                Ok(_) => {}
                Err(_) => return Err(NotABool(name)),
            }
        } else {
            flags.push(format!("--{long}={value}").into());
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use clap::arg;

    use super::*;

    fn command() -> Command {
        Command::new("x")
            .arg(arg!(-s --stack <NAME>).global(true))
            .arg(arg!(--"non-interactive").global(true))
            .subcommand(
                Command::new("up")
                    .arg(arg!(-y - -yes))
                    .arg(arg!(--timeout <S>)),
            )
            .subcommand(
                Command::new("config")
                    .arg(arg!(--json))
                    .subcommand(Command::new("set").arg(arg!([value])).arg(arg!(--secret))),
            )
            .subcommand(Command::new("repin").arg(arg!(--confirm <STACK>)))
    }

    fn line(text: &str, variables: &[(&str, &str)]) -> Result<String, NotABool> {
        let arguments = text.split(' ').map(OsString::from).collect();
        let variables = variables.iter().copied();
        let mut command = command();
        command.build();
        let all = with_options(arguments, &Environment::new(variables), &command)?;
        let words: Vec<String> = all
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        Ok(words.join(" "))
    }

    #[test]
    fn a_flag_of_the_environment_stands_before_those_that_were_typed() {
        let variables = [
            ("PULUMI_OPTION_YES", "true"),
            ("PULUMI_OPTION_TIMEOUT", "9"),
        ];
        assert_eq!(
            line("x up --timeout 5", &variables).unwrap(),
            "x up --yes --timeout=9 --timeout 5"
        );
        assert_eq!(
            line("x -s up up", &variables).unwrap(),
            "x -s up up --yes --timeout=9"
        );
        let stack = [("PULUMI_OPTION_STACK", "dev")];
        assert_eq!(
            line("x config set up", &stack).unwrap(),
            "x --stack=dev config set up"
        );
    }

    #[test]
    fn only_the_flags_of_the_command_count() {
        let variables = [("PULUMI_OPTION_JSON", "1"), ("PULUMI_OPTION_YES", "1")];
        assert_eq!(
            line("x config set a", &variables).unwrap(),
            "x config set a"
        );
        assert_eq!(line("x config", &variables).unwrap(), "x config --json");
        assert_eq!(line("x nope", &variables).unwrap(), "x nope");
    }

    #[test]
    fn no_is_no_flag_and_nonsense_is_refused() {
        let no = [("PULUMI_OPTION_YES", "false"), ("PULUMI_OPTION_STACK", "")];
        assert_eq!(line("x up", &no).unwrap(), "x up");
        let nonsense = [("PULUMI_OPTION_NON_INTERACTIVE", "maybe")];
        let refused = line("x up", &nonsense).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "PULUMI_OPTION_NON_INTERACTIVE must be true or false"
        );
    }

    #[test]
    fn the_environment_does_not_confirm_a_move_to_another_cluster() {
        let confirm = [("PULUMI_OPTION_CONFIRM", "main")];
        assert_eq!(line("x repin", &confirm).unwrap(), "x repin");
    }
}
