//! What the stack must keep to itself, and the commands of `aip` that make it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cluster::workspace_program;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// Of the database's user.
pub(crate) const PASSWORD: &str = "hunter2-in-the-database-url";

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| workspace_program("aip"));

/// What the stack must keep to itself.
pub(crate) struct Secrets {
    pub(crate) database_url: String,
    pub(crate) keys: String,
    pub(crate) master_keys: String,
    /// Where `aip` has made the keys, and where its commands beside the server run.
    pub(crate) folder: TempDir,
}

impl Secrets {
    /// A new database, and keys as the operator's guide makes them.
    pub(crate) async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = aip(&folder).args(["clients", "list"]).output().await;
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        Self {
            database_url: for_pods(&aip_testkit::postgres::create_database().await),
            keys: read("keys.json"),
            master_keys: read("master-keys.json"),
            folder,
        }
    }

    /// An empty database at another server.
    pub(crate) async fn database_elsewhere() -> String {
        for_pods(&aip_testkit::postgres::create_database_elsewhere().await)
    }

    /// The ids of the keys that prove AIP to PDSs.
    pub(crate) fn upstream_key_ids(&self) -> Vec<String> {
        let keys: Value = serde_json::from_str(&self.keys).unwrap();
        let keys = keys["keys"].as_array().unwrap().iter();
        keys.filter(|key| key["aip_purpose"] == "upstream")
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The URL with a password, and as Pods can use it.
fn for_pods(url: &str) -> String {
    let (url, socket) = url.split_once("?host=").unwrap();
    // Encoded, the folder of the socket is not taken for a path in the Pod's own `/tmp`.
    let socket = socket.replace('/', "%2F");
    let url = url.replace("aip@", &format!("aip:{PASSWORD}@"));
    format!("{url}?host={socket}")
}

/// The program, built once.
pub(crate) fn program() -> &'static Path {
    &PROGRAM
}

/// A command of `aip` with the keys of the stack.
pub(crate) fn aip(folder: &TempDir) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .current_dir(folder)
        .env("AIP_DATA_DIR", folder.path())
        .kill_on_drop(true);
    command
}
