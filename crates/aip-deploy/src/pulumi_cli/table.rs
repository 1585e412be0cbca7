//! Which flags and commands of Pulumi this program does not have, and what becomes of them.

/// What a flag takes besides itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagValue {
    Nothing,
    /// A value in the same word or the next.
    Value,
    /// A value in the same word, or none.
    ValueAfterEquals,
}

/// How a Pulumi flag is handled.
#[derive(Clone, Copy)]
pub(super) enum FlagHandling {
    Ignored(&'static str),
    Refused(&'static str),
}

use FlagHandling::{Ignored, Refused};

/// Flags with one fate: `long`, `long,short`, with `=` behind one that takes a value, `[=]` behind one that
/// takes it only in the same word.
pub(super) struct FlagGroup {
    /// The commands that have the flags in Pulumi; none is every command.
    commands: &'static [&'static str],
    flags: &'static [&'static str],
    handling: FlagHandling,
}

/// One flag of a group.
pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: FlagValue,
    pub(super) handling: FlagHandling,
}

const fn group(
    commands: &'static [&'static str],
    flags: &'static [&'static str],
    handling: FlagHandling,
) -> FlagGroup {
    FlagGroup {
        commands,
        flags,
        handling,
    }
}

const EVERY: &[&str] = &[];
const DEPLOYING: &[&str] = &["up", "preview", "destroy"];
const WHOLE_STACK: FlagHandling = Refused("all objects of a stack are always compared and applied");
const ONE_OUTPUT_FORM: FlagHandling =
    Ignored("the output format is fixed; `--diff` shows every changed field");
const ALWAYS_REPLANS: FlagHandling =
    Refused("`up` plans again after confirmation and stops if the plan has changed");

const FLAGS: &[FlagGroup] = &[
    group(
        EVERY,
        &[
            "debug,d",
            "verbose,v=",
            "logtostderr",
            "logflow",
            "tracing=",
            "profiling=",
        ],
        Ignored("there is no debug log"),
    ),
    group(EVERY, &["emoji,e"], ONE_OUTPUT_FORM),
    group(
        EVERY,
        &["disable-integrity-checking"],
        Ignored("the state has no checkpoint to check"),
    ),
    group(
        DEPLOYING,
        &["message,m="],
        Ignored("the history records the command, the commit and the configuration"),
    ),
    group(
        DEPLOYING,
        &["refresh,r[=]"],
        Ignored("every plan is compared with the live cluster"),
    ),
    group(
        DEPLOYING,
        &["parallel,p="],
        Ignored("objects are applied phase by phase"),
    ),
    group(
        DEPLOYING,
        &[
            "suppress-outputs",
            "suppress-progress",
            "suppress-permalink[=]",
            "show-sames",
            "show-reads",
            "show-full-output[=]",
            "show-replacement-steps",
            "show-config",
        ],
        ONE_OUTPUT_FORM,
    ),
    group(
        &["destroy"],
        &["skip-preview,f"],
        Ignored("`--yes` answers the question"),
    ),
    group(
        &["up", "destroy"],
        &["json,j"],
        Refused("`aip-deploy preview --json` prints the plan"),
    ),
    group(
        DEPLOYING,
        &["show-secrets"],
        Refused("no plan shows a secret; `aip-deploy config --show-secrets` does"),
    ),
    group(
        DEPLOYING,
        &[
            "target,t=",
            "exclude,x=",
            "target-dependents",
            "exclude-dependents",
            "replace=",
            "target-replace=",
        ],
        WHOLE_STACK,
    ),
    group(&["destroy"], &["exclude-protected"], WHOLE_STACK),
    group(
        DEPLOYING,
        &["continue-on-error"],
        Refused("a failed phase ends the deployment, and the next `up` resumes from there"),
    ),
    group(
        DEPLOYING,
        &["config,c=", "config-path"],
        Refused("set the value in the stack file with `aip-deploy config set`"),
    ),
    group(
        &["up"],
        &["secrets-provider="],
        Refused("`aip-deploy stack change-secrets-provider` changes it"),
    ),
    group(&["up"], &["plan=", "strict"], ALWAYS_REPLANS),
    group(&["preview"], &["save-plan="], ALWAYS_REPLANS),
    group(
        DEPLOYING,
        &["policy-pack=", "policy-pack-config="],
        Refused("policies belong to the cluster: every preview runs through admission control"),
    ),
    group(
        &["destroy"],
        &["preview-only"],
        Refused("`aip-deploy destroy` shows what it deletes before it asks"),
    ),
    group(
        &["destroy"],
        &["remove"],
        Refused("remove the stack with `aip-deploy stack rm` when nothing is left"),
    ),
    group(
        &["rm"],
        &["remove-backups"],
        Ignored("the whole state of the stack is removed"),
    ),
    group(
        &["output"],
        &["show-secrets"],
        Ignored("no output is secret"),
    ),
    group(
        &["output"],
        &["shell"],
        Refused("`aip-deploy stack output NAME` prints one value"),
    ),
    group(&["export"], &["file="], Refused("redirect standard output")),
    group(
        &["export", "history"],
        &["show-secrets"],
        Refused("`aip-deploy config --show-secrets` shows what the stack file encrypts"),
    ),
    group(
        &["login"],
        &["insecure"],
        Refused("certificates are always verified"),
    ),
];

