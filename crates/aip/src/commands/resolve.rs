//! `aip resolve`: who a handle or DID is, and with `--explain` every step of finding out.

use std::sync::Arc;

use aip_atproto::AtIdentifier;
use aip_base::{Clock, DnsTxt, Http, SystemClock};
use aip_pds::{Freshness, Resolver, Trace};
use serde::Serialize;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::runtime::Network;
use crate::settings;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A handle or a DID
    subject: String,
    /// Also print every step that was tried, and its outcome
    #[arg(long)]
    explain: bool,
}

#[derive(Serialize)]
struct ResolvedAccount {
    did: String,
    handle: String,
    pds: String,
}

#[derive(Serialize)]
struct ResolveStep {
    what: &'static str,
    subject: String,
    ok: bool,
    outcome: String,
    milliseconds: u128,
}

#[derive(Serialize)]
struct ExplainedResult {
    #[serde(flatten)]
    found: Option<ResolvedAccount>,
    steps: Vec<ResolveStep>,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let subject = AtIdentifier::from_user_input(&args.subject).map_err(Failure::usage)?;
    let network = Network::new(&loaded)?;
    let resolver = Resolver::new(
        network.http as Arc<dyn Http>,
        network.dns as Arc<dyn DnsTxt>,
        Arc::new(SystemClock) as Arc<dyn Clock>,
        settings::resolver(&loaded.config.upstream),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut trace = Trace::default();
    let found = runtime.block_on(resolver.resolve(&subject, Freshness::Uncached, &mut trace));
    let shown = found.as_ref().ok().map(|it| ResolvedAccount {
        did: it.did.to_string(),
        handle: it.display_handle().to_owned(),
        pds: it.pds.to_string(),
    });
    let explained = |shown| ExplainedResult {
        found: shown,
        steps: steps(&trace),
    };
    match (global.output, args.explain, shown) {
        (Format::Json, true, shown) => output::json(&explained(shown))?,
        (Format::Json, false, Some(shown)) => output::json(&shown)?,
        (Format::Table | Format::Wide, explain, shown) => {
            if explain {
                trace
                    .steps
                    .iter()
                    .for_each(|step| output::print_status(&step.to_string()));
            }
            if let Some(shown) = shown {
                output::members(&[
                    ("did", shown.did),
                    ("handle", shown.handle),
                    ("pds", shown.pds),
                ])?;
            }
        }
        (Format::Json, false, None) => {}
    }
    found.map(drop).map_err(Failure::from)
}

fn steps(trace: &Trace) -> Vec<ResolveStep> {
    let tried = |step: &aip_pds::Step| ResolveStep {
        what: step.what,
        subject: step.subject.clone(),
        ok: step.ok,
        outcome: step.outcome.clone(),
        milliseconds: step.took.as_millis(),
    };
    trace.steps.iter().map(tried).collect()
}
