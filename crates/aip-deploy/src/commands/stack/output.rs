//! `stack output`: what other programs may want to know of a stack. Nothing here is secret.

use clap::Args;
use serde_json::{Map, Value};

use super::StackError;
use crate::cli_context::{CliContext, CliContextError, SecretsMode};
use crate::cluster::Access;
use crate::commands::failure::CommandError;
use crate::config::namespace_of;
use crate::guard::GuardedCluster;
use crate::outputs::{Address, load_balancer};
use crate::store::StateStore as _;
use crate::target::Target;
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
    pub(super) async fn run(self, cli: &CliContext) -> Result<(), StackError> {
        let target = match cli.target(SecretsMode::Placeholder).await {
            Ok(target) => target,
            Err(CliContextError::Configuration(problems)) => {
                return match undeployed(cli).await? {
                    Some(outputs) => self.print_undeployed(cli, outputs),
                    None => Err(CliContextError::Configuration(problems).into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(name) = &self.name {
            let value = output_value(cli, &target, name).await?;
            self.print_one(cli, value);
            return Ok(());
        }
        let mut outputs: Vec<(&str, Option<String>)> = from_files(&target)
            .map(|(name, value)| (name, Some(value.to_owned())))
            .to_vec();
        match address(cli, &target).await {
            Ok(None) => {}
            Ok(Some(address)) => {
                outputs.insert(0, (Address::NAME, address.known().map(str::to_owned)));
            }
            Err(error) => cli.terminal.status(&format!(
                "warning: cannot read the address of the load balancer: {error}"
            )),
        }
        self.print_all(cli, outputs);
        Ok(())
    }

    /// A stack that was never deployed has few outputs, and needs no complete configuration.
    fn print_undeployed(&self, cli: &CliContext, outputs: Undeployed) -> Result<(), StackError> {
        let Some(name) = &self.name else {
            let outputs = outputs.known.into_iter();
            self.print_all(
                cli,
                outputs.map(|(name, value)| (name, Some(value))).collect(),
            );
            return Ok(());
        };
        let mut known = outputs.known.into_iter();
        match known.find(|(known, _)| known == name) {
            Some((_, value)) => {
                self.print_one(cli, value);
                Ok(())
            }
            None => Err(StackError::NoOutput {
                stack: outputs.stack,
                name: name.clone(),
            }),
        }
    }

    fn print_one(&self, cli: &CliContext, value: String) {
        let text = if self.json {
            Value::from(value).to_string()
        } else {
            value
        };
        cli.terminal.data(&text);
    }

    fn print_all(&self, cli: &CliContext, outputs: Vec<(&str, Option<String>)>) {
        if self.json {
            let map: Map<String, Value> = outputs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            cli.terminal.data(&format!("{:#}", Value::Object(map)));
            return;
        }
        let mut rows = vec![vec!["OUTPUT".to_owned(), "VALUE".to_owned()]];
        rows.extend(outputs.into_iter().map(|(name, value)| {
            let value = value.unwrap_or_else(|| "(not assigned yet)".to_owned());
            vec![name.to_owned(), value]
        }));
        for line in columns(&rows, &[]) {
            cli.terminal.data(&line);
        }
    }
}

/// What is known of a stack without its configuration.
struct Undeployed {
    stack: String,
    known: Vec<(&'static str, String)>,
}

/// The outputs of the selected stack if it was never deployed.
async fn undeployed(cli: &CliContext) -> Result<Option<Undeployed>, StackError> {
    let project = cli.project()?;
    let stack = cli.stack(&project).await?;
    let state = cli.stacks(Some(&project))?.state(&project.name, &stack);
    let inventory = state.inventory().await.map_err(CliContextError::from)?;
    if inventory.pin.is_some() {
        return Ok(None);
    }
    let file = cli.stack_file(&project, &stack)?;
    let context = file.at(&CliContext::config_path(&project, "k8s_context", false)?);
    let context = context
        .and_then(|node| node.scalar())
        .map(|scalar| scalar.text.clone());
    let mut known = vec![
        ("namespace", namespace_of(&stack)),
        ("stack", stack.to_string()),
    ];
    known.extend(context.map(|context| ("context", context)));
    known.sort();
    Ok(Some(Undeployed {
        stack: stack.to_string(),
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

async fn output_value(cli: &CliContext, target: &Target, name: &str) -> Result<String, StackError> {
    let found = from_files(target)
        .into_iter()
        .find(|(known, _)| *known == name);
    if let Some((_, value)) = found {
        return Ok(value.to_owned());
    }
    let address = match name {
        Address::NAME => address(cli, target).await?,
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
async fn address(cli: &CliContext, target: &Target) -> Result<Option<Address>, Box<CommandError>> {
    let ask = async {
        let Some(service) = load_balancer(&target.desired) else {
            return Ok(None);
        };
        let project = cli.project()?;
        let stack = cli.stack(&project).await?;
        let state = cli.stacks(Some(&project))?.state(&project.name, &stack);
        let Some(pin) = state.inventory().await?.pin else {
            return Ok(Some(Address::Pending));
        };
        let access = Access::new(&cli.environment);
        let cluster =
            GuardedCluster::open(&access, &target.context, Some(&pin), cli.clock.as_ref()).await?;
        Ok(Some(Address::of(&cluster, &service).await?))
    };
    ask.await.map_err(Box::new)
}