/// The flags that a command has in Pulumi and not here.
pub(super) fn flags_of(command: &str) -> impl Iterator<Item = Flag> {
    let groups = FLAGS
        .iter()
        .filter(move |group| group.commands.is_empty() || group.commands.contains(&command));
    groups.flat_map(|group| {
        group
            .flags
            .iter()
            .map(|flag| Flag::of(flag, group.handling))
    })
}

impl Flag {
    fn of(written: &'static str, handling: FlagHandling) -> Self {
        let (names, value) = if let Some(names) = written.strip_suffix("[=]") {
            (names, FlagValue::ValueAfterEquals)
        } else if let Some(names) = written.strip_suffix('=') {
            (names, FlagValue::Value)
        } else {
            (written, FlagValue::Nothing)
        };
        let (long, short) = names.split_once(',').unwrap_or((names, ""));
        Self {
            long,
            short: short.chars().next(),
            value,
            handling,
        }
    }
}

/// A command of Pulumi, behind the command it stands below, and the reason why it is not here.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    (
        "refresh",
        "the cluster itself is compared each time; `aip-deploy drift` shows what was changed by hand",
    ),
    (
        "import",
        "`aip-deploy adopt` takes over the stack of the original program",
    ),
    (
        "state",
        "the state lists the stack's objects only; `aip-deploy stack export` prints it",
    ),
    (
        "new",
        "`aip-deploy stack init` creates a stack and its project file",
    ),
    (
        "about",
        "`aip-deploy doctor` checks the prerequisites of a deployment",
    ),
    (
        "logs",
        "`aip-deploy rollout` shows the last log lines of failing Pods",
    ),
    ("history", "it is `aip-deploy stack history`"),
    ("policy", "policies belong to the cluster"),
    ("plugin", "there are no plugins"),
    ("install", "there is nothing to install"),
    ("package", "there are no packages"),
    ("console", "there is no Pulumi Cloud behind a stack"),
    ("org", "there is no Pulumi Cloud behind a stack"),
    ("env", "Pulumi ESC needs Pulumi Cloud"),
    ("convert", "there is no program to convert"),
    ("watch", "run `aip-deploy up` after an edit"),
    (
        "stack rename",
        "the namespace and the Secrets are named after the stack: `aip-deploy stack init NEW`, `aip-deploy config cp \
         --dest NEW`, deploy it, then destroy the old one",
    ),
    (
        "stack import",
        "the cluster is the truth; `aip-deploy adopt` takes over Pulumi's state",
    ),
    ("stack tag", "a stack has no tags"),
    (
        "stack graph",
        "`aip-deploy preview` shows the tree of objects",
    ),
    ("config env", "Pulumi ESC needs Pulumi Cloud"),
];
