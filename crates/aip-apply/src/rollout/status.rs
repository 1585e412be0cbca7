//! Objects whose controllers report in conditions: routes, ingresses, certificates. Done when every
//! condition that is waited for is true; failed when a controller goes on refusing.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::verdict::{Failure, Pending, Verdict, being_deleted, has_lasted};
use crate::plan::condition::{Deleting, finalizers};

/// How long a controller may refuse: it may see the objects of one `up` one after the other.
const REFUSED_GRACE: Duration = Duration::from_secs(20);

/// An object and the conditions that it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusView {
    /// As the API names it.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// Its finalizers, if it is being deleted.
    pub deleting: Option<Vec<String>>,
    /// Every condition that must be true, in the order in which they are shown.
    pub conditions: Vec<AwaitedCondition>,
}

/// A condition that must be true, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedCondition {
    /// What it is about, if not the object itself: `Gateway infra/public, listener https`.
    pub about: String,
    /// Its type: `Accepted`.
    pub name: &'static str,
    /// What its controller says.
    pub state: ConditionState,
}

/// What a controller says of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionState {
    /// Nothing, or nothing about the newest generation yet; who should say it.
    Unreported(String),
    /// It is true.
    True,
    /// It is not.
    NotTrue {
        /// The controller's word.
        reason: String,
        /// Its sentence.
        message: String,
        /// Since when.
        since: Option<Timestamp>,
        /// Whether the controller has decided, and does not work on it.
        refused: bool,
    },
}

impl StatusView {
    /// The conditions of a live object.
    pub(super) fn new(kind: &'static str, live: &Value, conditions: Vec<AwaitedCondition>) -> Self {
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        Self {
            kind,
            name: name.to_owned(),
            deleting: Deleting::of(live).map(|_| finalizers(live)),
            conditions,
        }
    }

    /// One line for each condition, without the object itself.
    pub fn lines(&self) -> Vec<String> {
        let conditions = self.conditions.iter();
        conditions.map(AwaitedCondition::line).collect()
    }
}

impl AwaitedCondition {
    /// Reads the condition `name` of a list of conditions, as the API conventions have them
    /// (`meta/v1.Condition`). `controller` should report it; with one of the reasons `working` it still
    /// works on it.
    pub(super) fn read(
        about: String,
        name: &'static str,
        conditions: &Value,
        generation: i64,
        controller: &str,
        working: &[&str],
    ) -> Self {
        let all = conditions.as_array();
        let found = all.into_iter().flatten().find(|condition| {
            let observed = condition["observedGeneration"].as_i64();
            condition["type"] == name && observed.is_none_or(|observed| observed >= generation)
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = match found {
            None => ConditionState::Unreported(controller.to_owned()),
            Some(condition) if condition["status"] == "True" => ConditionState::True,
            Some(condition) => {
                let reason = text(&condition["reason"]);
                let since = condition["lastTransitionTime"].as_str();
                ConditionState::NotTrue {
                    refused: condition["status"] == "False" && !working.contains(&reason.as_str()),
                    reason,
                    message: text(&condition["message"]),
                    since: since.and_then(|time| time.parse().ok()),
                }
            }
        };
        Self { about, name, state }
    }

    fn line(&self) -> String {
        let state = match &self.state {
            ConditionState::Unreported(controller) => {
                format!("not reported by {controller} yet")
            }
            ConditionState::True => "yes".to_owned(),
            ConditionState::NotTrue {
                reason, message, ..
            } => format!("no, {reason}: {message}"),
        };
        let about = if self.about.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.about)
        };
        format!("{about}{} {state}", self.name)
    }
}

