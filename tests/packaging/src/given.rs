//! What `cargo xtask test packaging` has made, and names in variables.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use release::image::{Layout, Unpacked, unpack};
use release::program::Architecture;
use tempfile::TempDir;

fn path_in_variable(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.expect("`cargo xtask test packaging` makes what this suite tries out"))
}

/// The folder of the image's layout.
pub fn image() -> PathBuf {
    path_in_variable("PACKAGING_IMAGE")
}

/// The program of a registry.
pub fn registry() -> PathBuf {
    path_in_variable("PACKAGING_REGISTRY")
}

/// The files of the image, unpacked.
pub fn unpacked_image() -> &'static Unpacked {
    static UNPACKED: OnceLock<(Unpacked, TempDir)> = OnceLock::new();
    let (unpacked, _folder) = UNPACKED.get_or_init(|| {
        let folder = scratch();
        let layout = Layout::open(&image()).expect("the image is a layout");
        let unpacked = unpack(
            &layout,
            Architecture::of_this_machine(),
            &folder.path().join("root"),
        );
        (unpacked.expect("the image can be unpacked"), folder)
    });
    unpacked
}

/// A file of the release folder, by how its name begins and ends.
pub fn release_file(begin: &str, end: &str) -> PathBuf {
    let folder = path_in_variable("PACKAGING_RELEASE");
    let files = std::fs::read_dir(&folder).expect("there is a release folder");
    let mut names = files.flatten().map(|entry| entry.file_name());
    let found = names.find(|name| {
        let name = name.to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    });
    let found = found.unwrap_or_else(|| panic!("the release has no file {begin}…{end}"));
    folder.join(found)
}

/// The version of the release, from the name of its archive.
pub fn version() -> String {
    let archive = release_file("aip-", ".tar.gz");
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let (version, _) = name["aip-".len()..].rsplit_once("-linux-").expect("a name");
    version.to_owned()
}

/// The archive of the release, unpacked: what an operator works with.
pub fn unpacked_archive() -> &'static Path {
    static UNPACKED: OnceLock<(PathBuf, TempDir)> = OnceLock::new();
    let (folder, _scratch) = UNPACKED.get_or_init(|| {
        let scratch = scratch();
        let archive = release_file("aip-", ".tar.gz");
        let done = Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(scratch.path())
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "{}",
            archive.display()
        );
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let folder = scratch.path().join(name.trim_end_matches(".tar.gz"));
        (folder, scratch)
    });
    folder
}

/// A folder beside this test, where programs may be executed.
fn scratch() -> TempDir {
    let test = std::env::current_exe().expect("a test knows where it lies");
    let folder = test.parent().expect("a test lies in a folder");
    tempfile::tempdir_in(folder).expect("the folder takes others")
}
