//! What Pulumi left in the same store: its checkpoint and its locks. Read only.

use std::sync::Arc;

use async_trait::async_trait;
use pulumi_files::StackName;
use serde::Deserialize;

use super::blobs::Blobs;
use super::{PulumiState, StoreError};

/// The checkpoint and the locks of one stack.
pub struct Checkpoints {
    blobs: Arc<dyn Blobs>,
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

impl Checkpoints {
    pub(super) fn new(blobs: Arc<dyn Blobs>, project: String, stack: StackName) -> Self {
        Self {
            blobs,
            project,
            stack,
        }
    }
}

#[async_trait]
impl PulumiState for Checkpoints {
    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let path = format!(".pulumi/stacks/{}/{}.json", self.project, self.stack);
        if let Some((content, _)) = self.blobs.get(&path).await? {
            let text = String::from_utf8(content.to_vec());
            let reason = "it is not UTF-8".to_owned();
            return text
                .map(Some)
                .map_err(|_| StoreError::Corrupt { path, reason });
        }
        for suffix in [".gz", ".zst"] {
            let path = format!("{path}{suffix}");
            if self.blobs.get(&path).await?.is_some() {
                let reason =
                    "it is compressed: run `pulumi` once with PULUMI_SELF_MANAGED_STATE_GZIP=false"
                        .to_owned();
                return Err(StoreError::Corrupt { path, reason });
            }
        }
        Ok(None)
    }

    async fn locks(&self) -> Result<Vec<String>, StoreError> {
        let prefix = format!(
            ".pulumi/locks/organization/{}/{}/",
            self.project, self.stack
        );
        let mut lines = Vec::new();
        for path in self.blobs.list(&prefix).await? {
            if path.strip_suffix(".json").is_none() {
                continue;
            }
            let Some((content, _)) = self.blobs.get(&path).await? else {
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
