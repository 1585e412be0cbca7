//! The servers that the stack makes, and its Certificate, as far as their objects tell: from outside the cluster
//! nobody connects to the servers. `doctor --inside` does.

use std::time::Duration;

use aip_apply::cluster::GuardedCluster;
use aip_base::Timestamp;
use aip_stack::Target;
use aip_stack::config::connections_needed;
use aip_stack::desired::{Desired, ObjectRef};
use serde_json::Value;

use super::{Report, certificate};

/// How far apart backups are if `CloudNativePG` does not tell when the next one is due.
const BACKUP_INTERVAL: Duration = Duration::from_hours(24);

/// Checks the PostgreSQL cluster, the Valkey server and the Certificate of the stack, if it makes them.
pub(super) async fn check(
    cluster: &GuardedCluster,
    target: &Target,
    now: Timestamp,
    report: &mut Report,
) {
    let pods = largest_number_of_pods(target);
    for object in target.desired.iter().map(Desired::object) {
        match (object.group(), object.kind.as_str()) {
            ("postgresql.cnpg.io", "Cluster") => {
                let found = found(cluster, object, |live| postgres(live, pods)).await;
                report.record("PostgreSQL", found, Clone::clone);
                if let Some(found) = backups(cluster, target, object, now).await {
                    report.record("PostgreSQL backups", found, Clone::clone);
                }
            }
            ("cert-manager.io", "Certificate") => {
                let found = found(cluster, object, |live| certificate::judge(live, now)).await;
                report.record("certificate", found, Clone::clone);
            }
            ("apps", "StatefulSet") => {
                let found = found(cluster, object, valkey).await;
                report.record("Valkey", found, Clone::clone);
            }
            _ => {}
        }
    }
}

/// What the Cluster and its schedule say about backups; none if it has no backups, or is not there yet.
async fn backups(
    cluster: &GuardedCluster,
    target: &Target,
    object: &ObjectRef,
    now: Timestamp,
) -> Option<Result<String, String>> {
    let mut desired = target.desired.iter().map(Desired::object);
    let schedule = desired.find(|object| object.kind == "ScheduledBackup")?;
    let describe = |error: aip_apply::cluster::ApiError| error.describe_for(object);
    let live = match cluster.read(object).await.map_err(describe) {
        Ok(live) => live?,
        Err(error) => return Some(Err(error)),
    };
    match cluster.read(schedule).await {
        Ok(schedule) => Some(backup(
            &live,
            schedule.as_ref().unwrap_or(&Value::Null),
            now,
        )),
        Err(error) => Some(Err(error.describe_for(schedule))),
    }
}

async fn found(
    cluster: &GuardedCluster,
    object: &ObjectRef,
    judge: impl FnOnce(&Value) -> Result<String, String>,
) -> Result<String, String> {
    match cluster.read(object).await {
        Ok(Some(live)) => judge(&live),
        Ok(None) => Ok(format!("{object} does not exist; `up` creates it")),
        Err(error) => Err(error.describe_for(object)),
    }
}

/// What the autoscaler allows, or the Deployment says.
pub(super) fn largest_number_of_pods(target: &Target) -> u32 {
    let spec = |kind: &str| {
        let mut all = target.desired.iter();
        let object = all.find(|object| object.object().kind == kind)?;
        Some(&object.manifest()["spec"])
    };
    let scaled = spec("HorizontalPodAutoscaler").and_then(|spec| spec["maxReplicas"].as_u64());
    let fixed = || spec("Deployment").and_then(|spec| spec["replicas"].as_u64());
    let pods = scaled.or_else(fixed).unwrap_or(1);
    u32::try_from(pods).unwrap_or(u32::MAX)
}

