//! `stack output`: what other programs may want to know of a stack. Nothing here is secret.

use clap::Args;
use serde_json::{Map, Value};

use super::StackError;
use crate::selection::{Reveal, Selection};
use crate::ui::table::columns;

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// One output
    name: Option<String>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl OutputArgs {
    pub(super) async fn run(self, selection: &Selection) -> Result<(), StackError> {
        let target = selection.target(Reveal::Stubs).await?;
        let outputs = [
            ("context", &target.context),
            ("image", &target.image),
            ("namespace", &target.namespace),
            ("stack", &target.stack),
        ];
        if let Some(name) = self.name {
            let missing = || StackError::NoOutput {
                stack: target.stack.clone(),
                name: name.clone(),
            };
            let (_, value) = outputs
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(missing)?;
            let text = if self.json {
                Value::from(value.as_str()).to_string()
            } else {
                (*value).clone()
            };
            selection.terminal.data(&text);
            return Ok(());
        }
        if self.json {
            let map: Map<String, Value> = outputs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.as_str().into()))
                .collect();
            selection
                .terminal
                .data(&format!("{:#}", Value::Object(map)));
            return Ok(());
        }
        let mut rows = vec![vec!["OUTPUT".to_owned(), "VALUE".to_owned()]];
        rows.extend(
            outputs
                .into_iter()
                .map(|(name, value)| vec![name.to_owned(), value.clone()]),
        );
        for line in columns(&rows, &[]) {
            selection.terminal.data(&line);
        }
        Ok(())
    }
}