/// Judges the conditions. `now` is the API server's time.
pub fn judge_status(view: &StatusView, now: Timestamp) -> Verdict {
    let StatusView { kind, name, .. } = view;
    if let Some(finalizers) = &view.deleting {
        return Verdict::Failed(being_deleted(kind, name, finalizers));
    }
    let mut pending = None;
    for condition in &view.conditions {
        match &condition.state {
            ConditionState::True => {}
            ConditionState::NotTrue {
                reason,
                since,
                refused: true,
                ..
            } if has_lasted(*since, now, REFUSED_GRACE) => {
                let message = format!("{kind} {name}: {}", condition.line());
                return Verdict::Failed(Failure::of_object(reason, message));
            }
            ConditionState::NotTrue { .. } | ConditionState::Unreported(_) => {
                pending.get_or_insert_with(|| format!("{kind} {name}: {}", condition.line()));
            }
        }
    }
    pending.map_or(Verdict::Done, |what| Verdict::Waiting(Pending::new(what)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn view(conditions: &Value, live: &Value) -> StatusView {
        let read = |name| {
            let working = &["Pending"];
            AwaitedCondition::read(
                "Gateway a/b".to_owned(),
                name,
                conditions,
                2,
                "the controller",
                working,
            )
        };
        StatusView::new(
            "HTTPRoute",
            live,
            vec![read("Accepted"), read("ResolvedRefs")],
        )
    }

    fn condition(name: &str, status: &str, reason: &str, since: &str, generation: i64) -> Value {
        json!({"type": name, "status": status, "reason": reason, "message": "why",
            "lastTransitionTime": since, "observedGeneration": generation})
    }

    fn judged(conditions: &Value) -> Verdict {
        let live = json!({"metadata": {"name": "aip"}});
        judge_status(&view(conditions, &live), NOW.parse().unwrap())
    }

    fn assert_waiting(conditions: &Value, words: &str) {
        let Verdict::Waiting(pending) = judged(conditions) else {
            panic!("{conditions}: {:?}", judged(conditions))
        };
        assert_eq!(
            pending.to_string(),
            format!("HTTPRoute aip: Gateway a/b: {words}")
        );
    }

    #[test]
    fn an_object_is_done_when_every_condition_of_its_newest_generation_is_true() {
        let (old, now) = ("2026-11-30T11:00:00Z", NOW);
        let accepted = condition("Accepted", "True", "Accepted", old, 2);
        let resolved = condition("ResolvedRefs", "True", "ResolvedRefs", old, 2);
        assert_eq!(judged(&json!([accepted, resolved])), Verdict::Done);
        assert_waiting(&Value::Null, "Accepted not reported by the controller yet");
        assert_waiting(
            &json!([accepted]),
            "ResolvedRefs not reported by the controller yet",
        );
        let before = condition("Accepted", "True", "Accepted", old, 1);
        assert_waiting(
            &json!([before, resolved]),
            "Accepted not reported by the controller yet",
        );
        // It may be about to see what the route refers to, or still be at work.
        let unseen = condition("ResolvedRefs", "False", "BackendNotFound", now, 2);
        assert_waiting(
            &json!([accepted, unseen]),
            "ResolvedRefs no, BackendNotFound: why",
        );
        let at_work = condition("Accepted", "False", "Pending", old, 2);
        assert_waiting(&json!([at_work, resolved]), "Accepted no, Pending: why");
        let unknown = condition("Accepted", "Unknown", "Waiting", old, 2);
        assert_waiting(&json!([unknown, resolved]), "Accepted no, Waiting: why");
    }

    #[test]
    fn an_object_has_failed_when_its_controller_goes_on_refusing_or_it_is_being_deleted() {
        let refused = condition(
            "Accepted",
            "False",
            "NotAllowedByListeners",
            "2026-11-30T11:59:30Z",
            2,
        );
        let Verdict::Failed(failure) = judged(&json!([refused])) else {
            panic!("it waits")
        };
        assert_eq!(
            failure.to_string(),
            "NotAllowedByListeners: HTTPRoute aip: Gateway a/b: Accepted no, NotAllowedByListeners: why"
        );
        let live =
            json!({"metadata": {"name": "aip", "deletionTimestamp": NOW, "finalizers": ["x/y"]}});
        let Verdict::Failed(failure) =
            judge_status(&view(&Value::Null, &live), NOW.parse().unwrap())
        else {
            panic!("it waits")
        };
        assert_eq!(
            failure.to_string(),
            "Deleted: HTTPRoute aip is being deleted; blocked by finalizers: x/y"
        );
    }
}
