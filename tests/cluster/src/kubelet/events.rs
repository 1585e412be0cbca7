//! Events as the real components write them: one object per message, counted up when it repeats.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::time;

/// Writes events in the background, in order.
#[derive(Clone)]
pub(crate) struct Events(mpsc::UnboundedSender<Report>);

/// Whether it is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

struct Report {
    about: ObjectReference,
    component: &'static str,
    kind: Kind,
    reason: &'static str,
    message: String,
}

impl Events {
    /// The writer's end, and the task that writes.
    pub(crate) fn new(client: Client) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), write(client, receiver))
    }

    pub(crate) fn emit(
        &self,
        component: &'static str,
        about: ObjectReference,
        kind: Kind,
        reason: &'static str,
        message: String,
    ) {
        let report = Report {
            about,
            component,
            kind,
            reason,
            message,
        };
        // Nobody reads any more when the cluster ends.
        let _ended = self.0.send(report);
    }
}

async fn write(client: Client, mut reports: mpsc::UnboundedReceiver<Report>) {
    let mut seen: HashMap<(String, &'static str, String), (String, i32)> = HashMap::new();
    while let Some(report) = reports.recv().await {
        let namespace = report.about.namespace.clone().unwrap_or("default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let about = report.about.uid.clone().unwrap_or_default()
            + report.about.field_path.as_deref().unwrap_or_default();
        let key = (about, report.reason, report.message.clone());
        if let Some((name, count)) = seen.get_mut(&key) {
            *count += 1;
            let again = json!({"count": count, "lastTimestamp": Time(time::now())});
            let params = PatchParams::default();
            let _refused = api.patch(name, &params, &Patch::Merge(again)).await;
        } else if let Ok(event) = api.create(&PostParams::default(), &report.event()).await {
            seen.insert(key, (event.name_any(), 1));
        }
        // An event that was refused is lost, as in life: its namespace is being deleted.
    }
}

impl Report {
    fn event(self) -> Event {
        let name = self.about.name.clone().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}.")),
                namespace: self.about.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: self.about,
            reason: Some(self.reason.to_owned()),
            message: Some(self.message),
            type_: Some(format!("{:?}", self.kind)),
            count: Some(1),
            first_timestamp: Some(Time(time::now())),
            last_timestamp: Some(Time(time::now())),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                ..EventSource::default()
            }),
            reporting_component: Some(self.component.to_owned()),
            ..Event::default()
        }
    }
}
