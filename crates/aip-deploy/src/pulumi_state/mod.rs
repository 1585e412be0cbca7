//! What Pulumi left in the state backend: checkpoint and locks of a stack. Read only.

mod checkpoint;

use aip_apply::store::{Stacks, StoreError};
use pulumi_files::StackName;
use serde::Deserialize;

pub(crate) use checkpoint::objects;

/// The checkpoint and the locks of one stack.
pub(crate) struct PulumiState {
    backend: Stacks,
    project: String,
    stack: StackName,
}

#[derive(Deserialize)]
#[serde(default)]
struct Lock {
    username: String,
    hostname: String,
    pid: u32,
    timestamp: String,
}

impl Default for Lock {
    fn default() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            username: unknown(),
            hostname: unknown(),
            pid: 0,
            timestamp: unknown(),
        }
    }
}

impl PulumiState {
    /// What Pulumi keeps of this stack; nothing is read yet.
    pub(crate) fn new(backend: Stacks, project: &str, stack: &StackName) -> Self {
        Self {
            backend,
            project: project.to_owned(),
            stack: stack.clone(),
        }
    }

    /// The newest checkpoint of the stack, as JSON text.
    pub(crate) async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let path = format!(".pulumi/stacks/{}/{}.json", self.project, self.stack);
        if let Some(content) = self.backend.read(&path).await? {
            let text = String::from_utf8(content.to_vec());
            let reason = "it is not UTF-8".to_owned();
            return text
                .map(Some)
                .map_err(|_| StoreError::Corrupt { path, reason });
        }
        for suffix in [".gz", ".zst"] {
            let path = format!("{path}{suffix}");
            if self.backend.read(&path).await?.is_some() {
                let reason =
                    "it is compressed: run `pulumi` once with PULUMI_SELF_MANAGED_STATE_GZIP=false"
                        .to_owned();
                return Err(StoreError::Corrupt { path, reason });
            }
        }
        Ok(None)
    }

    /// One line per lock that Pulumi holds on the stack: who, where, since when.
    pub(crate) async fn locks(&self) -> Result<Vec<String>, StoreError> {
        let prefix = format!(
            ".pulumi/locks/organization/{}/{}/",
            self.project, self.stack
        );
        let mut lines = Vec::new();
        for path in self.backend.list(&prefix).await? {
            if path.strip_suffix(".json").is_none() {
                continue;
            }
            let Some(content) = self.backend.read(&path).await? else {
                continue;
            };
            let lock: Lock = serde_json::from_slice(&content).unwrap_or_default();
            lines.push(format!(
                "{}@{} (pid {}) at {}",
                lock.username, lock.hostname, lock.pid, lock.timestamp
            ));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use aip_aws::Aws;
    use aip_base::{Body, Environment, Http, HttpError, SystemClock, SystemRng};
    use async_trait::async_trait;
    use http::{Request, Response};
    use pulumi_files::Backend;

    use super::*;

    struct Offline;

    #[async_trait]
    impl Http for Offline {
        async fn send(
            &self,
            request: Request<Body>,
            _: Duration,
        ) -> Result<Response<Body>, HttpError> {
            Err(HttpError::Refused(request.uri().to_string()))
        }
    }

    fn folder_backend(folder: &Path) -> Stacks {
        let environment = Environment::default();
        let url = format!("file://{}", folder.display());
        let backend = Backend::parse(&url, Path::new("/"), &environment).unwrap();
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng));
        let aws = Aws::new(Arc::new(Offline), Arc::<SystemClock>::clone(&clock));
        Stacks::open(&backend, &environment, &aws, clock, rng)
    }

    #[tokio::test]
    async fn pulumis_state_is_read_and_its_locks_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let pulumi = folder.path().join(".pulumi");
        let locks = pulumi.join("locks/organization/aip/main");
        std::fs::create_dir_all(pulumi.join("stacks/aip")).unwrap();
        std::fs::create_dir_all(&locks).unwrap();
        std::fs::write(pulumi.join("stacks/aip/main.json"), "{\"version\":3}").unwrap();
        std::fs::write(pulumi.join("stacks/aip/main.json.bak"), "{}").unwrap();
        std::fs::write(
            locks.join("1.json"),
            r#"{"pid":7,"username":"ann","hostname":"box","timestamp":"2026-11-22T16:14:27Z"}"#,
        )
        .unwrap();
        let backend = folder_backend(folder.path());
        let of = |stack: &str| PulumiState::new(backend.clone(), "aip", &stack.parse().unwrap());
        assert_eq!(
            of("main").checkpoint().await.unwrap().as_deref(),
            Some("{\"version\":3}")
        );
        assert_eq!(
            of("main").locks().await.unwrap(),
            ["ann@box (pid 7) at 2026-11-22T16:14:27Z"]
        );
        assert!(of("dev").checkpoint().await.unwrap().is_none());
    }
}
