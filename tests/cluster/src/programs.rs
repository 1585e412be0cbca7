//! Finds programs: those of the control plane, which `build.sh` has built into the cache folder,
//! our own, and the image of `aip`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use release::image::{Layout, unpack};
use release::program::Architecture;

use crate::kubelet::Image;

/// The program of a package of this workspace, built now if need be.
///
/// # Panics
///
/// If it cannot be built.
pub fn workspace_program(package: &str) -> PathBuf {
    build(&["--package", package, "--bin", package]).join(package)
}

/// An example of this workspace, built now if need be: with the features that the tests of the workspace are built
/// with, so that the libraries are theirs.
///
/// # Panics
///
/// If it cannot be built.
pub fn workspace_example(name: &str) -> PathBuf {
    build(&["--workspace", "--example", name])
        .join("examples")
        .join(name)
}

/// Builds a target and returns the folder of the profile.
fn build(target: &[&str]) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet"])
        .args(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "{target:?} cannot be built; the reason is on standard error"
    );
    // Programs lie beside the folder `deps`, where this test lies.
    let test = std::env::current_exe().expect("a test knows where it lies");
    let folder = test.ancestors().nth(2).expect("a test lies in a folder");
    folder.to_owned()
}

/// The image of `aip` as it is released, around a program that is built as the tests are: the OCI
/// layout `$CLUSTER_IMAGE`, else one that is written now.
///
/// # Panics
///
/// If it cannot be written or unpacked.
pub fn aip_image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let folder = std::env::var_os("CLUSTER_IMAGE").map_or_else(write_image, PathBuf::from);
        let layout = Layout::open(&folder).expect("`cargo xtask image` writes a layout");
        // Replaced with the layout, so it is that of this layout.
        let root = folder.join("unpacked");
        let unpacked = unpack(&layout, Architecture::of_this_machine(), &root);
        Image::unpacked(&unpacked.expect("the image can be unpacked"))
    });
    image.clone()
}

fn write_image() -> PathBuf {
    let folder = target().join("test-image");
    let written = Command::new(env!("CARGO"))
        .args([
            "xtask",
            "image",
            "--profile",
            "dev",
            "--no-sbom",
            "--output",
        ])
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        written.is_ok_and(|status| status.success()),
        "the image of `aip` cannot be written; the reason is on standard error"
    );
    folder
}

/// Cargo's build folder: this test lies in `debug/deps` of it.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it lies");
    let folder = test.ancestors().nth(3).expect("a test lies in a folder");
    folder.to_owned()
}

/// `kustomize`, built once by the script.
///
/// # Panics
///
/// If it cannot be built.
pub fn kustomize_program() -> PathBuf {
    script("build-tool.sh", Some("kustomize"))
}

/// The program that executes a Tiltfile without Tilt, built once by the script.
///
/// # Panics
///
/// If it cannot be built.
pub fn tiltfile_program() -> PathBuf {
    script("build-tool.sh", Some("tiltfile"))
}

/// Envoy Gateway's translator, built once by the script.
///
/// # Panics
///
/// If it cannot be built.
pub fn envoy_gateway_program() -> PathBuf {
    script("build-tool.sh", Some("envoy-gateway"))
}

/// A container registry, built once by the script of the packaging suite.
///
/// # Panics
///
/// If it cannot be built.
pub fn registry_program() -> PathBuf {
    script("../packaging/build.sh", None)
}

/// What a script prints that builds a program unless it is built: the program.
fn script(path: &str, argument: Option<&str>) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let output = Command::new(&script).args(argument).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", script.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
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
