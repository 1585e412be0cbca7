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

pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: FlagValue,
    /// The commands that have it in Pulumi; none is every command.
    pub(super) commands: &'static [&'static str],
    pub(super) handling: FlagHandling,
}

const DEPLOYING: &[&str] = &["up", "preview", "destroy"];
const UP: &[&str] = &["up"];

const fn flag(
    long: &'static str,
    short: Option<char>,
    value: FlagValue,
    commands: &'static [&'static str],
    handling: FlagHandling,
) -> Flag {
    Flag {
        long,
        short,
        value,
        commands,
        handling,
    }
}

use FlagHandling::{Ignored, Refused};
use FlagValue::{Nothing, Value, ValueAfterEquals};

const NO_LOG: FlagHandling = Ignored("there is no debug log");
const WHOLE_STACK: FlagHandling = Refused("all objects of a stack are always compared and applied");
const ONE_OUTPUT_FORM: FlagHandling =
    Ignored("the output format is fixed; `--diff` shows every changed field");
const ALWAYS_REPLANS: FlagHandling =
    Refused("`up` plans again after confirmation and stops if the plan has changed");
const SET_IN_STACK_FILE: FlagHandling =
    Refused("set the value in the stack file with `aip-deploy config set`");
const CLUSTER_POLICIES: FlagHandling =
    Refused("policies belong to the cluster: every preview runs through admission control");

pub(super) const FLAGS: &[Flag] = &[
    flag("debug", Some('d'), Nothing, &[], NO_LOG),
    flag("verbose", Some('v'), Value, &[], NO_LOG),
    flag("logtostderr", None, Nothing, &[], NO_LOG),
    flag("logflow", None, Nothing, &[], NO_LOG),
    flag("tracing", None, Value, &[], NO_LOG),
    flag("profiling", None, Value, &[], NO_LOG),
    flag("emoji", Some('e'), Nothing, &[], ONE_OUTPUT_FORM),
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
        ValueAfterEquals,
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
    flag(
        "suppress-outputs",
        None,
        Nothing,
        DEPLOYING,
        ONE_OUTPUT_FORM,
    ),
    flag(
        "suppress-progress",
        None,
        Nothing,
        DEPLOYING,
        ONE_OUTPUT_FORM,
    ),
    flag(
        "suppress-permalink",
        None,
        ValueAfterEquals,
        DEPLOYING,
        ONE_OUTPUT_FORM,
    ),
    flag("show-sames", None, Nothing, DEPLOYING, ONE_OUTPUT_FORM),
    flag("show-reads", None, Nothing, DEPLOYING, ONE_OUTPUT_FORM),
    flag(
        "show-full-output",
        None,
        ValueAfterEquals,
        DEPLOYING,
        ONE_OUTPUT_FORM,
    ),
    flag(
        "show-replacement-steps",
        None,
        Nothing,
        DEPLOYING,
        ONE_OUTPUT_FORM,
    ),
    flag("show-config", None, Nothing, DEPLOYING, ONE_OUTPUT_FORM),
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
    flag("target", Some('t'), Value, DEPLOYING, WHOLE_STACK),
    flag("exclude", Some('x'), Value, DEPLOYING, WHOLE_STACK),
    flag("target-dependents", None, Nothing, DEPLOYING, WHOLE_STACK),
    flag("exclude-dependents", None, Nothing, DEPLOYING, WHOLE_STACK),
    flag("replace", None, Value, DEPLOYING, WHOLE_STACK),
    flag("target-replace", None, Value, DEPLOYING, WHOLE_STACK),
    flag(
        "exclude-protected",
        None,
        Nothing,
        &["destroy"],
        WHOLE_STACK,
    ),
    flag(
        "continue-on-error",
        None,
        Nothing,
        DEPLOYING,
        Refused("a failed phase ends the deployment, and the next `up` resumes from there"),
    ),
    flag("config", Some('c'), Value, DEPLOYING, SET_IN_STACK_FILE),
    flag("config-path", None, Nothing, DEPLOYING, SET_IN_STACK_FILE),
    flag(
        "secrets-provider",
        None,
        Value,
        UP,
        Refused("`aip-deploy stack change-secrets-provider` changes it"),
    ),
    flag("plan", None, Value, UP, ALWAYS_REPLANS),
    flag("strict", None, Nothing, UP, ALWAYS_REPLANS),
    flag("save-plan", None, Value, &["preview"], ALWAYS_REPLANS),
    flag("policy-pack", None, Value, DEPLOYING, CLUSTER_POLICIES),
    flag(
        "policy-pack-config",
        None,
        Value,
        DEPLOYING,
        CLUSTER_POLICIES,
    ),
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
        "`aip-deploy stack init` creates a stack and its project file",
    ),
    (
        None,
        "about",
        "`aip-deploy doctor` checks the prerequisites of a deployment",
    ),
    (
        None,
        "logs",
        "`aip-deploy rollout` shows the last log lines of failing Pods",
    ),
    (None, "history", "it is `aip-deploy stack history`"),
    (None, "policy", "policies belong to the cluster"),
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
