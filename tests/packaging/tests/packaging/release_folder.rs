//! The release folder: sums, archive, bills of materials, change log.

use std::path::Path;
use std::process::Command;

use oci_spec::image::ImageManifest;
use packaging::{release_file, run, unpacked_archive, version};
use release::image::{Layout, unpack};
use release::program::{Architecture, Program};
use serde_json::Value;

#[test]
fn every_file_has_its_sum() {
    let sums = release_file("SHA256SUMS", "");
    let folder = sums.parent().unwrap();
    let mut check = Command::new("sha256sum");
    run(check
        .args(["--check", "--strict"])
        .arg(&sums)
        .current_dir(folder));
    let listed = std::fs::read_to_string(&sums).unwrap().lines().count();
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(listed, files - 1, "all but the sums themselves");
}

#[test]
fn programs_are_static_and_say_the_version_of_the_release() {
    let number = env!("CARGO_PKG_VERSION");
    assert!(version().starts_with(number));
    for name in release::folder::PROGRAMS {
        let path = unpacked_archive().join(name);
        Program::read(&path).unwrap();
        let said = run(Command::new(&path).arg("--version").env_clear());
        assert!(said.starts_with(&format!("{name} {number} (")), "{said}");
    }
}

#[test]
fn the_image_is_there_with_its_bill_of_materials() {
    let file = release_file(&format!("aip-{}-image", version()), ".tar");
    let layout = Layout::open(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let architecture = Architecture::of_this_machine();
    let unpacked = unpack(&layout, architecture, &folder.path().join("root")).unwrap();
    let of_image = std::fs::read(unpacked.root.join("usr/bin/aip")).unwrap();
    let of_archive = std::fs::read(unpacked_archive().join("aip")).unwrap();
    assert!(of_image == of_archive, "another program");
    let index = layout.index().unwrap();
    let [_, sbom] = &index.manifests()[..] else {
        panic!("{index:?}");
    };
    let sbom: ImageManifest = layout.document(sbom).unwrap();
    let sbom = layout.blob(&sbom.layers()[0]).unwrap();
    let beside = release_file(&format!("aip-{}", version()), ".cdx.json");
    assert!(sbom == std::fs::read(beside).unwrap(), "another bill");
}

#[test]
fn programs_bring_completions_and_manual_pages() {
    let read = |path: &str| std::fs::read_to_string(unpacked_archive().join(path)).unwrap();
    for name in ["aip", "aip-deploy"] {
        for shell in ["bash", "fish", "zsh"] {
            assert!(read(&format!("completions/{name}.{shell}")).contains(name));
        }
        assert!(read(&format!("man/{name}.1")).contains(".TH"));
    }
    assert!(read("man/aip-clients-create.1").contains("redirect"));
    let check = run(Command::new("bash")
        .args(["-n"])
        .arg(unpacked_archive().join("completions/aip.bash")));
    assert_eq!(check, "");
}

#[test]
fn the_archive_brings_what_the_pages_name() {
    for path in [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "deploy/Caddyfile",
        "deploy/compose.yaml",
        "deploy/debian/aip.service",
        "deploy/observability/aip-alerts.yaml",
        "deploy/proxies/nginx.conf",
        "deploy/proxies/traefik.yaml",
        "deploy/rbac/aip-deploy.yaml",
    ] {
        assert!(unpacked_archive().join(path).is_file(), "{path}");
    }
}

#[test]
fn bills_of_materials_name_what_is_linked() {
    for (program, library) in [
        ("aip", "aws-lc-sys"),
        ("aip-deploy", "kube-client"),
        ("aip-sandbox", "axum"),
    ] {
        let path = release_file(&format!("{program}-{}", version()), ".cdx.json");
        let bill: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let components = bill["components"].as_array().unwrap();
        assert!(components.len() > 100, "{program}: {}", components.len());
        assert!(
            components.iter().any(|it| it["name"] == library),
            "{program}: {library}"
        );
        let names_machine = bill.to_string().contains("file://");
        assert!(!names_machine, "{program}: a folder of this machine");
    }
}

#[test]
fn the_change_log_is_that_of_the_version() {
    let log = std::fs::read_to_string(release_file("CHANGELOG.md", "")).unwrap();
    assert!(log.starts_with("## ["), "{log}");
    assert_eq!(log.matches("\n## [").count(), 0);
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../CHANGELOG.md");
    assert!(
        std::fs::read_to_string(whole)
            .unwrap()
            .contains(log.trim_end())
    );
}
