//! The container image: what is in it, how it runs, and that it is the same each time.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_spec::image::{Arch, ImageIndex, ImageManifest, MediaType};
use packaging::{image, run, unpacked_image};
use release::image::{Contents, Layout, USER_ID, unpack, write};
use release::origin::Origin;
use release::program::{Architecture, Program};
use tempfile::TempDir;

/// Everything that is in the image.
const FILES: [&str; 12] = [
    "data",
    "etc",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/ssl",
    "etc/ssl/certs",
    "etc/ssl/certs/ca-certificates.crt",
    "tmp",
    "usr",
    "usr/bin",
    "usr/bin/aip",
];

fn below(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        found.insert(path.strip_prefix(root).unwrap().display().to_string());
        if path.is_dir() {
            below(&path, root, found);
        }
    }
}

#[test]
fn the_image_holds_the_program_and_nothing_that_could_start_another() {
    let root = &unpacked_image().root;
    let mut found = BTreeSet::new();
    below(root, root, &mut found);
    assert_eq!(found, FILES.map(str::to_owned).into());
    let mode = |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("usr/bin/aip"), 0o755);
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("tmp"), 0o1777);
    let users = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert_eq!(users, "aip:x:10001:10001:AIP:/data:/sbin/nologin\n");
    let bundle = root.join("etc/ssl/certs/ca-certificates.crt");
    let authorities = std::fs::read_to_string(bundle).unwrap();
    assert!(authorities.matches("BEGIN CERTIFICATE").count() > 100);
}

#[test]
fn a_container_runs_without_rights_and_says_what_it_is() {
    let config = unpacked_image().config.config().clone().unwrap();
    assert_eq!(config.user().as_deref(), Some("10001:10001"));
    assert_eq!(config.entrypoint().as_deref().unwrap(), ["/usr/bin/aip"]);
    assert_eq!(config.cmd().as_deref().unwrap(), ["serve"]);
    let labels = config.labels().clone().unwrap();
    let label = |name: &str| labels[&format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("title"), "aip");
    assert_eq!(label("licenses"), "MIT OR Apache-2.0");
    let version = Command::new(unpacked_image().root.join("usr/bin/aip"))
        .arg("--version")
        .env_clear()
        .output()
        .unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    // Of the same commit, the number of which stands in both.
    let revision = label("revision");
    let (commit, day) = (&revision[..12], &label("created")[..10]);
    assert!(version.contains(&format!("({commit} {day})")), "{version}");
}

/// A root without any other file shows what a program needs.
#[test]
fn the_program_runs_in_a_root_with_its_image_only() {
    let root = &unpacked_image().root;
    let mut inside = Command::new("unshare");
    inside
        .args(["--map-root-user", "--root"])
        .arg(root)
        .env_clear()
        .env("AIP_DATA_DIR", "/data");
    let said = run(inside.args(["/usr/bin/aip", "config", "check"]));
    assert!(!said.contains("error"), "{said}");
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--root"]).arg(root);
    let refused = shell.args(["/bin/sh", "-c", "true"]).output().unwrap();
    assert!(!refused.status.success());
}

fn origin() -> Origin {
    Origin::of_this_commit("0.1.0".to_owned(), Some(1_795_949_751)).unwrap()
}

fn program() -> Program {
    Program::read(&unpacked_image().root.join("usr/bin/aip")).unwrap()
}

/// The same program for the other architecture, as far as its head tells.
fn of_the_other_architecture(folder: &Path) -> Program {
    let mut bytes = program().bytes;
    let machine: u16 = match program().architecture {
        Architecture::Amd64 => 183, // EM_AARCH64
        Architecture::Arm64 => 62,  // EM_X86_64
    };
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let path = folder.join("aip");
    std::fs::write(&path, bytes).unwrap();
    Program::read(&path).unwrap()
}

fn blobs(layout: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        found.insert(PathBuf::from(entry.unwrap().file_name()));
    }
    found
}

