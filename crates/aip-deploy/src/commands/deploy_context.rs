//! What every command on a cluster starts from: the stack, its state, and the guarded cluster.

use std::sync::Arc;

use futures_util::future::try_join3;
use pulumi_files::{Project, StackName};

use crate::cli_context::{CliContext, SecretsMode};
use crate::cluster::{Access, ApiError, ObservedNamespace};
use crate::commands::failure::CommandError;
use crate::commands::login::{host, user};
use crate::desired::ObjectRef;
use crate::guard::GuardedCluster;
use crate::plan::tree::StackInfo;
use crate::plan::{Namespace, Plan, build, not_desired};
use crate::store::{Checkpoints, Inventory, LeaseHolder, StateStore};
use crate::target::Target;
use crate::ui::Screen;

/// The selected stack with its state backend.
pub struct DeployContext<'s> {
    /// Global flags and environment.
    pub cli: &'s CliContext,
    /// Output of plans and progress.
    pub screen: &'s Screen,
    /// Inventory, lease and history of the stack.
    pub store: Arc<dyn StateStore>,
    /// Pulumi's checkpoint and locks; read only.
    pub pulumi: Checkpoints,
    /// The project.
    pub project: Project,
    /// The stack.
    pub stack: StackName,
}

impl<'s> DeployContext<'s> {
    /// Opens the state of the selected stack.
    pub async fn open(cli: &'s CliContext, screen: &'s Screen) -> Result<Self, CommandError> {
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let stacks = cli.stacks(Some(&project))?;
        Ok(Self {
            cli,
            screen,
            store: Arc::new(stacks.state(&project.name, &stack)),
            pulumi: stacks.pulumi(&project.name, &stack),
            project,
            stack,
        })
    }

    /// Reads the stack file with decrypted secrets.
    pub async fn target(&self) -> Result<Target, CommandError> {
        Ok(self.cli.target(SecretsMode::Decrypted).await?)
    }

    /// The cluster the stack belongs to. Every command that talks to a cluster gets it here.
    pub async fn cluster(
        &self,
        context: &str,
        inventory: &Inventory,
    ) -> Result<GuardedCluster, CommandError> {
        let access = Access::new(&self.cli.environment);
        let clock = self.cli.clock.as_ref();
        Ok(GuardedCluster::open(&access, context, inventory.pin.as_ref(), clock).await?)
    }

    /// Project, stack and notices, as plans print them.
    pub fn stack_info<'n>(&'n self, notices: &'n [String]) -> StackInfo<'n> {
        StackInfo {
            project: &self.project.name,
            stack: self.stack.as_str(),
            notices,
        }
    }

    /// User, host and process, as lease and history record them.
    pub fn holder(&self, command: &str, ttl: Option<std::time::Duration>) -> LeaseHolder {
        LeaseHolder {
            user: user(self.cli),
            host: host(self.cli),
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
