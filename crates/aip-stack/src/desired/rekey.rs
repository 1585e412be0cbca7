//! Jobs that run a command of `aip` in a Pod with the image, the environment and the volumes of the servers:
//! `aip keys rekey` seals the database again with the primary master key, `aip database move run` moves it to
//! another server, `aip doctor` looks around.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Desired;
use super::common::APP_NAME;
use super::kinds::{Kind, ObjectMetadata};

/// Logical name of the Job that seals again, and what the name of each run begins with.
pub const REKEY_JOB: &str = "aip-rekey";

/// The same of the Job that moves the database.
pub const MOVE_JOB: &str = "aip-database-move";

/// How long either may take: a million rows take minutes, and what is done stays done.
pub const REKEY_TIMEOUT_SECONDS: u64 = 6 * 3600;

/// Fields of a server that a Job has no use for.
const SERVER_FIELDS: [&str; 5] = [
    "ports",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "lifecycle",
];

/// What the name of each run of `aip doctor` begins with.
const DOCTOR_JOB: &str = "aip-doctor";

/// How long it may take: its checks have a limit of 15 seconds, and the Pod has to start before.
const DOCTOR_TIMEOUT_SECONDS: u64 = 180;

impl Desired {
    /// The Job that seals again, made from the Deployment of a stack; none from another object. A Job is
    /// immutable, so each run has a name of its own: `run` is lower-case letters and digits.
    pub fn rekey_job(&self, run: &str) -> Option<Self> {
        job_like_server(self.manifest(), REKEY_JOB, &["keys", "rekey"], run)
    }

    /// The Job that moves the database, likewise.
    pub fn move_job(&self, run: &str) -> Option<Self> {
        job_like_server(self.manifest(), MOVE_JOB, &["database", "move", "run"], run)
    }
}

/// The Job that runs `aip doctor` with these arguments once, made from the live Deployment of a stack: its Pod has
/// the settings of the servers that run, and their labels, by which the same network policies are in force.
pub fn doctor_job(deployment: &Value, args: &[&str], run: &str) -> Option<Desired> {
    let args = [&["doctor"], args].concat();
    let mut job = job_like_server(deployment, DOCTOR_JOB, &args, run)?;
    let spec = &mut job.manifest["spec"];
    spec["backoffLimit"] = 0.into();
    spec["activeDeadlineSeconds"] = DOCTOR_TIMEOUT_SECONDS.into();
    // If whoever waits for it is killed.
    spec["ttlSecondsAfterFinished"] = DOCTOR_TIMEOUT_SECONDS.into();
    let template = &mut spec["template"];
    template["metadata"]["labels"] = deployment["spec"]["template"]["metadata"]["labels"].clone();
    // It never is, so it is never ready, and no Service sends it requests.
    template["spec"]["readinessGates"] = json!([{"conditionType": "aip-deploy/serves"}]);
    Some(job)
}

fn job_like_server(
    deployment: &Value,
    job: &'static str,
    args: &[&str],
    run: &str,
) -> Option<Desired> {
    let metadata = &deployment["metadata"];
    let is_server = deployment["kind"] == "Deployment" && metadata["name"] == APP_NAME;
    let mut pod = deployment["spec"]["template"]["spec"].clone();
    let containers = pod["containers"].as_array_mut().filter(|_| is_server)?;
    let container = containers.first_mut()?.as_object_mut()?;
    container.retain(|field, _| !SERVER_FIELDS.contains(&field.as_str()));
    container.insert("name".to_owned(), job.into());
    container.insert("args".to_owned(), json!(args));
    let env = container.entry("env").or_insert_with(|| json!([]));
    // How far it is, is read from its log.
    let readable = json!({"name": "AIP_LOG_FORMAT", "value": "pretty"});
    env.as_array_mut()?.push(readable);
    let pod_fields = pod.as_object_mut()?;
    pod_fields.remove("terminationGracePeriodSeconds");
    pod_fields.remove("topologySpreadConstraints");
    pod_fields.insert("restartPolicy".to_owned(), "Never".into());
    let spec = json!({
        "backoffLimit": 1,
        // A node that is drained is no failure.
        "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "activeDeadlineSeconds": REKEY_TIMEOUT_SECONDS,
        // Not the Pods' own labels: the Services must not send requests here.
        "template": {"metadata": {"labels": {"app.kubernetes.io/name": job}}, "spec": pod},
    });
    let metadata = ObjectMetadata {
        name: format!("{job}-{run}"),
        namespace: metadata["namespace"].as_str()?.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    Some(Kind::Job.object(job, metadata, [("spec", spec)]))
}