#[test]
fn two_builds_are_the_same_byte_for_byte_and_other_contents_are_not() {
    let folder = TempDir::new().unwrap();
    let layout = |name: &str| folder.path().join(name);
    let origin = origin();
    let mut contents = Contents {
        programs: &[program()],
        sbom: Some(b"{}"),
        origin: &origin,
    };
    let first = write(&layout("first"), &contents).unwrap();
    // A layout is replaced, and nothing of the one before is left.
    std::fs::write(layout("first").join("blobs/sha256/stray"), "").unwrap();
    write(&layout("first"), &contents).unwrap();
    let second = write(&layout("second"), &contents).unwrap();
    assert_eq!(first, second);
    assert_eq!(blobs(&layout("first")), blobs(&layout("second")));
    let index = |name: &str| std::fs::read(layout(name).join("index.json")).unwrap();
    assert_eq!(index("first"), index("second"));

    contents.sbom = None;
    let other = Origin::of_this_commit("0.1.0".to_owned(), Some(1)).unwrap();
    contents.origin = &other;
    assert_ne!(write(&layout("third"), &contents).unwrap(), first);
    // Somebody's own folder is not replaced.
    std::fs::create_dir(layout("mine")).unwrap();
    std::fs::write(layout("mine").join("thesis"), "").unwrap();
    let refused = write(&layout("mine"), &contents).unwrap_err();
    assert!(refused.to_string().contains("no OCI layout"), "{refused}");
}

#[test]
fn one_index_has_every_architecture_with_its_bill_of_materials() {
    let folder = TempDir::new().unwrap();
    let origin = origin();
    let programs = [program(), of_the_other_architecture(folder.path())];
    let contents = Contents {
        programs: &programs,
        sbom: Some(b"{\"bomFormat\": \"CycloneDX\"}"),
        origin: &origin,
    };
    let path = folder.path().join("layout");
    write(&path, &contents).unwrap();
    let layout = Layout::open(&path).unwrap();
    let top = layout.index().unwrap();
    let [index, artifacts @ ..] = &top.manifests()[..] else {
        panic!("an empty layout")
    };
    let index: ImageIndex = serde_json::from_slice(&layout.blob(index).unwrap()).unwrap();
    let platforms = index.manifests().iter();
    let platforms: BTreeSet<String> = platforms
        .map(|it| it.platform().clone().unwrap().architecture().to_string())
        .collect();
    let both = [Arch::Amd64, Arch::ARM64].map(|it| it.to_string());
    assert_eq!(platforms, both.into());
    assert_eq!(artifacts.len(), 2);
    for artifact in artifacts {
        let artifact: ImageManifest =
            serde_json::from_slice(&layout.blob(artifact).unwrap()).unwrap();
        let subject = artifact.subject().clone().unwrap();
        assert!(
            index
                .manifests()
                .iter()
                .any(|it| it.digest() == subject.digest())
        );
        assert_eq!(
            *artifact.layers()[0].media_type(),
            MediaType::Other("application/vnd.cyclonedx+json".to_owned())
        );
    }
    for architecture in [Architecture::Amd64, Architecture::Arm64] {
        let root = folder.path().join(architecture.name());
        let unpacked = unpack(&layout, architecture, &root).unwrap();
        let found = Program::read(&unpacked.root.join("usr/bin/aip")).unwrap();
        assert_eq!(found.architecture, architecture);
    }
    let twice = Contents {
        programs: &[program(), program()],
        ..contents
    };
    let refused = write(&path, &twice).unwrap_err();
    assert!(
        refused.to_string().contains("two for the same"),
        "{refused}"
    );
}

#[test]
fn a_blob_that_was_changed_is_noticed() {
    let folder = TempDir::new().unwrap();
    let origin = origin();
    let contents = Contents {
        programs: &[program()],
        sbom: None,
        origin: &origin,
    };
    let path = folder.path().join("layout");
    write(&path, &contents).unwrap();
    for blob in blobs(&path) {
        std::fs::write(path.join("blobs/sha256").join(blob), "{}").unwrap();
    }
    let layout = Layout::open(&path).unwrap();
    let refused = unpack(&layout, program().architecture, &folder.path().join("root"));
    assert!(refused.unwrap_err().to_string().contains("digest"));
}

#[test]
fn the_stack_runs_the_user_of_the_image() {
    assert_eq!(USER_ID, 10_001);
    let stack = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/aip-stack/src/desired/common.rs"
    );
    let text = std::fs::read_to_string(stack).unwrap();
    assert!(text.contains("const RUN_AS_USER_ID: u32 = 10_001;"));
    assert!(Layout::open(&image()).is_ok());
}