/// What a live Cluster of `CloudNativePG` says; an error if it is not fine. `pods` use it.
fn postgres(live: &Value, pods: u32) -> Result<String, String> {
    let (spec, status) = (&live["spec"], &live["status"]);
    let conditions = status["conditions"].as_array();
    let condition = |name: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|condition| condition["type"] == name)
    };
    let mut facts = vec![ready(&status["readyInstances"], &spec["instances"])];
    let mut complaints = Vec::new();
    if condition("Ready").is_none_or(|ready| ready["status"] != "True") {
        let phase = status["phase"]
            .as_str()
            .unwrap_or("not reported by CloudNativePG yet");
        complaints.push(format!("not ready: {phase}"));
    }
    if let Some(image) = status["image"].as_str() {
        facts.push(format!("image {image}"));
    }
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let certificate = &status["certificates"]["expirations"][format!("{name}-server")];
    if let Some(end) = certificate.as_str() {
        facts.push(format!("TLS with a certificate until {end}"));
    }
    let allowed = spec["postgresql"]["parameters"]["max_connections"].as_str();
    if let Some(allowed) = allowed.and_then(|number| number.parse::<u32>().ok()) {
        let needed = connections_needed(pods);
        let fact = format!("max_connections {allowed}, {needed} needed by {pods} Pods");
        if allowed < needed {
            complaints.push(fact);
        } else {
            facts.push(fact);
        }
    }
    verdict(facts, complaints)
}

