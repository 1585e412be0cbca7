//! What a live object says about itself besides its content: that it is being deleted, that it is
//! paused, that it is protected.

use aip_stack::desired::{ObjectRef, PROTECT_ANNOTATION};
use serde_json::Value;

/// An object that the API server is deleting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleting {
    /// Its identity: the name is free when this is gone.
    pub uid: String,
    /// Its `metadata.finalizers`.
    pub finalizers: Vec<String>,
}

/// Whether the live object may not be deleted: it is marked ([`PROTECT_ANNOTATION`]), or a claim.
pub(super) fn is_protected(object: &ObjectRef, live: &Value) -> bool {
    is_claim(object) || live["metadata"]["annotations"][PROTECT_ANNOTATION] == "true"
}

/// Whether it is a claim for a volume. No stack makes one itself; it is known by its name alone
/// (`observe/claims.rs`), and may be somebody else's: no annotation, or none, says that it can go.
pub fn is_claim(object: &ObjectRef) -> bool {
    (object.group(), object.kind.as_str()) == ("", "PersistentVolumeClaim")
}

/// A Deployment that somebody paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// The field manager that did it.
    pub by: String,
    /// Whether the plan changes the Pods, which would not be rolled out.
    pub holds_back: bool,
}

impl Deleting {
    /// Reads it from a live object.
    pub fn of(live: &Value) -> Option<Self> {
        let metadata = &live["metadata"];
        metadata["deletionTimestamp"].as_str()?;
        Some(Self {
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            finalizers: finalizers(live),
        })
    }

    /// `is being deleted (finalizers: a, b)`.
    pub fn text(&self) -> String {
        if self.finalizers.is_empty() {
            "is being deleted".to_owned()
        } else {
            format!(
                "is being deleted (finalizers: {})",
                self.finalizers.join(", ")
            )
        }
    }
}

/// The finalizers of an object; the API server's own are part of every deletion in the foreground.
pub fn finalizers(live: &Value) -> Vec<String> {
    let all = live["metadata"]["finalizers"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

impl Paused {
    /// Compares a live object with what an apply would make of it.
    pub(super) fn of(live: &Value, proposed: Option<&Value>) -> Option<Self> {
        if live["kind"] != "Deployment" || live["spec"]["paused"] != true {
            return None;
        }
        let entries = live["metadata"]["managedFields"].as_array();
        let mut entries = entries.into_iter().flatten();
        let owner = entries.find(|entry| !entry["fieldsV1"]["f:spec"]["f:paused"].is_null());
        let by = owner.and_then(|entry| entry["manager"].as_str());
        let template = |object: &Value| object["spec"]["template"].clone();
        Some(Self {
            by: by.unwrap_or("an unknown manager").to_owned(),
            holds_back: proposed.is_some_and(|proposed| template(proposed) != template(live)),
        })
    }
}
