//! What the stories share: a cluster with a node, a namespace each, and ways to look at Pods.

use std::fmt::Debug;

use cluster::{ControlPlane, Image, Kubelet, eventually, get, local_address};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

static KUBELET: OnceCell<Kubelet> = OnceCell::const_new();

/// The port that `web` containers listen on.
pub(crate) const PORT: u16 = 8080;

/// A namespace of one's own in a cluster with a node.
pub(crate) struct TestNamespace {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    kubelet: &'static Kubelet,
}

impl TestNamespace {
    pub(crate) async fn create(prefix: &str) -> Self {
        let cluster = ControlPlane::shared().await;
        let kubelet = KUBELET.get_or_init(|| Kubelet::start(cluster)).await;
        Self {
            client: cluster.client().await,
            namespace: cluster.namespace(prefix).await,
            kubelet,
        }
    }

    /// An image of this story only.
    pub(crate) fn push(&self, tag: &str, image: Image) -> String {
        let reference = self.reference(tag);
        self.kubelet.images().push(&reference, image);
        reference
    }

    /// An image that nobody has pushed.
    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("registry.example/{}:{tag}", self.namespace)
    }

    pub(crate) async fn apply(&self, object: Value) {
        let group_version = object["apiVersion"].as_str().unwrap();
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        let kind = object["kind"].as_str().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply("story");
        api.patch(name, &params, &Patch::Apply(&object))
            .await
            .unwrap();
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All Pods of the namespace.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    /// The Pod of this name, as soon as it is as wanted.
    pub(crate) async fn pod_that(&self, name: &str, expected: impl Fn(&Pod) -> bool) -> Pod {
        let pods = self.api::<Pod>();
        eventually(&format!("the Pod {name}"), async || {
            let pod = pods.get(name).await.map_err(|error| error.to_string())?;
            if expected(&pod) {
                Ok(pod)
            } else {
                Err(format!("{:#?}", pod.status))
            }
        })
        .await
    }

    pub(crate) async fn ready_pod(&self, name: &str) -> Pod {
        self.pod_that(name, is_ready).await
    }

    pub(crate) async fn secret(&self, name: &str, data: Value) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        }))
        .await;
    }

    /// What the Pod's server answers, once it listens.
    pub(crate) async fn ask(&self, pod: &Pod, path: &str) -> String {
        let address = (address(pod), PORT).into();
        let answer = eventually("the server listens", async || get(address, path).await).await;
        String::from_utf8(answer.body().to_vec()).unwrap()
    }

    pub(crate) async fn logs(&self, pod: &str, previous: bool) -> String {
        let params = kube::api::LogParams {
            previous,
            ..kube::api::LogParams::default()
        };
        self.api::<Pod>().logs(pod, &params).await.unwrap()
    }

    /// Waits by the rule of `kubectl rollout status`.
    pub(crate) async fn rolled_out(&self, name: &str, replicas: i32) {
        let deployments = self.api::<Deployment>();
        eventually("the roll-out", async || {
            let deployment = deployments
                .get(name)
                .await
                .map_err(|error| error.to_string())?;
            let status = deployment.status.clone().unwrap_or_default();
            let counts = [
                status.replicas,
                status.updated_replicas,
                status.available_replicas,
            ];
            let seen = status.observed_generation >= deployment.metadata.generation;
            if seen && counts == [Some(replicas); 3] {
                Ok(())
            } else {
                Err(format!("{status:#?}"))
            }
        })
        .await;
    }

    /// Waits until so many Pods are left.
    pub(crate) async fn left(&self, count: usize) {
        eventually("the Pods that are left", async || {
            match self.pods().await.len() {
                left if left == count => Ok(()),
                left => Err(left),
            }
        })
        .await;
    }

    /// Deletes a Pod and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        let pods = self.api::<Pod>();
        pods.delete(name, &DeleteParams::default()).await.unwrap();
        eventually("the Pod is gone", async || match pods.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Waits for an event about the object, whose message contains `words`.
    pub(crate) async fn event(&self, name: &str, reason: &str, words: &str) {
        let events = self.api::<Event>();
        eventually(&format!("the event {reason} of {name}"), async || {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let found = all.iter().any(|event| {
                let message = event.message.as_deref().unwrap_or_default();
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && message.contains(words)
            });
            if found { Ok(()) } else { Err(reasons(&all)) }
        })
        .await;
    }
}

fn reasons(events: &[Event]) -> String {
    let line = |event: &Event| {
        format!(
            "{} {:?} {:?}",
            event.name_any(),
            event.reason,
            event.message
        )
    };
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Where the Pod listens on this machine.
pub(crate) fn address(pod: &Pod) -> std::net::IpAddr {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_ref())
        .unwrap();
    local_address(address.parse().unwrap()).into()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").0 == "True"
}

/// Status, reason and message of a condition.
pub(crate) fn condition(pod: &Pod, kind: &str) -> (String, String, String) {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let found = conditions
        .into_iter()
        .find(|condition| condition.type_ == kind)
        .cloned();
    found.map_or_else(Default::default, |found| {
        (
            found.status,
            found.reason.unwrap_or_default(),
            found.message.unwrap_or_default(),
        )
    })
}

/// The only container's status.
pub(crate) fn container(pod: &Pod) -> ContainerStatus {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.clone());
    statuses
        .and_then(|statuses| statuses.into_iter().next())
        .unwrap_or_default()
}

/// Reason and message for which the only container waits.
pub(crate) fn waiting(pod: &Pod) -> (String, String) {
    waits(&container(pod))
}

/// Reason and message for which a container waits.
pub(crate) fn waits(status: &ContainerStatus) -> (String, String) {
    let waiting = status
        .state
        .clone()
        .and_then(|state| state.waiting)
        .unwrap_or_default();
    (
        waiting.reason.unwrap_or_default(),
        waiting.message.unwrap_or_default(),
    )
}

/// The server of these stories.
pub(crate) fn tiny_server() -> Image {
    Image::program(env!("CARGO_BIN_EXE_tiny-server")).variable("LISTEN", format!("0.0.0.0:{PORT}"))
}

/// A Pod with one container called `web`.
pub(crate) fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = "web".into();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
    })
}

/// Waits for what a check says of the present Pods.
pub(crate) async fn pods_that<T: Debug>(
    ns: &TestNamespace,
    what: &str,
    check: impl Fn(&[Pod]) -> Result<T, String>,
) -> T {
    eventually(what, async || check(&ns.pods().await)).await
}
