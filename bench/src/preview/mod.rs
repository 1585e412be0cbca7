//! How fast `aip-deploy` is against a local API server, and what it weighs: whole processes, from
//! an encrypted stack file to the last line of output.
//!
//! Every round is the life of a release: the new tag is set, previewed, rolled out, and deployed
//! again with nothing left to do.

mod rollout;
mod stack;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cluster::{Audit, ControlPlane, Image, Kubelet, eventually};
use kube::Client;

use crate::report::Measurement;
use harness::scratch::Scratch;

use rollout::Watcher;
use stack::{IMAGE, NAMESPACE, Stack};

const ROUNDS: usize = 7;
/// In the cluster and in its audit log.
const OPERATOR: &str = "operator";

/// One figure per round; times in milliseconds.
#[derive(Default)]
struct Samples {
    preview: Vec<f64>,
    preview_peak_rss_mb: Vec<f64>,
    api_calls: Vec<f64>,
    up_unchanged: Vec<f64>,
    up_new_tag: Vec<f64>,
    migration: Vec<f64>,
    rollout: Vec<f64>,
    up_new_tag_overhead: Vec<f64>,
    config_get_secret: Vec<f64>,
}

/// What is measured, with the cluster around it.
struct Bench {
    stack: Stack,
    kubelet: Kubelet,
    server: Image,
    /// Of somebody else than the operator, whose requests are counted.
    watching: Client,
    cluster: ControlPlane,
}

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    let bench = Bench::start(program, scratch).await?;
    // The first round reads the programs from disk and fills the API server's caches.
    bench.round("v1", &mut Samples::default()).await?;
    let mut samples = Samples::default();
    for round in 0..ROUNDS {
        bench
            .round(&format!("v{}", round + 2), &mut samples)
            .await?;
    }
    samples.report()
}

impl Bench {
    /// A cluster in which the stack is deployed.
    async fn start(program: &Path, scratch: &Scratch) -> Result<Self> {
        let server = program.with_file_name("tiny-server");
        ensure!(server.is_file(), "{} is not built", server.display());
        let cluster = ControlPlane::start().await;
        let operator = cluster.user(OPERATOR, "system:masters").await;
        let bench = Self {
            stack: Stack::create(
                program,
                &scratch.folder("stack")?,
                &operator.kubeconfig,
                cluster.context(),
            )?,
            kubelet: Kubelet::start(&cluster).await,
            server: Image::program(server).variable("LISTEN", "0.0.0.0:8080"),
            watching: cluster.client().await,
            cluster,
        };
        bench.stack.encrypt_secrets().await?;
        bench.release("v0").await?;
        bench.stack.up().await?;
        Ok(bench)
    }

    /// Publishes an image and makes it the one that the stack asks for.
    async fn release(&self, tag: &str) -> Result<()> {
        let images = self.kubelet.images();
        images.push(format!("{IMAGE}:{tag}"), self.server.clone());
        self.stack.set_tag(tag).await
    }

    async fn round(&self, tag: &str, samples: &mut Samples) -> Result<()> {
        self.release(tag).await?;
        let audit = self.cluster.audit();
        samples.preview.push(self.stack.preview().await?);
        samples.api_calls.push(calls(&audit).await?);
        samples
            .preview_peak_rss_mb
            .push(self.stack.preview_peak_rss_mb().await?);

        let watcher = Watcher::before(&self.watching, NAMESPACE).await?;
        let (up, seen) = tokio::try_join!(self.stack.up(), watcher.watch())?;
        samples.up_new_tag.push(up);
        samples.migration.push(seen.migration);
        samples.rollout.push(seen.rollout);
        samples
            .up_new_tag_overhead
            .push(up - seen.migration - seen.rollout);

        samples.up_unchanged.push(self.stack.up().await?);
        samples
            .config_get_secret
            .push(self.stack.get_secret().await?);
        Ok(())
    }
}

impl Samples {
    fn report(self) -> Result<Vec<Measurement>> {
        let mut measurements = Vec::new();
        for (name, unit, rounds) in [
            ("preview_ms", "ms", self.preview),
            ("peak_rss_mb", "MiB", self.preview_peak_rss_mb),
            ("api_calls", "requests", self.api_calls),
            ("up_unchanged_ms", "ms", self.up_unchanged),
            ("up_new_tag_ms", "ms", self.up_new_tag),
            ("migration_ms", "ms", self.migration),
            ("rollout_ms", "ms", self.rollout),
            ("up_new_tag_overhead_ms", "ms", self.up_new_tag_overhead),
            ("config_get_secret_ms", "ms", self.config_get_secret),
        ] {
            measurements.push(Measurement::of(name, unit, rounds)?);
        }
        Ok(measurements)
    }
}

/// What the operator asked of the API server since. A request may be in the log only after its
/// answer was sent, so this waits until nothing is added.
async fn calls(audit: &Audit) -> Result<f64> {
    let mut before = 0;
    let count = eventually("the audit log is complete", async || {
        let count = audit.by(OPERATOR).len();
        let settled = count > 0 && count == before;
        before = count;
        if settled {
            Ok(count)
        } else {
            Err("requests are being added")
        }
    })
    .await;
    Ok(u32::try_from(count).context("too many requests")?.into())
}
