//! What events say about an object: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>.
//! They are hints, kept for an hour, and not everybody may read them.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

/// Reasons by which whoever adds nodes says that one is coming for a Pod: Cluster Autoscaler,
/// Karpenter.
const NODE_PROVISIONING_REASONS: [&str; 2] = ["TriggeredScaleUp", "Nominated"];

/// The events about one object.
pub(super) struct ObjectEvents<'e>(Vec<&'e Event>);

impl<'e> ObjectEvents<'e> {
    /// Those about the object with this UID.
    pub(super) fn new(events: &'e [Event], uid: Option<&str>) -> Self {
        let about = |event: &&Event| event.involved_object.uid.as_deref() == uid && uid.is_some();
        Self(events.iter().filter(about).collect())
    }

    /// Whether somebody is adding a node for it.
    pub(super) fn is_node_provisioning(&self) -> bool {
        let reasons = self.0.iter().filter_map(|event| event.reason.as_deref());
        reasons
            .into_iter()
            .any(|reason| NODE_PROVISIONING_REASONS.contains(&reason))
    }

    /// The newest warning.
    pub(super) fn warning(&self) -> Option<String> {
        let warnings = self.0.iter().filter(|event| is_warning(event));
        let newest = warnings.max_by_key(|event| last_seen(event))?;
        Some(format!(
            "{}: {}",
            newest.reason.as_deref()?,
            newest.message.as_deref()?
        ))
    }

    /// The newest event with one of these reasons: reason and message, and since when there are such.
    pub(super) fn with_reason(
        &self,
        reasons: &[&str],
    ) -> Option<(String, String, Option<Timestamp>)> {
        let has_reason = |event: &&&Event| {
            let reason = event.reason.as_deref();
            reason.is_some_and(|reason| reasons.contains(&reason))
        };
        let such: Vec<&&Event> = self.0.iter().filter(has_reason).collect();
        let newest = such.iter().max_by_key(|event| last_seen(event))?;
        let since = such.iter().filter_map(|event| first_seen(event)).min();
        Some((newest.reason.clone()?, newest.message.clone()?, since))
    }

    /// The newest warning with this reason whose message begins so: the message, and since when
    /// there are such warnings.
    pub(super) fn of(&self, reason: &str, prefix: &str) -> Option<(String, Option<Timestamp>)> {
        let message = |event: &&Event| {
            event
                .message
                .clone()
                .filter(|text| text.starts_with(prefix))
        };
        let such: Vec<&&Event> = self
            .0
            .iter()
            .filter(|event| is_warning(event) && event.reason.as_deref() == Some(reason))
            .filter(|event| message(event).is_some())
            .collect();
        let newest = such.iter().max_by_key(|event| last_seen(event))?;
        let since = such.iter().filter_map(|event| first_seen(event)).min();
        Some((message(newest)?, since))
    }
}

fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
}

/// `events.k8s.io/v1` leaves `lastTimestamp` empty and counts in `series`.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref();
    let times = [
        event.last_timestamp.as_ref().map(|time| time.0),
        series.and_then(|series| Some(series.last_observed_time.as_ref()?.0)),
        event.event_time.as_ref().map(|time| time.0),
        first_seen(event),
    ];
    times.into_iter().flatten().max()
}

fn first_seen(event: &Event) -> Option<Timestamp> {
    let times = [
        event.first_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
    ];
    times.into_iter().flatten().min()
}
