//! Completions and manual pages, as the programs print them.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Contents;
use crate::program::{Architecture, Program};

/// Programs that describe themselves, and whether they have a page for each command too.
/// `aip-sandbox` has `--help` only.
const DESCRIBED: [(&str, bool); 2] = [("aip", true), ("aip-deploy", false)];
/// Shells, as the programs name them.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// What one program says of itself.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// By shell.
    pub(super) completions: BTreeMap<&'static str, Vec<u8>>,
    /// Pages of section 1, by name, as in `aip-clients-create`.
    pub(super) pages: BTreeMap<String, Vec<u8>>,
}

/// Descriptions by program.
pub(super) type Generated = BTreeMap<&'static str, Description>;

/// Asks the programs; those of another architecture say the same as those that run here.
pub(super) fn from(programs: &BTreeMap<&str, &Program>, contents: &Contents) -> Result<Generated> {
    DESCRIBED
        .iter()
        .map(|(name, has_pages_of_commands)| {
            let here = contents.programs.iter().find(|program| {
                program.name == *name && program.architecture == Architecture::of_this_machine()
            });
            // Emulation may run the others (binfmt_misc); if not, it is said.
            let program = here.or_else(|| programs.get(name).copied());
            let program = program.with_context(|| format!("no program {name}"))?;
            Ok((*name, describe(program, *has_pages_of_commands)?))
        })
        .collect()
}

fn describe(program: &Program, has_pages_of_commands: bool) -> Result<Description> {
    let mut description = Description::default();
    for shell in SHELLS {
        let script = ask(program, &["completions", shell])?;
        description.completions.insert(shell, script);
    }
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let mut arguments = vec!["man"];
        arguments.extend(words.iter().map(String::as_str));
        let page = ask(program, &arguments)?;
        let name = std::iter::once(program.name.as_str())
            .chain(words.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("-");
        let listed = subcommands(&String::from_utf8(page.clone())?, &name);
        for word in listed.into_iter().filter(|_| has_pages_of_commands) {
            open.push(words.iter().cloned().chain([word]).collect());
        }
        description.pages.insert(name, page);
    }
    Ok(description)
}

/// The commands that a page lists, as `.TP` and `aip\-serve(1)` below it.
fn subcommands(page: &str, name: &str) -> Vec<String> {
    let prefix = format!("{}\\-", name.replace('-', "\\-"));
    page.lines()
        .filter_map(|line| line.strip_prefix(&prefix)?.strip_suffix("(1)"))
        .map(|word| word.replace("\\-", "-"))
        .filter(|word| !word.starts_with("help"))
        .collect()
}

fn ask(program: &Program, arguments: &[&str]) -> Result<Vec<u8>> {
    let shown = || format!("{} {}", program.name, arguments.join(" "));
    let output = Command::new(&program.path)
        .args(arguments)
        .env_clear()
        .output()
        .with_context(|| format!("cannot run {}", shown()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {said}", shown(), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_page_are_found() {
        let page = ".SH SUBCOMMANDS\n.TP\naip\\-clients(1)\nApps\n.TP\naip\\-rotate\\-keys(1)\n\
                    .TP\naip\\-help(1)\nPrint this message\n";
        assert_eq!(subcommands(page, "aip"), ["clients", "rotate-keys"]);
        assert_eq!(subcommands(page, "aip-deploy"), [""; 0]);
    }
}
