//! `render`: the objects as YAML, for `GitOps` and Tilt. Standard output holds nothing else.

use aip_stack::desired::{Desired, Phase, SecretStore};
use clap::{Args, ValueEnum};
use yaml_lossless::Tree;

use crate::context::{Context, ContextError, SecretsMode};

/// Argo CD applies the objects of a wave when those of the wave before are healthy
/// (<https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/>).
const SYNC_WAVE_ANNOTATION: &str = "argocd.argoproj.io/sync-wave";

/// The annotations by which Argo CD and Flux keep an object that is no longer in the repository
/// (<https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/>,
/// <https://fluxcd.io/flux/components/kustomize/kustomizations/#prune>).
const KEEP_ANNOTATIONS: [(&str, &str); 2] = [
    (
        "argocd.argoproj.io/sync-options",
        "Prune=false,Delete=false",
    ),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// Print the objects of the stack as YAML
#[derive(Debug, Args)]
#[command(after_help = examples![
    "render > aip.yaml",
    "render --secrets include | kubectl diff -f -",
    "render --secrets external --secret-store aws --sync-waves",
])]
pub(crate) struct RenderArgs {
    /// How Secrets are printed
    #[arg(long, value_enum, default_value_t = RenderSecrets::Stub)]
    secrets: RenderSecrets,
    /// The store of the External Secrets Operator, with `--secrets external`
    #[arg(long, value_name = "NAME", required_if_eq("secrets", "external"))]
    secret_store: Option<String>,
    /// The kind of the store
    #[arg(long, value_enum, default_value_t = StoreKind::ClusterSecretStore)]
    secret_store_kind: StoreKind,
    /// What the keys of the store's entries begin with; `NAMESPACE/` if not given
    #[arg(long, value_name = "PREFIX")]
    secret_prefix: Option<String>,
    /// Annotate the objects with the sync waves of Argo CD: first what Pods refer to, then the migration, then the rest
    #[arg(long)]
    sync_waves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RenderSecrets {
    /// With placeholders; needs no passphrase
    Stub,
    /// With their values
    Include,
    /// Left out
    #[value(alias = "skip")]
    Omit,
    /// As `ExternalSecret`s, whose values are in a store; needs no passphrase
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// For the whole cluster
    ClusterSecretStore,
    /// In the namespace of the stack
    SecretStore,
}

impl RenderArgs {
    /// Prints the objects in the order of an apply. No registry is asked: the same file gives the same text.
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), ContextError> {
        // Names follow from the values, so without Secrets the values are needed all the same.
        let mode = match self.secrets {
            RenderSecrets::Stub | RenderSecrets::External => SecretsMode::Placeholder,
            RenderSecrets::Include | RenderSecrets::Omit => SecretsMode::Decrypted,
        };
        let target = ctx.stack().await?.target(ctx, mode).await?;
        for notice in &target.notices {
            ctx.screen.status(format!("note: {notice}"));
        }
        if self.secrets == RenderSecrets::Stub {
            ctx.screen.status(
                "note: Secrets contain placeholders, and their names are derived from them; `--secrets \
                 include` prints the values",
            );
        }
        let documents: Vec<String> = target
            .desired
            .iter()
            .filter_map(|desired| self.shown(desired, &target.namespace))
            .map(|desired| Tree::from(desired.manifest().clone()).to_yaml())
            .collect();
        ctx.screen.line(documents.join("---\n").trim_end());
        Ok(())
    }

    /// The object as it is printed; none if it is left out.
    fn shown(&self, desired: &Desired, namespace: &str) -> Option<Desired> {
        let replaced = match self.secrets {
            RenderSecrets::Omit if desired.object().kind == "Secret" => return None,
            RenderSecrets::External => desired.external_secret(&self.store(namespace)?),
            _ => None,
        };
        let mut shown = replaced.unwrap_or_else(|| desired.clone());
        if shown.is_protected() {
            for (name, value) in KEEP_ANNOTATIONS {
                shown = shown.annotated(name, value);
            }
        }
        Some(if self.sync_waves {
            shown.annotated(SYNC_WAVE_ANNOTATION, &sync_wave(&shown).to_string())
        } else {
            shown
        })
    }

    /// The store; the command line has its name if it is needed.
    fn store(&self, namespace: &str) -> Option<SecretStore> {
        let prefix = self.secret_prefix.clone();
        Some(SecretStore {
            kind: match self.secret_store_kind {
                StoreKind::ClusterSecretStore => "ClusterSecretStore",
                StoreKind::SecretStore => "SecretStore",
            },
            name: self.secret_store.clone()?,
            prefix: prefix.unwrap_or_else(|| format!("{namespace}/")),
        })
    }
}

/// The waves are the phases of an `up`; the last one is 0, where objects of others are, too.
fn sync_wave(desired: &Desired) -> isize {
    let later = Phase::ALL.iter().filter(|phase| **phase > desired.phase());
    -(later.count().cast_signed())
}
