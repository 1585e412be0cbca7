//! Command lines that were written for Pulumi, and what is left of them.

use clap::arg;

use super::*;

fn command() -> Command {
    let mut command = Command::new("x")
        .arg(arg!(-s --stack <NAME>).global(true))
        .arg(arg!(--"non-interactive").global(true))
        .subcommand(Command::new("up").arg(arg!(-y - -yes)).arg(arg!(--diff)))
        .subcommand(
            Command::new("config")
                .subcommand(Command::new("set").arg(arg!([value])).arg(arg!(--secret)))
                .subcommand(Command::new("cp").arg(arg!(-d --dest <STACK>))),
        )
        .subcommand(Command::new("stack").subcommand(Command::new("ls")));
    command.build();
    command
}

fn line(text: &str) -> Result<(String, usize), PulumiCliError> {
    let arguments = text.split(' ').map(OsString::from).collect();
    let (kept, notes) = translate_arguments(arguments, &command())?;
    let kept = normalize_bool_flags(kept, &command())?;
    let words: Vec<String> = kept
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect();
    Ok((words.join(" "), notes.len()))
}

#[test]
fn flags_without_an_effect_are_taken_with_a_note() {
    for (given, kept, notes) in [
        ("x up -d", "x up", 1),
        ("x up -m text --diff", "x up --diff", 1),
        ("x up -mtext --message=text", "x up", 2),
        ("x -v 9 --logtostderr up --refresh -y", "x up -y", 3),
        ("x up --refresh=false --parallel 4 -p=2 -r", "x up", 4),
        ("x config cp -d other", "x config cp -d other", 0),
        ("x config set -- -d", "x config set -- -d", 0),
        ("x -s up up", "x -s up up", 0),
    ] {
        assert_eq!(line(given).unwrap(), (kept.to_owned(), notes), "{given}");
    }
}

#[test]
fn what_would_promise_something_is_refused_with_the_reason() {
    for (given, said) in [
        (
            "x up --target urn",
            "the Pulumi flag `--target` is not supported: all objects",
        ),
        (
            "x up -c a=b",
            "the Pulumi flag `--config` is not supported: set the value",
        ),
        (
            "x refresh",
            "the Pulumi command `refresh` is not supported: the cluster itself",
        ),
        (
            "x stack rename other",
            "the Pulumi command `stack rename` is not supported: the namespace",
        ),
        ("x -s a stack rename b", "the Pulumi command `stack rename`"),
    ] {
        let error = line(given).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    assert!(line("x config set rename").is_ok(), "only as a command");
}

#[test]
fn a_flag_may_say_true_or_false_and_the_last_one_counts() {
    for (given, kept) in [
        ("x up --yes=true", "x up --yes"),
        ("x up -y=1", "x up --yes"),
        (
            "x --non-interactive=true up --yes=F",
            "x --non-interactive up",
        ),
        ("x up --yes -y --yes=false", "x up"),
        ("x up --yes=false --yes", "x up --yes"),
        ("x config set a --secret=false", "x config set a"),
        (
            "x config set -- --secret=false",
            "x config set -- --secret=false",
        ),
    ] {
        assert_eq!(line(given).unwrap().0, kept, "{given}");
    }
    let error = line("x up --yes=perhaps").unwrap_err();
    assert_eq!(error.to_string(), "--yes must be true or false");
}

#[test]
fn two_stacks_on_one_line_are_refused() {
    assert!(line("x -s a up -s a").is_ok());
    for given in [
        "x -s a up --stack=b",
        "x -s a -sb up",
        "x up --stack a -s=b",
    ] {
        let error = line(given).unwrap_err().to_string();
        assert_eq!(
            error,
            "conflicting stacks: the command line names `a` and `b`"
        );
    }
}
