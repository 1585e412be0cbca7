//! `doctor`: everything a deployment needs, checked one by one. Nothing is changed, but `--inside` runs a Job, which it
//! deletes.

mod certificate;
mod dependencies;
mod inside;

use std::borrow::Cow;

use aip_apply::apply::lease::describe;
use aip_apply::cluster::{ApiError, GuardedCluster};
use aip_apply::plan::Deleting;
use aip_apply::store::Lease;
use aip_stack::Target;
use aip_stack::desired::Desired;
use clap::Args;
use serde_json::json;

use crate::commands::cert;
use crate::commands::failure::CommandError;
use crate::context::{Context, OpenStack, SecretsMode};
use crate::ui::style::{self, paint};
use crate::ui::table::columns;

/// Check the prerequisites of a deployment
#[derive(Debug, Args)]
#[command(after_help = examples![
    "doctor",
    "doctor --stack main --json",
    "doctor --inside --handle alice.example",
])]
pub(crate) struct DoctorArgs {
    /// Print the checks as JSON
    #[arg(short, long)]
    json: bool,
    /// Also run `aip doctor` in a Pod of the stack, as a Job that is deleted again: database, DNS, PLC directory and
    /// the rest, as the servers reach them
    #[arg(long)]
    inside: bool,
    /// The handle that it looks up; that of an account with a session unless named
    #[arg(long, requires = "inside")]
    handle: Option<String>,
}

/// One check: what, whether it passed, and what was found.
struct Check {
    name: Cow<'static, str>,
    passed: bool,
    found: String,
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    /// Notes a result; the value goes on to the checks that need it.
    fn record<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        result: Result<T, E>,
        found: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (passed, found, value) = match result {
            Ok(value) => (true, found(&value), Some(value)),
            Err(error) => (false, error.to_string(), None),
        };
        self.0.push(Check {
            name: name.into(),
            passed,
            found,
        });
        value
    }

    /// Notes a failure; a value goes on to the checks that need it.
    fn checked<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            failed @ Err(_) => self.record(name, failed, |_| String::new()),
        }
    }
}

impl DoctorArgs {
    /// Checks; exits with 1 if anything fails.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CommandError> {
        let mut report = Report::default();
        self.check(ctx, &mut report).await;
        let failed = report.0.iter().filter(|check| !check.passed).count();
        if self.json {
            let checks: Vec<_> = report
                .0
                .iter()
                .map(|check| json!({"check": check.name, "ok": check.passed, "found": check.found}))
                .collect();
            ctx.screen
                .json(&json!({"checks": checks, "failed": failed}));
        } else {
            let rows: Vec<Vec<String>> = report.0.iter().flat_map(rows).collect();
            ctx.screen.lines(columns(&rows, &[]));
        }
        if failed == 0 {
            Ok(())
        } else {
            Err(CommandError::Unhealthy(failed))
        }
    }

    async fn check(&self, ctx: &Context, report: &mut Report) {
        let named =
            |open: &OpenStack<'_>| format!("{}/{}", open.stack.project.name, open.stack.name);
        let Some(stack) = report.record("stack", ctx.open_stack().await, named) else {
            return;
        };
        let target = stack.target(SecretsMode::Decrypted).await;
        let target = report.record("configuration", target, |target| {
            format!("image {}", target.image)
        });
        let inventory = stack.store.inventory().await;
        let inventory = report.record("state backend", inventory, |inventory| {
            format!(
                "{} object(s), {} unfinished deployment(s)",
                inventory.owned.len(),
                inventory.intents.len()
            )
        });
        let lease = stack.store.lease().await;
        let lease = lease
            .map_err(|error| error.to_string())
            .and_then(not_locked);
        report.record("lease", lease, |lease| {
            lease.as_ref().map_or_else(|| "free".to_owned(), describe)
        });
        let (Some(target), Some(inventory)) = (target, inventory) else {
            return;
        };
        if let Some(certificate) = cert::check(&stack, &target).await {
            report.record("certificate", certificate, Clone::clone);
        }
        let cluster = stack.cluster(&target.context, &inventory).await;
        let identity = |cluster: &GuardedCluster| {
            let pinned = if cluster.is_pinned() {
                "pinned"
            } else {
                "not pinned yet"
            };
            format!(
                "context {}, cluster {} ({pinned})",
                cluster.context(),
                cluster.uid()
            )
        };
        if let Some(cluster) = report.record("cluster", cluster, identity) {
            check_cluster(&cluster, &target, report).await;
            dependencies::check(&cluster, &target, ctx.clock.now(), report).await;
            if self.inside
                && let Some(cluster) = report.checked("in a Pod", cluster.pinned())
            {
                let handle = self.handle.as_deref();
                inside::check(ctx, &cluster, &target, handle, report).await;
            }
        }
    }
}

/// One row for each line that was found: a configuration may have several problems.
fn rows(check: &Check) -> Vec<Vec<String>> {
    let mark = if check.passed {
        paint(style::CREATE, "ok")
    } else {
        paint(style::DELETE, "FAIL")
    };
    let mut rows: Vec<Vec<String>> = check
        .found
        .lines()
        .map(|line| vec![String::new(), String::new(), line.to_owned()])
        .collect();
    match rows.first_mut() {
        Some(first) => first[..2].clone_from_slice(&[mark, check.name.to_string()]),
        None => rows.push(vec![mark, check.name.to_string(), String::new()]),
    }
    rows
}

/// A lock is there until somebody opens it, and refuses every command that writes; a command that
/// is running ends.
fn not_locked(lease: Option<Lease>) -> Result<Option<Lease>, String> {
    match lease {
        Some(lease) if lease.expires.is_none() => Err(describe(&lease)),
        other => Ok(other),
    }
}

async fn check_cluster(cluster: &GuardedCluster, target: &Target, report: &mut Report) {
    report.record("API server", cluster.version().await, Clone::clone);
    let found = cluster
        .read(Desired::namespace(&target.namespace).object())
        .await;
    let found = found.map_err(|error| error.to_string()).and_then(|live| {
        match live.as_ref().and_then(Deleting::of) {
            Some(deleting) => Err(format!("{} {}", target.namespace, deleting.text())),
            None => Ok(live),
        }
    });
    report.record("namespace", found, |found| {
        let Some(live) = found else {
            return format!("{} does not exist; `up` creates it", target.namespace);
        };
        let enforced = &live["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        let level = enforced.as_str().unwrap_or("not enforced");
        format!("{}, Pod Security: {level}", target.namespace)
    });
    let missing = missing_rights(cluster, target).await;
    let missing = missing
        .map_err(|error| error.to_string())
        .and_then(|missing| {
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("missing permissions: {}", missing.join(", ")))
            }
        });
    report.record("rights", missing, |()| {
        "all permissions that `up` needs".to_owned()
    });
}

/// `patch secrets`, `delete jobs`: what the user may not do.
async fn missing_rights(
    cluster: &GuardedCluster,
    target: &Target,
) -> Result<Vec<String>, ApiError> {
    let mut asked: Vec<(String, &'static str)> = Vec::new();
    let mut missing = Vec::new();
    for object in target.desired.iter().map(Desired::object) {
        for verb in ["get", "create", "patch", "delete"] {
            let question = (object.plural.clone(), verb);
            if asked.contains(&question) {
                continue;
            }
            if !cluster.can_i(verb, object).await? {
                missing.push(format!("{verb} {}", object.plural));
            }
            asked.push(question);
        }
    }
    Ok(missing)
}
