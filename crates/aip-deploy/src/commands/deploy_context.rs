//! What every command on a cluster starts from: the stack, its state, and the guarded cluster.

use std::sync::Arc;

use futures_util::future::try_join3;
use pulumi_files::{Project, StackName};

use crate::cluster::{Access, ApiError, ObservedNamespace};
use crate::commands::failure::CommandError;
use crate::commands::login::{host, user};
use crate::desired::ObjectRef;
use crate::guard::GuardedCluster;
use crate::plan::tree::Names;
use crate::plan::{Namespace, Plan, build, not_desired};
use crate::selection::{Reveal, Selection};
use crate::store::{Checkpoints, Holder, Inventory, StateStore};
use crate::target::Target;
use crate::ui::Screen;

/// A stack that was selected, with its state.
pub struct Session<'s> {
    /// The flags and files.
    pub selection: &'s Selection,
    /// Where to print.
    pub screen: &'s Screen,
    /// The state.
    pub store: Arc<dyn StateStore>,
    /// What Pulumi left.
    pub pulumi: Checkpoints,
    /// The project.
    pub project: Project,
    /// The stack.
    pub stack: StackName,
}

impl<'s> Session<'s> {
    /// Opens the state of the selected stack.
    pub async fn open(selection: &'s Selection, screen: &'s Screen) -> Result<Self, CommandError> {
        let project = selection.project()?;
        let stack = selection.stack(&project).await?;
        let stacks = selection.stacks(Some(&project))?;
        Ok(Self {
            selection,
            screen,
            store: Arc::new(stacks.state(&project.name, &stack)),
            pulumi: stacks.pulumi(&project.name, &stack),
            project,
            stack,
        })
    }

    /// The stack as its file stands.
    pub async fn target(&self) -> Result<Target, CommandError> {
        Ok(self.selection.target(Reveal::Values).await?)
    }

    /// The cluster the stack belongs to. Every command that talks to a cluster gets it here.
    pub async fn cluster(
        &self,
        context: &str,
        inventory: &Inventory,
    ) -> Result<GuardedCluster, CommandError> {
        let access = Access::new(&self.selection.environment);
        let clock = self.selection.clock.as_ref();
        Ok(GuardedCluster::open(&access, context, inventory.pin.as_ref(), clock).await?)
    }

    /// Whose plan it is.
    pub fn names<'n>(&'n self, notices: &'n [String]) -> Names<'n> {
        Names {
            project: &self.project.name,
            stack: self.stack.as_str(),
            notices,
        }
    }

    /// Who asks for a lease.
    pub fn holder(&self, command: &str, ttl: Option<std::time::Duration>) -> Holder {
        Holder {
            user: user(self.selection),
            host: host(self.selection),
            pid: std::process::id(),
            command: command.to_owned(),
            ttl,
        }
    }
}

/// Compares the target with the cluster.
pub async fn plan(
    cluster: &GuardedCluster,
    target: &Target,
    inventory: &Inventory,
) -> Result<Plan, CommandError> {
    let namespace = target.namespace.as_str();
    let created = match cluster.observe_namespace(namespace).await? {
        ObservedNamespace::Known(known) => known,
        ObservedNamespace::Deleting(deleting) => {
            return Err(CommandError::NamespaceDeleting {
                namespace: namespace.to_owned(),
                how: deleting.text(),
            });
        }
    };
    let exists = created == Namespace::Exists;
    let intents = inventory.intents.iter().flat_map(|intent| &intent.objects);
    let stale = not_desired(&inventory.owned, intents, &target.desired);
    let (observed, stale, replica_sets) = try_join3(
        cluster.observe(target.desired.clone(), inventory, exists),
        cluster.observe_stale(stale.clone()),
        replica_sets(cluster, namespace, &stale),
    )
    .await?;
    Ok(build(observed, stale, &replica_sets, created))
}

/// Asked only if there is a Secret to prune: `ReplicaSet`s decide nothing else.
async fn replica_sets(
    cluster: &GuardedCluster,
    namespace: &str,
    stale: &[ObjectRef],
) -> Result<Vec<serde_json::Value>, ApiError> {
    if stale.iter().any(|object| object.kind == "Secret") {
        cluster.replica_sets(namespace).await
    } else {
        Ok(Vec::new())
    }
}
