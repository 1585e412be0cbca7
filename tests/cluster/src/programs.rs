//! Finds programs: those of the control plane, which `build.sh` has built into the cache folder,
//! and our own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of a package of this workspace, built now if need be.
///
/// # Panics
///
/// If it cannot be built.
pub fn workspace_program(package: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, "--bin", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "`{package}` cannot be built; the reason is on standard error"
    );
    // Programs lie beside the folder `deps`, where this test lies.
    let test = std::env::current_exe().expect("a test knows where it lies");
    let folder = test.ancestors().nth(2).expect("a test lies in a folder");
    folder.join(package)
}

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
