//! A Certificate of cert-manager is done when it is `Ready`. While the first one is being issued it is not,
//! and that is no failure; a request that failed is in the condition `Issuing`, and tried again after an hour
//! (<https://cert-manager.io/docs/usage/certificate/#certificate-status-conditions>).

use kube::core::ApiResource;
use serde_json::Value;

use super::reported::Reported;
use crate::rollout::status::{AwaitedCondition, ConditionState};

#[derive(Default)]
pub(super) struct Certificate;

impl Reported for Certificate {
    const KIND: &'static str = "Certificate";

    fn resource() -> ApiResource {
        ApiResource {
            group: "cert-manager.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "cert-manager.io/v1".to_owned(),
            kind: Self::KIND.to_owned(),
            plural: "certificates".to_owned(),
        }
    }

    fn conditions(certificate: &Value) -> Vec<AwaitedCondition> {
        let generation = certificate["metadata"]["generation"].as_i64();
        let generation = generation.unwrap_or_default();
        let conditions = &certificate["status"]["conditions"];
        let read = |name: &'static str| {
            AwaitedCondition::read(
                String::new(),
                name,
                conditions,
                generation,
                "cert-manager",
                &[],
            )
        };
        let mut ready = read("Ready");
        if let ConditionState::NotTrue { refused, .. } = &mut ready.state {
            *refused = false;
        }
        if ready.state != ConditionState::True
            && let issuing = read("Issuing").state
            && matches!(&issuing, ConditionState::NotTrue { reason, .. } if reason == "Failed")
        {
            ready.state = issuing;
        }
        vec![ready]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_certificate_is_ready_or_being_issued_or_its_request_failed() {
        let state = |conditions: Value| {
            let live = json!({"metadata": {"generation": 1}, "status": {"conditions": conditions}});
            Certificate::conditions(&live).remove(0).state
        };
        let condition = |name: &str, status: &str, reason: &str| json!({"type": name, "status": status, "reason": reason, "message": "why", "observedGeneration": 1});
        let refused =
            |state: &ConditionState| matches!(state, ConditionState::NotTrue { refused: true, .. });
        assert_eq!(
            state(json!([condition("Ready", "True", "Ready")])),
            ConditionState::True
        );
        let missing = condition("Ready", "False", "DoesNotExist");
        let issuing = condition("Issuing", "True", "DoesNotExist");
        assert!(!refused(&state(json!([missing, issuing]))));
        let failed = condition("Issuing", "False", "Failed");
        assert!(refused(&state(json!([missing, failed]))));
        // A renewal that failed leaves a certificate that is valid.
        let ready = condition("Ready", "True", "Ready");
        assert_eq!(state(json!([ready, failed])), ConditionState::True);
    }
}
