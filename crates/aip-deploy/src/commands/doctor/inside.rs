//! `aip doctor` in a Pod of the stack: with its settings, its DNS and its network policy. What is closed there, nobody
//! sees from outside.

use std::time::Duration;

use aip_apply::cluster::PinnedCluster;
use aip_apply::run_once::run_once;
use aip_stack::Target;
use aip_stack::desired::{Desired, doctor_job};
use serde::Deserialize;
use serde_json::Value;

use super::dependencies::largest_number_of_pods;
use super::{Check, Report};
use crate::context::Context;

/// The Pod has to be placed and to start, and its checks take up to 15 seconds. Shorter than the time limit of the
/// Job, which deletes the Pod with its log.
const TIMEOUT: Duration = Duration::from_secs(150);
const NAME: &str = "in a Pod";

/// A line of `aip doctor --json`.
#[derive(Deserialize)]
struct Line {
    check: String,
    status: Status,
    found: String,
    advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
    Skipped,
}

/// Runs it as a Job, and takes its checks over, each with its own name.
pub(super) async fn check(
    ctx: &Context,
    cluster: &PinnedCluster,
    target: &Target,
    handle: Option<&str>,
    report: &mut Report,
) {
    match run(ctx, cluster, target, handle).await {
        Ok(lines) => report.0.extend(lines.into_iter().filter_map(taken_over)),
        Err(why) => {
            report.record(NAME, Err::<(), _>(why), |()| String::new());
        }
    }
}

async fn run(
    ctx: &Context,
    cluster: &PinnedCluster,
    target: &Target,
    handle: Option<&str>,
) -> Result<Vec<Line>, String> {
    const NOTHING: &str = "nothing is deployed yet: `aip-deploy up`, and then once more";
    let mut objects = target.desired.iter().map(Desired::object);
    let deployment = objects
        .find(|object| object.kind == "Deployment")
        .ok_or(NOTHING)?;
    let live = cluster.read(deployment).await;
    let live = live.map_err(|error| error.describe_for(deployment))?;
    let live = live.ok_or(NOTHING)?;
    // The servers of the profile `compat` are started by another program and get their keys by a hook.
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    if container["lifecycle"].get("postStart").is_some() {
        return Err(
            "`--inside` works in the profile `restricted` alone: see `aip_config.profile`"
                .to_owned(),
        );
    }
    let servers = format!("--servers={}", largest_number_of_pods(target));
    let handle = handle.map(|handle| format!("--handle={handle}"));
    let args: Vec<&str> = ["--json", &servers]
        .into_iter()
        .chain(handle.as_deref())
        .collect();
    let job = doctor_job(&live, &args, &ctx.run_name()).ok_or(NOTHING)?;
    ctx.screen
        .status(format!("{} runs `aip doctor`", job.object()));
    let lines = run_once(cluster, &job, TIMEOUT).await;
    read(&lines.map_err(|error| error.to_string())?)
}

/// The checks in the log of the Pod, which has other lines, too.
fn read(log: &[String]) -> Result<Vec<Line>, String> {
    let begin = log.iter().position(|line| line.trim_end() == "[");
    let end = log.iter().rposition(|line| line.trim_end() == "]");
    let json = begin.zip(end).and_then(|(begin, end)| log.get(begin..=end));
    let checks = json.and_then(|lines| serde_json::from_str::<Vec<Value>>(&lines.join("\n")).ok());
    let checks = checks.and_then(|all| {
        let all = all.into_iter().map(serde_json::from_value);
        all.collect::<Result<Vec<Line>, _>>().ok()
    });
    checks.ok_or_else(|| {
        let last = log.last().map_or("nothing", String::as_str);
        format!("`aip doctor` did not say what it found, but: {last}")
    })
}

/// A check of this program; none of what was not looked at.
fn taken_over(line: Line) -> Option<Check> {
    let Line {
        check,
        status,
        found,
        advice,
    } = line;
    let advice = advice.map_or_else(String::new, |advice| format!("\n{advice}"));
    let found = match status {
        Status::Skipped => return None,
        Status::Ok => found,
        Status::Warn => format!("warning: {found}{advice}"),
        Status::Fail => format!("{found}{advice}"),
    };
    Some(Check {
        name: format!("{NAME}: {check}").into(),
        passed: status != Status::Fail,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_checks_are_found_among_other_lines_of_the_log() {
        let log = r#"2026-12-01T00:00:00Z  WARN something else
[
  {"check": "DNS", "status": "ok", "found": "answers"},
  {"check": "PLC directory", "status": "fail", "found": "timeout", "advice": "open port 443"},
  {"check": "Valkey", "status": "skipped", "found": "not configured"},
  {"check": "clock", "status": "warn", "found": "3 s ahead", "advice": "set it"}
]
aip: 1 check(s) failed, 1 warning(s)"#;
        let taken = read(&lines(log))
            .unwrap()
            .into_iter()
            .filter_map(taken_over);
        let shown: Vec<_> = taken
            .map(|it| (it.name.into_owned(), it.passed, it.found))
            .collect();
        let row = |name: &str, passed, found: &str| (name.to_owned(), passed, found.to_owned());
        assert_eq!(
            shown,
            [
                row("in a Pod: DNS", true, "answers"),
                row("in a Pod: PLC directory", false, "timeout\nopen port 443"),
                row("in a Pod: clock", true, "warning: 3 s ahead\nset it"),
            ]
        );
    }

    #[test]
    fn a_log_without_checks_is_a_failure_with_its_last_line() {
        for (log, words) in [
            ("", "but: nothing"),
            (
                "error: unexpected argument '--servers'",
                "but: error: unexpected",
            ),
            ("[\n{]", "but: {]"),
            ("]\n[", "but: ["),
            ("[\n{\"check\": 1}\n]", "but: ]"),
        ] {
            let said = read(&lines(log)).err().unwrap();
            assert!(said.contains(words), "{said}");
        }
    }
}
