//! The servers that the stack makes, as far as their objects tell: from outside the cluster nobody connects to
//! them. `aip doctor` in a Pod asks the servers themselves.

use aip_apply::cluster::GuardedCluster;
use aip_stack::Target;
use aip_stack::config::connections_needed;
use aip_stack::desired::{Desired, ObjectRef};
use serde_json::Value;

use super::Report;

/// Checks the PostgreSQL cluster and the Valkey server of the stack, if it makes them.
pub(super) async fn check(cluster: &GuardedCluster, target: &Target, report: &mut Report) {
    let pods = largest_number_of_pods(target);
    for object in target.desired.iter().map(Desired::object) {
        match (object.group(), object.kind.as_str()) {
            ("postgresql.cnpg.io", "Cluster") => {
                let found = found(cluster, object, |live| postgres(live, pods)).await;
                report.record("PostgreSQL", found, Clone::clone);
            }
            ("apps", "StatefulSet") => {
                let found = found(cluster, object, valkey).await;
                report.record("Valkey", found, Clone::clone);
            }
            _ => {}
        }
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
fn largest_number_of_pods(target: &Target) -> u32 {
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
    if !spec["backup"]["barmanObjectStore"].is_null() {
        for (name, what) in [
            ("LastBackupSucceeded", "the last backup failed"),
            ("ContinuousArchiving", "the write-ahead log is not archived"),
        ] {
            if let Some(failed) = condition(name).filter(|found| found["status"] == "False") {
                let message = failed["message"].as_str().unwrap_or_default();
                complaints.push(format!("{what}: {message}"));
            }
        }
        match status["lastSuccessfulBackup"].as_str() {
            Some(time) => facts.push(format!("last backup {time}")),
            None => complaints.push("no backup yet".to_owned()),
        }
    }
    verdict(facts, complaints)
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

fn verdict(facts: Vec<String>, complaints: Vec<String>) -> Result<String, String> {
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
            "metadata": {"name": "aip-postgres"},
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
             needed by 3 Pods, last backup 2026-11-30T03:00:00Z"
        );
    }

    #[test]
    fn a_cluster_that_is_not_says_what_is_wrong_first() {
        let complaint = |pointer: &str, value: Value, pods: u32| {
            let mut live = cluster();
            *live.pointer_mut(pointer).unwrap() = value;
            postgres(&live, pods).unwrap_err()
        };
        for (pointer, value, words) in [
            (
                "/status/conditions/0/status",
                json!("False"),
                "not ready: not reported by CloudNativePG yet, ",
            ),
            (
                "/status/conditions/1",
                json!({"type": "ContinuousArchiving", "status": "False", "message": "403"}),
                "the write-ahead log is not archived: 403, ",
            ),
            (
                "/status/conditions/1",
                json!({"type": "LastBackupSucceeded", "status": "False", "message": "403"}),
                "the last backup failed: 403, ",
            ),
            (
                "/status/lastSuccessfulBackup",
                Value::Null,
                "no backup yet, ",
            ),
        ] {
            let said = complaint(pointer, value, 3);
            assert!(said.starts_with(words), "{said}");
        }
        let said = complaint("/spec/instances", json!(3), 30);
        assert!(
            said.starts_with("max_connections 200, 666 needed by 30 Pods, "),
            "{said}"
        );
        assert!(postgres(&json!({}), 1).is_err());
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