/// What a live Cluster and its `ScheduledBackup` say about backups.
fn backup(live: &Value, schedule: &Value, now: Timestamp) -> Result<String, String> {
    let status = &live["status"];
    let mut facts = Vec::new();
    let mut complaints = Vec::new();
    for (name, what) in [
        ("LastBackupSucceeded", "the last backup failed"),
        ("ContinuousArchiving", "the write-ahead log is not archived"),
    ] {
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let failed = conditions.find(|one| one["type"] == name && one["status"] == "False");
        if let Some(failed) = failed {
            let message = failed["message"].as_str().unwrap_or_default();
            complaints.push(format!("{what}: {message}"));
        }
    }
    let namespace = live["metadata"]["namespace"].as_str().unwrap_or_default();
    if schedule["spec"]["suspend"] == true {
        let name = schedule["metadata"]["name"].as_str().unwrap_or_default();
        complaints.push(format!(
            "the schedule is suspended: `kubectl patch --namespace {namespace} scheduledbackup/{name} --type merge \
             --patch '{{\"spec\":{{\"suspend\":false}}}}'` resumes it"
        ));
    }
    let runs = &schedule["status"];
    let interval = time(&runs["lastScheduleTime"]).zip(time(&runs["nextScheduleTime"]));
    let interval = interval.map_or(BACKUP_INTERVAL, |(last, next)| next.since(last));
    match time(&status["lastSuccessfulBackup"]) {
        Some(last) => {
            let age = now.since(last);
            let text = format!(
                "last backup {} hours ago ({}), due every {} hours",
                hours(age),
                status["lastSuccessfulBackup"].as_str().unwrap_or_default(),
                hours(interval)
            );
            // One that is under way is not late.
            if age > interval.saturating_mul(2) {
                complaints.push(format!(
                    "{text}: `kubectl describe --namespace {namespace} backups.postgresql.cnpg.io` says why"
                ));
            } else {
                facts.push(text);
            }
        }
        None => complaints.push("no backup yet".to_owned()),
    }
    verdict(facts, complaints)
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

fn hours(time: Duration) -> u64 {
    time.as_secs() / 3600
}

/// What a live `StatefulSet` says; an error if it is not ready.
fn valkey(live: &Value) -> Result<String, String> {
    let (spec, status) = (&live["spec"], &live["status"]);
    let mut facts = vec![ready(&status["readyReplicas"], &spec["replicas"])];
    if let Some(image) = spec["template"]["spec"]["containers"][0]["image"].as_str() {
        facts.push(format!("image {image}"));
    }
    let mut complaints = Vec::new();
    if status["readyReplicas"] != spec["replicas"] {
        complaints.push("not ready: `aip-deploy rollout` says why".to_owned());
    }
    verdict(facts, complaints)
}

fn ready(ready: &Value, desired: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    format!("{} of {} ready", number(ready), number(desired))
}

pub(super) fn verdict(facts: Vec<String>, complaints: Vec<String>) -> Result<String, String> {
    let is_fine = complaints.is_empty();
    let text = [complaints, facts].concat().join(", ");
    if is_fine { Ok(text) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster() -> Value {
        json!({
            "metadata": {"name": "aip-postgres", "namespace": "aip-main"},
            "spec": {"instances": 3, "postgresql": {"parameters": {"max_connections": "200"}},
                "backup": {"barmanObjectStore": {}}},
            "status": {
                "readyInstances": 3, "image": "postgresql:18", "lastSuccessfulBackup": "2026-11-30T03:00:00Z",
                "certificates": {"expirations": {"aip-postgres-server": "2027-02-01"}},
                "conditions": [{"type": "Ready", "status": "True"},
                    {"type": "ContinuousArchiving", "status": "True"}],
            },
        })
    }

    #[test]
    fn a_cluster_that_is_fine_tells_version_tls_connections_and_backup() {
        assert_eq!(
            postgres(&cluster(), 3).unwrap(),
            "3 of 3 ready, image postgresql:18, TLS with a certificate until 2027-02-01, max_connections 200, 88 \
             needed by 3 Pods"
        );
    }

    #[test]
    fn a_cluster_that_is_not_says_what_is_wrong_first() {
        let complaint = |pointer: &str, value: Value, pods: u32| {
            let mut live = cluster();
            *live.pointer_mut(pointer).unwrap() = value;
            postgres(&live, pods).unwrap_err()
        };
        let said = complaint("/status/conditions/0/status", json!("False"), 3);
        let words = "not ready: not reported by CloudNativePG yet, ";
        assert!(said.starts_with(words), "{said}");
        let said = complaint("/spec/instances", json!(3), 30);
        assert!(
            said.starts_with("max_connections 200, 666 needed by 30 Pods, "),
            "{said}"
        );
        assert!(postgres(&json!({}), 1).is_err());
    }

    /// Nine hours after the last backup of [`cluster`].
    const NOON: Timestamp = Timestamp::from_secs(1_796_040_000);

    fn schedule() -> Value {
        json!({"metadata": {"name": "aip-postgres"}, "spec": {},
            "status": {"lastScheduleTime": "2026-11-30T03:00:00Z", "nextScheduleTime": "2026-12-01T03:00:00Z"}})
    }

    #[test]
    fn backups_are_as_old_as_their_schedule_lets_them_be() {
        let later = |hours: u64| NOON + Duration::from_hours(hours);
        let fine = "last backup 9 hours ago (2026-11-30T03:00:00Z), due every 24 hours";
        assert_eq!(backup(&cluster(), &schedule(), NOON).unwrap(), fine);
        assert!(backup(&cluster(), &schedule(), later(39)).is_ok());
        let late = backup(&cluster(), &schedule(), later(40)).unwrap_err();
        assert!(late.starts_with("last backup 49 hours ago"), "{late}");
        assert!(
            late.contains("`kubectl describe --namespace aip-main backups"),
            "{late}"
        );
        // Once a week, and without a schedule to be read.
        let mut weekly = schedule();
        weekly["status"]["nextScheduleTime"] = "2026-12-07T03:00:00Z".into();
        assert!(backup(&cluster(), &weekly, later(40)).is_ok());
        assert!(backup(&cluster(), &Value::Null, later(39)).is_ok());
        assert!(backup(&cluster(), &Value::Null, later(40)).is_err());
    }

    #[test]
    fn backups_that_fail_are_suspended_or_were_never_made_are_reported_first() {
        let mut suspended = schedule();
        suspended["spec"]["suspend"] = true.into();
        let said = backup(&cluster(), &suspended, NOON).unwrap_err();
        assert!(
            said.starts_with("the schedule is suspended: `kubectl patch"),
            "{said}"
        );
        let failed = |name: &str| json!({"type": name, "status": "False", "message": "403"});
        for (pointer, value, words) in [
            (
                "/status/conditions/1",
                failed("ContinuousArchiving"),
                "the write-ahead log is not archived: 403, ",
            ),
            (
                "/status/conditions/1",
                failed("LastBackupSucceeded"),
                "the last backup failed: 403, ",
            ),
            ("/status/lastSuccessfulBackup", Value::Null, "no backup yet"),
            (
                "/status/lastSuccessfulBackup",
                json!("soon"),
                "no backup yet",
            ),
        ] {
            let mut live = cluster();
            *live.pointer_mut(pointer).unwrap() = value;
            let said = backup(&live, &schedule(), NOON).unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
    }

    #[test]
    fn a_valkey_server_is_ready_or_not() {
        let set = |ready: Value| {
            json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": "valkey"}]}}},
            "status": {"readyReplicas": ready}})
        };
        assert_eq!(
            valkey(&set(json!(1))).unwrap(),
            "1 of 1 ready, image valkey"
        );
        for ready in [json!(0), Value::Null] {
            let said = valkey(&set(ready)).unwrap_err();
            assert!(said.starts_with("not ready"), "{said}");
        }
    }
}
