//! Finds the programs of the control plane, which `build.sh` has built into the cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with the built programs: `$CLUSTER_PROGRAMS`, else where the script builds to.
///
/// # Panics
///
/// If they have not been built: a suite that needs a cluster must not pass without one.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os("CLUSTER_PROGRAMS").map_or_else(built, PathBuf::from);
    for program in ["etcd", "kube-apiserver", "kube-controller-manager"] {
        assert!(
            folder.join(program).is_file(),
            "the control plane is not built (no `{program}`): run `cargo xtask test cluster`, or \
             only `tests/cluster/build.sh`"
        );
    }
    folder
}

/// Where the script builds to.
fn built() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
    let output = Command::new(&script)
        .arg("--where")
        .output()
        .expect("`tests/cluster/build.sh` runs");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
