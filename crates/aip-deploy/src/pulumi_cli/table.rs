//! Which flags and commands of Pulumi this program does not have, and what becomes of them.

/// What a flag takes besides itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// A value in the same word or the next.
    Value,
    /// A value in the same word, or none.
    ValueBehindEquals,
}

/// What becomes of a flag.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Ignored(&'static str),
    Refused(&'static str),
}

pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
    /// The commands that have it in Pulumi; none is every command.
    pub(super) commands: &'static [&'static str],
    pub(super) fate: Fate,
}

const DEPLOYING: &[&str] = &["up", "preview", "destroy"];
const UP: &[&str] = &["up"];

const fn flag(
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    commands: &'static [&'static str],
    fate: Fate,
) -> Flag {
    Flag {
        long,
        short,
        takes,
        commands,
        fate,
    }
}

use Fate::{Ignored, Refused};
use Takes::{Nothing, Value, ValueBehindEquals};

const LOGGING: Fate = Ignored("errors say what is known, and there is no log");
const TOGETHER: Fate =
    Refused("the objects of a stack belong together, so all of them are compared and applied");
const SHOWN: Fate = Ignored("the output has one form; `--diff` shows every changed field");
const PLANS: Fate = Refused("`up` plans again after your yes and stops if the plan has changed");
const IN_FILE: Fate = Refused("set the value in the stack file with `aip-deploy config set`");
const POLICIES: Fate = Refused("policies are the cluster's: admission is tried in every preview");

pub(super) const FLAGS: &[Flag] = &[
    flag("debug", Some('d'), Nothing, &[], LOGGING),
    flag("verbose", Some('v'), Value, &[], LOGGING),
    flag("logtostderr", None, Nothing, &[], LOGGING),
    flag("logflow", None, Nothing, &[], LOGGING),
    flag("tracing", None, Value, &[], LOGGING),
    flag("profiling", None, Value, &[], LOGGING),
    flag("emoji", Some('e'), Nothing, &[], SHOWN),
    flag(
        "disable-integrity-checking",
        None,
        Nothing,
        &[],
        Ignored("the state has no checkpoint to check"),
    ),
    flag(
        "message",
        Some('m'),
        Value,
        DEPLOYING,
        Ignored("the history records the command, the commit and the configuration"),
    ),
    flag(
        "refresh",
        Some('r'),
        ValueBehindEquals,
        DEPLOYING,
        Ignored("every plan is compared with the live cluster"),
    ),
    flag(
        "parallel",
        Some('p'),
        Value,
        DEPLOYING,
        Ignored("objects are applied phase by phase"),
    ),
    flag("suppress-outputs", None, Nothing, DEPLOYING, SHOWN),
    flag("suppress-progress", None, Nothing, DEPLOYING, SHOWN),
    flag(
        "suppress-permalink",
        None,
        ValueBehindEquals,
        DEPLOYING,
        SHOWN,
    ),
    flag("show-sames", None, Nothing, DEPLOYING, SHOWN),
    flag("show-reads", None, Nothing, DEPLOYING, SHOWN),
    flag(
        "show-full-output",
        None,
        ValueBehindEquals,
        DEPLOYING,
        SHOWN,
    ),
    flag("show-replacement-steps", None, Nothing, DEPLOYING, SHOWN),
    flag("show-config", None, Nothing, DEPLOYING, SHOWN),
    flag(
        "skip-preview",
        Some('f'),
        Nothing,
        &["destroy"],
        Ignored("`--yes` answers the question"),
    ),
    flag(
        "json",
        Some('j'),
        Nothing,
        &["up", "destroy"],
        Refused("`aip-deploy preview --json` prints the plan"),
    ),
    flag(
        "show-secrets",
        None,
        Nothing,
        DEPLOYING,
        Refused("no plan shows a secret; `aip-deploy config --show-secrets` does"),
    ),
    flag("target", Some('t'), Value, DEPLOYING, TOGETHER),
    flag("exclude", Some('x'), Value, DEPLOYING, TOGETHER),
    flag("target-dependents", None, Nothing, DEPLOYING, TOGETHER),
    flag("exclude-dependents", None, Nothing, DEPLOYING, TOGETHER),
    flag("replace", None, Value, DEPLOYING, TOGETHER),
    flag("target-replace", None, Value, DEPLOYING, TOGETHER),
    flag("exclude-protected", None, Nothing, &["destroy"], TOGETHER),
    flag(
        "continue-on-error",
        None,
        Nothing,
        DEPLOYING,
        Refused("a phase that fails ends the deployment, and the next `up` goes on from there"),
    ),
    flag("config", Some('c'), Value, DEPLOYING, IN_FILE),
    flag("config-path", None, Nothing, DEPLOYING, IN_FILE),
    flag(
        "secrets-provider",
        None,
        Value,
        UP,
        Refused("`aip-deploy stack change-secrets-provider` changes it"),
    ),
    flag("plan", None, Value, UP, PLANS),
    flag("strict", None, Nothing, UP, PLANS),
    flag("save-plan", None, Value, &["preview"], PLANS),
    flag("policy-pack", None, Value, DEPLOYING, POLICIES),
    flag("policy-pack-config", None, Value, DEPLOYING, POLICIES),
    flag(
        "preview-only",
        None,
        Nothing,
        &["destroy"],
        Refused("`aip-deploy destroy` shows what it deletes before it asks"),
    ),
    flag(
        "remove",
        None,
        Nothing,
        &["destroy"],
        Refused("remove the stack with `aip-deploy stack rm` when nothing is left"),
    ),
    flag(
        "remove-backups",
        None,
        Nothing,
        &["rm"],
        Ignored("the whole state of the stack is removed"),
    ),
    flag(
        "show-secrets",
        None,
        Nothing,
        &["output"],
        Ignored("no output is secret"),
    ),
    flag(
        "shell",
        None,
        Nothing,
        &["output"],
        Refused("`aip-deploy stack output NAME` prints one value"),
    ),
    flag(
        "file",
        None,
        Value,
        &["export"],
        Refused("redirect standard output"),
    ),
    flag(
        "show-secrets",
        None,
        Nothing,
        &["export", "history"],
        Refused("`aip-deploy config --show-secrets` shows what the stack file encrypts"),
    ),
    flag(
        "insecure",
        None,
        Nothing,
        &["login"],
        Refused("certificates are always verified"),
    ),
];

