//! `stack output`: what other programs may want to know of a stack. Nothing here is secret.

use aip_apply::store::StateStore as _;
use aip_stack::Target;
use aip_stack::config::namespace_of;
use clap::Args;
use serde_json::{Map, Value};

use super::StackError;
use crate::commands::failure::CommandError;
use crate::context::{Context, ContextError, SecretsMode};
use crate::outputs::{Address, load_balancer};
use crate::ui::table::columns;

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Name of a single output to print
    name: Option<String>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl OutputArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), StackError> {
        let target = match ctx
            .stack()
            .await?
            .target(ctx, SecretsMode::Placeholder)
            .await
        {
            Ok(target) => target,
            Err(ContextError::Configuration(problems)) => {
                return match undeployed(ctx).await? {
                    Some(outputs) => self.print_undeployed(ctx, outputs),
                    None => Err(ContextError::Configuration(problems).into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(name) = &self.name {
            let value = output_value(ctx, &target, name).await?;
            self.print_one(ctx, value);
            return Ok(());
        }
        let mut outputs: Vec<(&str, Option<String>)> = from_files(&target)
            .map(|(name, value)| (name, Some(value.to_owned())))
            .to_vec();
        match address(ctx, &target).await {
            Ok(None) => {}
            Ok(Some(address)) => {
                outputs.insert(0, (Address::NAME, address.known().map(str::to_owned)));
            }
            Err(error) => ctx.screen.status(format!(
                "warning: cannot read the address of the load balancer: {error}"
            )),
        }
        self.print_all(ctx, outputs);
        Ok(())
    }

    /// A stack that was never deployed has few outputs, and needs no complete configuration.
    fn print_undeployed(&self, ctx: &Context, outputs: Undeployed) -> Result<(), StackError> {
        let Some(name) = &self.name else {
            let outputs = outputs.known.into_iter();
            self.print_all(
                ctx,
                outputs.map(|(name, value)| (name, Some(value))).collect(),
            );
            return Ok(());
        };
        let mut known = outputs.known.into_iter();
        match known.find(|(known, _)| known == name) {
            Some((_, value)) => {
                self.print_one(ctx, value);
                Ok(())
            }
            None => Err(StackError::NoOutput {
                stack: outputs.stack,
                name: name.clone(),
            }),
        }
    }

    fn print_one(&self, ctx: &Context, value: String) {
        let text = if self.json {
            Value::from(value).to_string()
        } else {
            value
        };
        ctx.screen.line(&text);
    }

    fn print_all(&self, ctx: &Context, outputs: Vec<(&str, Option<String>)>) {
        if self.json {
            let map: Map<String, Value> = outputs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            ctx.screen.line(format!("{:#}", Value::Object(map)));
            return;
        }
        let mut rows = vec![vec!["OUTPUT".to_owned(), "VALUE".to_owned()]];
        rows.extend(outputs.into_iter().map(|(name, value)| {
            let value = value.unwrap_or_else(|| "(not assigned yet)".to_owned());
            vec![name.to_owned(), value]
        }));
        for line in columns(&rows, &[]) {
            ctx.screen.line(&line);
        }
    }
}

/// What is known of a stack without its configuration.
struct Undeployed {
    stack: String,
    known: Vec<(&'static str, String)>,
}

/// The outputs of the selected stack if it was never deployed.
async fn undeployed(ctx: &Context) -> Result<Option<Undeployed>, StackError> {
    let stack = ctx.stack().await?;
    let state = stack.state(ctx)?;
    let inventory = state.inventory().await?;
    if inventory.pin.is_some() {
        return Ok(None);
    }
    let file = stack.load()?;
    let context = file.at(&stack.config_path("k8s_context", false)?);
    let context = context
        .and_then(|node| node.scalar())
        .map(|scalar| scalar.text.clone());
    let mut known = vec![
        ("namespace", namespace_of(&stack.name)),
        ("stack", stack.name.to_string()),
    ];
    known.extend(context.map(|context| ("context", context)));
    known.sort();
    Ok(Some(Undeployed {
        stack: stack.name.to_string(),
        known,
    }))
}

/// What is known without a cluster.
fn from_files(target: &Target) -> [(&'static str, &str); 4] {
    [
        ("context", &target.context),
        ("image", &target.image),
        ("namespace", &target.namespace),
        ("stack", &target.stack),
    ]
}

async fn output_value(ctx: &Context, target: &Target, name: &str) -> Result<String, StackError> {
    let found = from_files(target)
        .into_iter()
        .find(|(known, _)| *known == name);
    if let Some((_, value)) = found {
        return Ok(value.to_owned());
    }
    let address = match name {
        Address::NAME => address(ctx, target).await?,
        _ => None,
    };
    match address {
        Some(Address::Known(address)) => Ok(address),
        Some(Address::Pending) => Err(StackError::NoAddress),
        None => Err(StackError::NoOutput {
            stack: target.stack.clone(),
            name: name.to_owned(),
        }),
    }
}

/// Where the load balancer is, if the stack has one. Nobody is asked before the first `up`.
async fn address(ctx: &Context, target: &Target) -> Result<Option<Address>, Box<CommandError>> {
    let ask = async {
        let Some(service) = load_balancer(&target.desired) else {
            return Ok(None);
        };
        let stack = ctx.open_stack().await?;
        let inventory = stack.store.inventory().await?;
        if inventory.pin.is_none() {
            return Ok(Some(Address::Pending));
        }
        let cluster = stack.cluster(&target.context, &inventory).await?;
        Ok(Some(Address::of(&cluster, &service).await?))
    };
    ask.await.map_err(Box::new)
}
