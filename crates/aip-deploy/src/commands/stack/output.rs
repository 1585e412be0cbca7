//! `stack output`: what other programs may want to know of a stack. Nothing here is secret.

use aip_stack::Target;
use aip_stack::config::namespace_of;
use clap::Args;
use serde_json::{Map, Value};

use super::StackError;
use crate::commands::failure::CommandError;
use crate::context::{Context, ContextError, SecretsMode};
use crate::outputs::{Address, edge};

#[derive(Debug, Args)]
#[command(after_help = examples!["stack output", "stack output address", "stack output --json"])]
pub(super) struct OutputArgs {
    /// Name of a single output to print
    name: Option<String>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// The outputs that are known; none for the address of a load balancer that has none yet.
type Outputs = Vec<(&'static str, Option<String>)>;

impl OutputArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let stack = ctx.stack().await?;
        let outputs = match stack.target(ctx, SecretsMode::Placeholder).await {
            Ok(target) => self.outputs(ctx, &target).await?,
            // A stack that was never deployed has few outputs, and needs no complete configuration.
            Err(ContextError::Configuration(problems)) => undeployed(ctx)
                .await?
                .ok_or(ContextError::Configuration(problems))?,
            Err(error) => return Err(error.into()),
        };
        let Some(name) = self.name else {
            print_all(ctx, outputs, self.json);
            return Ok(());
        };
        match outputs.into_iter().find(|(known, _)| *known == name) {
            Some((_, Some(value))) if self.json => ctx.screen.json(&value.into()),
            Some((_, Some(value))) => ctx.screen.line(value),
            Some((_, None)) => return Err(StackError::NoAddress),
            None => {
                let stack = stack.name.to_string();
                return Err(StackError::NoOutput { stack, name });
            }
        }
        Ok(())
    }

    /// The outputs, as far as they are asked for: only the address needs a cluster.
    async fn outputs(&self, ctx: &Context, target: &Target) -> Result<Outputs, StackError> {
        let mut outputs = vec![
            ("context", Some(target.context.clone())),
            ("image", Some(target.image.clone())),
            ("namespace", Some(target.namespace.clone())),
            ("stack", Some(target.stack.clone())),
        ];
        let name = self.name.as_deref();
        if name.is_some_and(|name| name != Address::NAME) {
            return Ok(outputs);
        }
        match address(ctx, target).await {
            Ok(None) => {}
            Ok(Some(address)) => {
                outputs.insert(0, (Address::NAME, address.known().map(str::to_owned)));
            }
            Err(error) if name.is_some() => return Err(error.into()),
            Err(error) => ctx.screen.status(format!(
                "warning: cannot read the address of the load balancer: {error}"
            )),
        }
        Ok(outputs)
    }
}

fn print_all(ctx: &Context, outputs: Outputs, json: bool) {
    if json {
        let map: Map<String, Value> = outputs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        ctx.screen.json(&Value::Object(map));
        return;
    }
    let rows = outputs.into_iter().map(|(name, value)| {
        let value = value.unwrap_or_else(|| "(not assigned yet)".to_owned());
        [name.to_owned(), value]
    });
    ctx.screen.table(["OUTPUT", "VALUE"], rows);
}

/// The outputs of the selected stack if it was never deployed.
async fn undeployed(ctx: &Context) -> Result<Option<Outputs>, StackError> {
    let stack = ctx.stack().await?;
    if stack.state(ctx)?.inventory().await?.pin.is_some() {
        return Ok(None);
    }
    let file = stack.load()?;
    let context = file.at(&stack.config_path("k8s_context", false)?);
    let context = context.and_then(|node| Some(node.scalar()?.text.clone()));
    let mut known: Outputs = context
        .map(|context| ("context", Some(context)))
        .into_iter()
        .collect();
    known.push(("namespace", Some(namespace_of(&stack.name))));
    known.push(("stack", Some(stack.name.to_string())));
    Ok(Some(known))
}

/// Where the edge is, if the stack has one. Nobody is asked before the first `up`.
async fn address(ctx: &Context, target: &Target) -> Result<Option<Address>, Box<CommandError>> {
    let ask = async {
        let Some(edge) = edge(&target.desired) else {
            return Ok(None);
        };
        let stack = ctx.open_stack().await?;
        let inventory = stack.store.inventory().await?;
        if inventory.pin.is_none() {
            return Ok(Some(Address::Pending));
        }
        let cluster = stack.cluster(&target.context, &inventory).await?;
        Ok(Some(Address::of(&cluster, &edge).await?))
    };
    ask.await.map_err(Box::new)
}