/// A command of Pulumi: the command it stands below (none: the program), its name, the reason.
pub(super) const COMMANDS: &[(Option<&str>, &str, &str)] = &[
    (
        None,
        "refresh",
        "the cluster itself is compared each time; `aip-deploy drift` shows what was changed by hand",
    ),
    (
        None,
        "import",
        "`aip-deploy adopt` takes over the stack of the original program",
    ),
    (
        None,
        "state",
        "the state lists the stack's objects only; `aip-deploy stack export` prints it",
    ),
    (
        None,
        "new",
        "`aip-deploy stack init` makes a stack, and the project file with it",
    ),
    (
        None,
        "about",
        "`aip-deploy doctor` checks everything a deployment needs",
    ),
    (
        None,
        "logs",
        "`aip-deploy rollout` shows the last lines of Pods that fail",
    ),
    (None, "history", "it is `aip-deploy stack history`"),
    (None, "policy", "policies are the cluster's"),
    (None, "plugin", "there are no plugins"),
    (None, "install", "there is nothing to install"),
    (None, "package", "there are no packages"),
    (None, "console", "there is no Pulumi Cloud behind a stack"),
    (None, "org", "there is no Pulumi Cloud behind a stack"),
    (None, "env", "Pulumi ESC needs Pulumi Cloud"),
    (None, "convert", "there is no program to convert"),
    (None, "watch", "run `aip-deploy up` after an edit"),
    (
        Some("stack"),
        "rename",
        "the namespace and the Secrets are named after the stack: `aip-deploy stack init NEW`, `aip-deploy config cp \
         --dest NEW`, deploy it, then destroy the old one",
    ),
    (
        Some("stack"),
        "import",
        "the cluster is the truth; `aip-deploy adopt` takes over Pulumi's state",
    ),
    (Some("stack"), "tag", "a stack has no tags"),
    (
        Some("stack"),
        "graph",
        "`aip-deploy preview` shows the tree of objects",
    ),
    (Some("config"), "env", "Pulumi ESC needs Pulumi Cloud"),
];
