//! A whole store: is it fit, which stacks are in it, and the state of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use aip_aws::Aws;
use aip_base::{Clock, Environment, Rng, random_token};
use bytes::Bytes;
use pulumi_files::{Backend, StackName};

use super::StoreError;
use super::blobs::{Blobs, WriteOutcome};
use super::bucket::Bucket;
use super::folder::Folder;
use super::state::State;

/// Where everything of this program is: beside Pulumi's `.pulumi`, never in it.
pub(super) const STATE_PREFIX: &str = ".aip-deploy";

/// A store for the state of many stacks.
#[derive(Clone)]
pub struct Stacks {
    blobs: Arc<dyn Blobs>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// The backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It does not work at all.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two programs could both believe that they hold the lease.
    #[error(
        "{url} does not support conditional writes ({what}), so concurrent deployments could not be prevented: \
         use another backend"
    )]
    Unconditional {
        /// The store.
        url: String,
        /// The check that failed.
        what: &'static str,
    },
}

impl Stacks {
    /// Opens a store; nothing is sent yet.
    pub fn open(
        backend: &Backend,
        environment: &Environment,
        aws: &Aws,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let blobs: Arc<dyn Blobs> = match backend {
            Backend::Folder { path, url } => Arc::new(Folder::new(path, url, Arc::clone(&rng))),
            Backend::Bucket(bucket) => Arc::new(Bucket::new(bucket, environment, aws)),
        };
        Self { blobs, clock, rng }
    }

    /// URL of the backend, without credentials.
    pub fn url(&self) -> &str {
        self.blobs.url()
    }

    /// Tries that the store can be written to, and that conditional writes are honoured.
    pub async fn probe(&self) -> Result<(), LoginError> {
        let path = format!(
            "{STATE_PREFIX}/probe-{}",
            random_token::<12>(self.rng.as_ref())
        );
        let outcome = self.probe_at(&path).await;
        let removed = self.blobs.remove(&path).await;
        outcome?;
        Ok(removed?)
    }

    async fn probe_at(&self, path: &str) -> Result<(), LoginError> {
        let refused = |what| LoginError::Unconditional {
            url: self.url().to_owned(),
            what,
        };
        let WriteOutcome::Done(first) = self.blobs.create(path, Bytes::from_static(b"1")).await?
        else {
            return Err(refused("creating a new object failed as if it existed"));
        };
        if self.blobs.create(path, Bytes::from_static(b"2")).await? != WriteOutcome::Changed {
            return Err(refused("an existing object could be created again"));
        }
        let WriteOutcome::Done(_) = self
            .blobs
            .replace(path, Bytes::from_static(b"3"), &first)
            .await?
        else {
            return Err(refused(
                "updating an unchanged object failed as if it had changed",
            ));
        };
        if self
            .blobs
            .replace(path, Bytes::from_static(b"4"), &first)
            .await?
            != WriteOutcome::Changed
        {
            return Err(refused("a changed object could be overwritten"));
        }
        Ok(())
    }

    /// The stacks of a project that have state here, ours or Pulumi's.
    pub async fn names(&self, project: &str) -> Result<BTreeSet<StackName>, StoreError> {
        let mut names = BTreeSet::new();
        let ours = format!("{STATE_PREFIX}/{project}/");
        for path in self.blobs.list(&ours).await? {
            let name = path
                .strip_prefix(&ours)
                .and_then(|rest| rest.split('/').next());
            names.extend(name.and_then(|name| name.parse().ok()));
        }
        let theirs = format!(".pulumi/stacks/{project}/");
        for path in self.blobs.list(&theirs).await? {
            let name = path
                .strip_prefix(&theirs)
                .and_then(|name| name.strip_suffix(".json"));
            names.extend(name.and_then(|name| name.parse().ok()));
        }
        Ok(names)
    }

    /// The projects that have stacks here.
    pub async fn projects(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut projects = BTreeSet::new();
        for root in [format!("{STATE_PREFIX}/"), ".pulumi/stacks/".to_owned()] {
            for path in self.blobs.list(&root).await? {
                let below = path
                    .strip_prefix(&root)
                    .and_then(|rest| rest.split_once('/'));
                projects.extend(below.map(|(project, _)| project.to_owned()));
            }
        }
        Ok(projects)
    }

    /// The state of one stack.
    pub fn state(&self, project: &str, stack: &StackName) -> State {
        let base = format!("{STATE_PREFIX}/{project}/{stack}");
        State::new(
            Arc::clone(&self.blobs),
            base,
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
        )
    }

    /// A document that another program keeps in the same backend, by its path below the root.
    pub async fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let found = self.blobs.get(path).await?;
        Ok(found.map(|(content, _)| content))
    }

    /// The paths of all documents below a prefix that ends in `/`, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.blobs.list(prefix).await
    }

    /// Removes everything that is kept of a stack.
    pub async fn remove(&self, project: &str, stack: &StackName) -> Result<(), StoreError> {
        for path in self
            .blobs
            .list(&format!("{STATE_PREFIX}/{project}/{stack}/"))
            .await?
        {
            self.blobs.remove(&path).await?;
        }
        Ok(())
    }

    /// Makes a stack known before its first `up`.
    pub async fn register(&self, project: &str, stack: &StackName) -> Result<bool, StoreError> {
        let path = format!("{STATE_PREFIX}/{project}/{stack}/stack.json");
        let written = self
            .blobs
            .create(&path, Bytes::from_static(b"{\"version\":1}\n"))
            .await?;
        Ok(matches!(written, WriteOutcome::Done(_)))
    }
}
