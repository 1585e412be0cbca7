//! One Pod from its binding to its end.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::container::{self, Outcome};
use super::events::Kind;
use super::network::Address;
use super::rewrite::Rewrite;
use super::state::{ContainerSlot, ObservedContainer, PodState};
use super::volumes::{self, Volumes};
use super::{KubeletShared, time};

/// How soon something that is missing is looked for again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// When a Pod must be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodTermination {
    NotYet,
    /// It was deleted; its processes have until then.
    By(Instant),
    /// The API server has forgotten it.
    Gone,
}

/// A Pod that was bound to one of our nodes.
pub(crate) struct PodWorker {
    pub(crate) shared: Arc<KubeletShared>,
    pub(crate) pod: Pod,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    folder: PathBuf,
    address: Address,
    state: watch::Sender<PodState>,
    ending: watch::Receiver<PodTermination>,
}

impl PodWorker {
    pub(crate) fn new(
        shared: Arc<KubeletShared>,
        pod: Pod,
        address: Address,
        ending: watch::Receiver<PodTermination>,
    ) -> std::io::Result<Self> {
        let uid = pod.uid().unwrap_or_default();
        let folder = shared.reaper.folder().join("pods").join(&uid);
        for inside in ["volumes", "work", "tmp"] {
            fs::create_dir_all(folder.join(inside))?;
        }
        Ok(Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid,
            folder,
            address,
            state: watch::Sender::new(PodState::new(&pod, time::now())),
            ending,
            shared,
            pod,
        })
    }

    /// Runs the Pod, reports on it, and removes it when it was deleted.
    pub(crate) async fn live(self: Arc<Self>) {
        let reporter = tokio::spawn(Arc::clone(&self).report());
        self.run().await;
        self.ended().await;
        reporter.abort();
        let _cancelled = reporter.await;
        self.shared.logs.forget(&self.namespace, &self.name);
        let _kept = fs::remove_dir_all(&self.folder);
        while *self.ending.borrow() != PodTermination::Gone && self.confirm().await.is_err() {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn run(self: &Arc<Self>) {
        if !self.set_up().await {
            return;
        }
        for index in 0..self.containers().0.len() {
            match container::run_container(self, ContainerSlot::Init(index)).await {
                Outcome::Succeeded => {}
                Outcome::Failed | Outcome::Stopped => return,
            }
        }
        let mains = (0..self.containers().1.len()).map(ContainerSlot::Main);
        join_all(mains.map(|slot| container::run_container(self, slot))).await;
    }

    /// Whether the volumes are there; not if the Pod was deleted before.
    async fn set_up(&self) -> bool {
        let address = self.pod_address();
        let volumes = Volumes {
            client: &self.shared.client,
            namespace: &self.namespace,
            pod: &self.pod,
            address: &address,
            folder: &self.folder,
        };
        while let Err((volume, error)) = volumes.fill().await {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}");
            self.event(None, Kind::Warning, "FailedMount", message);
            if self.pause(RETRY_INTERVAL).await.is_err() {
                return false;
            }
        }
        self.state
            .send_modify(|state| state.address = Some(address));
        true
    }

    /// Writes every change of the Pod's state to its `status`.
    async fn report(self: Arc<Self>) {
        let api = self.api();
        let params = PatchParams {
            field_manager: Some("kubelet".to_owned()),
            ..PatchParams::default()
        };
        let mut changes = self.state.subscribe();
        let mut before = self.pod.status.clone().unwrap_or_default();
        loop {
            let state = changes.borrow_and_update().clone();
            let status = state.status(&self.pod, &before, time::now());
            if status != before {
                before = self.write(&api, &params, status).await;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn write(&self, api: &Api<Pod>, params: &PatchParams, status: PodStatus) -> PodStatus {
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid}, "status": status}));
        loop {
            match api.patch_status(&self.name, params, &patch).await {
                // A Pod that was replaced by one of the same name is a conflict.
                Err(kube::Error::Api(refusal)) if [404, 409].contains(&refusal.code) => {
                    return status;
                }
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
                Ok(_) => return status,
            }
        }
    }

    /// Tells the API server that nothing of the Pod is left.
    async fn confirm(&self) -> kube::Result<()> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(&self.name, &params).await {
            Err(kube::Error::Api(refusal)) if [404, 409].contains(&refusal.code) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.shared.client.clone(), &self.namespace)
    }

    fn containers(&self) -> (&[Container], &[Container]) {
        let spec = self.pod.spec.as_ref();
        let init = spec
            .and_then(|spec| spec.init_containers.as_deref())
            .unwrap_or_default();
        (init, spec.map_or(&[], |spec| &spec.containers))
    }

    pub(crate) fn container(&self, slot: ContainerSlot) -> Option<&Container> {
        let (init, main) = self.containers();
        match slot {
            ContainerSlot::Init(index) => init.get(index),
            ContainerSlot::Main(index) => main.get(index),
        }
    }

    /// Changes what is reported of a container.
    pub(crate) fn update(&self, slot: ContainerSlot, change: impl FnOnce(&mut ObservedContainer)) {
        self.state.send_if_modified(|state| {
            let Some(container) = state.get_mut(slot) else {
                return false;
            };
            let before = container.clone();
            change(container);
            *container != before
        });
    }

    /// An event about the Pod or one of its containers.
    pub(crate) fn event(
        &self,
        slot: Option<ContainerSlot>,
        kind: Kind,
        reason: &'static str,
        message: String,
    ) {
        let mut about = self.pod.object_ref(&());
        let list = match slot {
            Some(ContainerSlot::Init(_)) => "initContainers",
            _ => "containers",
        };
        let container = slot.and_then(|slot| self.container(slot));
        about.field_path = container.map(|container| format!("spec.{list}{{{}}}", container.name));
        self.shared
            .events
            .emit("kubelet", about, kind, reason, message);
    }

    pub(crate) fn pod_address(&self) -> String {
        self.address.pod().to_string()
    }

    pub(crate) fn local_address(&self) -> IpAddr {
        self.address.local()
    }

    /// A folder of the Pod: `work` or `tmp`.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn rewrite(&self, container: &Container) -> Rewrite {
        let mounts = volumes::mounts(&self.folder, container);
        let (pod, local) = (self.pod_address(), self.local_address().to_string());
        Rewrite::new(mounts, &pod, &local)
    }

    /// How long its processes may take to end.
    pub(crate) fn grace(&self) -> Duration {
        let spec = self.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(
            grace
                .and_then(|grace| u64::try_from(grace).ok())
                .unwrap_or(30),
        )
    }

    /// Whether it was deleted.
    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow() != PodTermination::NotYet
    }

    /// The moment by which it must be gone, once it was deleted.
    pub(crate) async fn ended(&self) -> Instant {
        let mut ending = self.ending.clone();
        // Without a sender the cluster is being shut down, and this task with it.
        let ending = ending
            .wait_for(|ending| *ending != PodTermination::NotYet)
            .await;
        match ending.map(|ending| *ending) {
            Ok(PodTermination::By(deadline)) => deadline,
            _ => Instant::now(),
        }
    }

    /// Returns when the API server no longer waits for it.
    pub(crate) async fn forced(&self) {
        let mut ending = self.ending.clone();
        let now = |ending: &PodTermination| match ending {
            PodTermination::NotYet => false,
            PodTermination::By(deadline) => *deadline <= Instant::now(),
            PodTermination::Gone => true,
        };
        let _forced = ending.wait_for(now).await;
    }

    /// Waits, unless the Pod is deleted meanwhile.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Deleted> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            _ = self.ended() => Err(Deleted),
        }
    }
}

/// The Pod was deleted while something was waited for.
pub(crate) struct Deleted;
