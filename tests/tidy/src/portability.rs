//! Nothing in the repository ties it to one machine or to one package mirror.

use crate::checkout::{assert_clean, root, texts};

/// The index every lock file must name, whatever mirror it was made through.
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn the_lock_file_names_no_mirror() {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    let findings: Vec<String> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| package.get("source")?.as_str())
        .filter(|source| *source != INDEX)
        .map(str::to_owned)
        .collect();
    assert_clean(
        &findings,
        "replace the source by that of the index, or drop the dependency",
    );
}

#[test]
fn packages_of_node_and_python_name_no_download_address() {
    let mut findings = Vec::new();
    for text in texts() {
        let needles: &[&str] = match text.path.rsplit('/').next().unwrap_or_default() {
            "package-lock.json" => &["\"resolved\": \"http"],
            "package.json" => &["://"],
            "requirements.txt" => &["://", "--index-url", "--extra-index-url", "--find-links"],
            _ => continue,
        };
        for needle in needles {
            for line in text.lines_with(needle) {
                findings.push(format!("{}: line {line}: {needle}", text.path));
            }
        }
    }
    assert_clean(
        &findings,
        "npm: `npm install --omit-lockfile-registry-resolved`; pip: versions only",
    );
}

#[test]
fn no_file_configures_a_package_source() {
    let named = [".npmrc", ".yarnrc", "pip.conf"];
    let mut findings: Vec<String> = texts()
        .iter()
        .filter(|text| named.iter().any(|name| text.path.ends_with(name)))
        .map(|text| text.path.clone())
        .collect();
    findings.extend(
        texts()
            .iter()
            .filter(|text| text.path.contains(".cargo/"))
            .filter(|text| text.content.contains("[source") || text.content.contains("[registries"))
            .map(|text| text.path.clone()),
    );
    assert_clean(
        &findings,
        "sources of packages are a matter of the machine: configure them in the home folder",
    );
}

#[test]
fn no_file_names_a_folder_of_somebodys_machine() {
    // Put together here, or this file would be a finding.
    let needles = [
        ["/ro", "ot/"],
        ["/wo", "rk/"],
        ["/ho", "me/"],
        ["/Us", "ers/"],
    ]
    .map(|n| n.concat());
    let mut findings = Vec::new();
    for text in texts() {
        for needle in &needles {
            for (line, number) in text.content.lines().zip(1..) {
                // A longer path or a URL may contain the word as an inner folder.
                let starts = line.match_indices(needle.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}.-_".contains(c))
                });
                if starts {
                    findings.push(format!("{}: line {number}: {needle}", text.path));
                }
            }
        }
    }
    assert_clean(&findings, "use a relative path or a setting");
}
