//! The table of kinds that are waited for after they were applied. A new one whose controller reports in
//! its status is a file here that implements `Reported`, and its lines in the table below. One that is
//! judged by its Pods and volumes, too, implements `Dependency`. One that is judged by other objects
//! implements `Awaited`, and has a variant of [`AwaitedView`] and its look in
//! `aip-deploy`.

mod certificate;
mod dependency;
mod deployment;
mod ingress;
mod job;
mod postgres_cluster;
mod reported;
mod route;
mod stateful_set;

use aip_stack::desired::ObjectRef;

use certificate::Certificate;
use dependency::DependencyWatch;
use deployment::DeploymentWatch;
use ingress::Ingress;
use job::JobWatch;
use postgres_cluster::PostgresCluster;
use reported::ReportedWatch;
use route::Route;
use stateful_set::StatefulSet;

use super::dependency::DependencyView;
use super::follow::{FollowError, Followed, Following, follow};
use super::model::{JobView, Rollout};
use super::status::StatusView;

/// A kind that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedKind {
    /// Until its Pods serve.
    Deployment,
    /// Until it has run to its end.
    Job,
    /// Until its Gateways have accepted it.
    Route,
    /// Until it has an address.
    Ingress,
    /// Until it is issued.
    Certificate,
    /// Until its servers are ready.
    StatefulSet,
    /// Until `CloudNativePG` reports that it is ready.
    PostgresCluster,
}

/// The state of an object that is waited for.
#[derive(Debug, Clone, Copy)]
pub enum AwaitedView<'v> {
    /// A Deployment down to its containers.
    Deployment(&'v Rollout),
    /// A Job with its Pods.
    Job(&'v JobView),
    /// The conditions of an object.
    Status(&'v StatusView),
    /// A server of the stack with its Pods and volumes.
    Dependency(&'v DependencyView),
}

impl AwaitedKind {
    /// How an object is waited for; none if nobody waits for its kind.
    pub fn of(object: &ObjectRef) -> Option<Self> {
        match (object.group(), object.kind.as_str()) {
            ("apps", "Deployment") => Some(Self::Deployment),
            ("batch", "Job") => Some(Self::Job),
            ("gateway.networking.k8s.io", "HTTPRoute") => Some(Self::Route),
            ("networking.k8s.io", "Ingress") => Some(Self::Ingress),
            ("cert-manager.io", "Certificate") => Some(Self::Certificate),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("postgresql.cnpg.io", "Cluster") => Some(Self::PostgresCluster),
            _ => None,
        }
    }

    /// Follows the object `name` of this kind; `changed` is called with every new state.
    pub async fn follow(
        self,
        following: Following<'_>,
        name: &str,
        mut changed: impl FnMut(AwaitedView<'_>),
    ) -> Result<Followed, FollowError> {
        match self {
            Self::Deployment => {
                let changed = |view: &Rollout| changed(AwaitedView::Deployment(view));
                follow::<DeploymentWatch>(following, name, changed).await
            }
            Self::Job => {
                let changed = |view: &JobView| changed(AwaitedView::Job(view));
                follow::<JobWatch>(following, name, changed).await
            }
            Self::Route => {
                let changed = |view: &StatusView| changed(AwaitedView::Status(view));
                follow::<ReportedWatch<Route>>(following, name, changed).await
            }
            Self::Ingress => {
                let changed = |view: &StatusView| changed(AwaitedView::Status(view));
                follow::<ReportedWatch<Ingress>>(following, name, changed).await
            }
            Self::Certificate => {
                let changed = |view: &StatusView| changed(AwaitedView::Status(view));
                follow::<ReportedWatch<Certificate>>(following, name, changed).await
            }
            Self::StatefulSet => {
                let changed = |view: &DependencyView| changed(AwaitedView::Dependency(view));
                follow::<DependencyWatch<StatefulSet>>(following, name, changed).await
            }
            Self::PostgresCluster => {
                let changed = |view: &DependencyView| changed(AwaitedView::Dependency(view));
                follow::<DependencyWatch<PostgresCluster>>(following, name, changed).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::networking::v1::Ingress;

    use super::*;

    #[test]
    fn the_kinds_of_the_table_are_waited_for_and_nothing_of_another_group() {
        let deployment = ObjectRef::of::<Deployment>(Some("n"), "aip");
        assert_eq!(AwaitedKind::of(&deployment), Some(AwaitedKind::Deployment));
        let job = ObjectRef::of::<Job>(Some("n"), "aip-migrate");
        assert_eq!(AwaitedKind::of(&job), Some(AwaitedKind::Job));
        let ingress = ObjectRef::of::<Ingress>(Some("n"), "aip");
        assert_eq!(AwaitedKind::of(&ingress), Some(AwaitedKind::Ingress));
        let service = ObjectRef::of::<Service>(Some("n"), "aip");
        assert_eq!(AwaitedKind::of(&service), None);
        let foreign = ObjectRef {
            api_version: "example.com/v1".to_owned(),
            ..job
        };
        assert_eq!(AwaitedKind::of(&foreign), None);
    }
}
