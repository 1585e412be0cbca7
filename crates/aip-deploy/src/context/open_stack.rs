//! What every command on a cluster starts from: the stack, its state, and the guarded cluster.

use std::sync::Arc;

use aip_apply::cluster::{Access, GuardError, GuardedCluster};
use aip_apply::store::{Inventory, LeaseHolder, RevisionRecord, State};
use aip_stack::Target;

use super::{Context, ContextError, SecretsMode, Stack};
use crate::operator::{host, user};
use crate::present::tree::StackInfo;
use crate::pulumi_state::PulumiState;

/// The selected stack with its state backend.
pub(crate) struct OpenStack<'c> {
    pub ctx: &'c Context,
    pub stack: &'c Stack,
    /// Inventory, lease and history of the stack.
    pub store: Arc<State>,
    /// Pulumi's checkpoint and locks; read only.
    pub pulumi: PulumiState,
}

impl Context {
    /// Opens the state of the selected stack.
    pub(crate) async fn open_stack(&self) -> Result<OpenStack<'_>, ContextError> {
        let stack = self.stack().await?;
        let stacks = self.stacks(Some(&stack.project))?;
        let (project, name) = (stack.project.name.as_str(), &stack.name);
        Ok(OpenStack {
            ctx: self,
            stack,
            store: Arc::new(stacks.state(project, name)),
            pulumi: PulumiState::new(stacks, project, name),
        })
    }
}

impl OpenStack<'_> {
    /// The objects that the stack file asks for.
    pub(crate) async fn target(&self, mode: SecretsMode) -> Result<Target, ContextError> {
        self.stack.target(self.ctx, mode).await
    }

    /// The objects to deploy: those that the stack file asks for, with the digest that the registry has for
    /// the tag of the image, if the file wants it.
    pub(crate) async fn target_to_deploy(&self) -> Result<Target, ContextError> {
        let (ctx, stack) = (self.ctx, self.stack);
        let file = stack.load()?;
        let mut configured = stack.configured(ctx, &file, SecretsMode::Decrypted).await?;
        let resolved = self.resolve_image(&mut configured.config).await?;
        Ok(stack.target_of(configured, resolved))
    }

    /// The objects of a revision.
    pub(crate) async fn target_of_revision(
        &self,
        record: &RevisionRecord,
    ) -> Result<Target, ContextError> {
        self.stack.target_of_revision(self.ctx, record).await
    }

    /// The cluster the stack belongs to. Every command that talks to a cluster gets it here.
    pub(crate) async fn cluster(
        &self,
        context: &str,
        inventory: &Inventory,
    ) -> Result<GuardedCluster, GuardError> {
        let access = Access::new(&self.ctx.environment);
        let clock = self.ctx.clock.as_ref();
        GuardedCluster::open(&access, context, inventory.pin.as_ref(), clock).await
    }

    /// Project, stack and notices, as plans print them.
    pub(crate) fn stack_info<'n>(&'n self, notices: &'n [String]) -> StackInfo<'n> {
        StackInfo {
            project: &self.stack.project.name,
            stack: self.stack.name.as_str(),
            notices,
            image: None,
        }
    }

    /// The same for the objects of the stack, with what a registry said about their image.
    pub(crate) fn target_info<'n>(&'n self, target: &'n Target) -> StackInfo<'n> {
        StackInfo {
            image: target.resolved_image.as_ref(),
            ..self.stack_info(&target.notices)
        }
    }

    /// User, host and process, as lease and history record them.
    pub(crate) fn holder(&self, command: &str, ttl: Option<std::time::Duration>) -> LeaseHolder {
        LeaseHolder {
            user: user(&self.ctx.environment),
            host: host(&self.ctx.environment),
            pid: std::process::id(),
            command: command.to_owned(),
            ttl,
        }
    }
}
