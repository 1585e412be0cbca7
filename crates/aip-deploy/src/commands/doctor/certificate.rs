//! The certificate that cert-manager keeps for the stack, as its object tells.

use std::time::Duration;

use aip_base::Timestamp;
use serde_json::Value;

use super::dependencies::{time, verdict};

/// A renewal takes minutes, and is tried again after an hour if it fails.
const RENEWAL_GRACE: Duration = Duration::from_hours(24);

/// What a live Certificate of cert-manager says
/// (<https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.CertificateStatus>): a renewal that fails
/// leaves the condition `Ready` true until the end.
pub(super) fn judge(live: &Value, now: Timestamp) -> Result<String, String> {
    let status = &live["status"];
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    let metadata = &live["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let describe = format!(
        "`kubectl describe --namespace {} certificate/{}` says why",
        text(&metadata["namespace"]),
        text(&metadata["name"])
    );
    let mut facts = Vec::new();
    let mut complaints = Vec::new();
    match ready {
        Some(ready) if ready["status"] == "True" => facts.push("issued".to_owned()),
        Some(ready) => complaints.push(format!("not ready: {}", text(&ready["message"]))),
        None => complaints.push("not reported by cert-manager yet".to_owned()),
    }
    if let Some(end) = time(&status["notAfter"]) {
        let until = format!("valid until {}", text(&status["notAfter"]));
        if end <= now {
            complaints.push(format!("it was {until}: {describe}"));
        } else {
            facts.push(until);
        }
    }
    if let Some(due) = time(&status["renewalTime"])
        && now > due + RENEWAL_GRACE
    {
        complaints.push(format!(
            "its renewal has been due since {}: {describe}",
            text(&status["renewalTime"])
        ));
    }
    verdict(facts, complaints)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-30T12:00:00Z.
    const NOON: Timestamp = Timestamp::from_secs(1_796_040_000);

    fn live(ready: &str, end: &str, renewal: &str) -> Value {
        json!({"metadata": {"name": "aip", "namespace": "aip-main"}, "status": {
            "conditions": [
                {"type": "Issuing", "status": "False", "message": "the DNS record was not found"},
                {"type": "Ready", "status": ready, "message": "why"},
            ],
            "notAfter": end, "renewalTime": renewal}})
    }

    #[test]
    fn a_certificate_is_fine_until_its_renewal_is_late() {
        for (ready, end, renewal, expected) in [
            (
                "True",
                "2027-02-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
                Ok("issued, valid until 2027-02-01T00:00:00Z"),
            ),
            // It is being renewed.
            (
                "True",
                "2027-01-01T00:00:00Z",
                "2026-11-30T03:00:00Z",
                Ok("issued, valid until 2027-01-01T00:00:00Z"),
            ),
            (
                "True",
                "2026-12-20T00:00:00Z",
                "2026-11-20T00:00:00Z",
                Err(
                    "its renewal has been due since 2026-11-20T00:00:00Z: `kubectl describe --namespace aip-main \
                     certificate/aip`",
                ),
            ),
            (
                "False",
                "2026-11-30T11:00:00Z",
                "2026-11-30T03:00:00Z",
                Err("not ready: why, it was valid until 2026-11-30T11:00:00Z"),
            ),
            ("False", "", "", Err("not ready: why")),
        ] {
            let said = judge(&live(ready, end, renewal), NOON);
            assert_eq!(said.is_ok(), expected.is_ok(), "{said:?}");
            let (said, words) = (
                said.unwrap_or_else(|it| it),
                expected.unwrap_or_else(|it| it),
            );
            assert!(said.starts_with(words), "{said}");
        }
        let new = judge(&json!({"metadata": {}}), NOON).unwrap_err();
        assert_eq!(new, "not reported by cert-manager yet");
    }
}
