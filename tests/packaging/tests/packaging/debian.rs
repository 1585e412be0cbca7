//! The Debian packages: installed, started as their unit does, and removed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use packaging::{Service, free_port, release_file, run};
use tempfile::TempDir;

/// What `systemd-analyze security` may find at most: 10.0 is a service without any limit.
const MOST_EXPOSURE_TENTHS: &str = "15";

/// An empty system. Its dpkg belongs to whoever runs the test, and no script leaves it.
fn dpkg(root: &Path) -> Command {
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let status = root.join("var/lib/dpkg/status");
    if !status.exists() {
        std::fs::write(status, "").unwrap();
    }
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display())).args([
        "--force-script-chrootless",
        "--force-not-root",
        "--log=/dev/null",
    ]);
    dpkg
}

fn unit(root: &Path) -> String {
    std::fs::read_to_string(root.join("usr/lib/systemd/system/aip.service")).unwrap()
}

fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut lines = unit.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}"))
}

/// The variables of the unit, in this root.
fn variables(unit: &str, root: &Path) -> BTreeMap<String, String> {
    unit.lines()
        .filter_map(|line| line.strip_prefix("Environment="))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, path)| (name.to_owned(), format!("{}{path}", root.display())))
        .collect()
}

/// A command of the unit, in this root.
fn command(unit: &str, name: &str, root: &Path) -> tokio::process::Command {
    let mut words = value(unit, name).split(' ');
    let program = words.next().unwrap().trim_start_matches('/');
    let mut command = tokio::process::Command::new(root.join(program));
    command.args(words).env_clear().envs(variables(unit, root));
    command
}

#[tokio::test]
async fn aip_is_installed_started_by_its_unit_and_removed_without_its_data() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let package = release_file("aip_", ".deb");
    run(dpkg(root).arg("--install").arg(&package));
    let unit = unit(root);
    assert_eq!(value(&unit, "ExecReload"), "/bin/kill -HUP $MAINPID");

    let (port, internal) = (free_port(), free_port());
    let addresses = [
        ("AIP_LISTEN", format!("127.0.0.1:{port}")),
        ("AIP_INTERNAL_LISTEN", format!("127.0.0.1:{internal}")),
    ];
    std::fs::create_dir_all(root.join("var/lib/aip")).unwrap();
    let mut serve = command(&unit, "ExecStart", root);
    serve.envs(addresses.clone());
    let service = Service::start(serve, &root.join("log"), port).await;
    let mut check = command(&unit, "ExecStartPost", root);
    let status = check.envs(addresses).status().await.unwrap();
    assert!(status.success(), "{}", service.log());
    // The format of the log is what the installed configuration says.
    assert!(
        service.log().contains(r#""message":"serving""#),
        "{}",
        service.log()
    );
    drop(service);

    // Nobody but the administrator changes the configuration.
    let configuration = root.join("etc/aip/aip.toml");
    std::fs::write(&configuration, "[log]\nformat = \"pretty\"\n").unwrap();
    run(dpkg(root)
        .args(["--force-confold", "--install"])
        .arg(&package));
    assert!(
        std::fs::read_to_string(&configuration)
            .unwrap()
            .contains("pretty")
    );
    run(dpkg(root).args(["--remove", "aip"]));
    assert!(!root.join("usr/bin/aip").exists());
    assert!(configuration.exists());
    run(dpkg(root).args(["--purge", "aip"]));
    assert!(!configuration.exists());
    assert!(root.join("var/lib/aip/keys.json").exists());
}

#[test]
fn the_deployer_is_installed_with_its_completions_and_removed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    run(dpkg(root)
        .arg("--install")
        .arg(release_file("aip-deploy_", ".deb")));
    let said = run(Command::new(root.join("usr/bin/aip-deploy"))
        .arg("--version")
        .env_clear());
    assert!(said.starts_with("aip-deploy "), "{said}");
    for path in [
        "usr/share/bash-completion/completions/aip-deploy",
        "usr/share/man/man1/aip-deploy.1.gz",
        "usr/share/doc/aip-deploy/copyright",
    ] {
        assert!(root.join(path).is_file(), "{path}");
    }
    run(dpkg(root).args(["--purge", "aip-deploy"]));
    assert!(!root.join("usr/bin/aip-deploy").exists());
}

#[test]
fn the_unit_is_understood_by_systemd_and_leaves_the_service_few_rights() {
    let folder = TempDir::new().unwrap();
    run(dpkg(folder.path())
        .arg("--install")
        .arg(release_file("aip_", ".deb")));
    let unit = folder.path().join("usr/lib/systemd/system/aip.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    // The programs of a unit are looked for: here they are below the root of the test.
    let here = format!("{}/usr/bin/aip", folder.path().display());
    std::fs::write(&unit, text.replace("/usr/bin/aip", &here)).unwrap();
    let said = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&unit));
    assert!(!said.contains("Unknown"), "{said}");
    let mut security = Command::new("systemd-analyze");
    security.args([
        "security",
        "--no-pager",
        "--offline=true",
        "--threshold",
        MOST_EXPOSURE_TENTHS,
    ]);
    run(security.arg(&unit));
}

#[test]
fn packages_say_what_they_are() {
    for name in ["aip", "aip-deploy"] {
        let package = release_file(&format!("{name}_"), ".deb");
        let field = |field: &str| {
            let said = run(Command::new("dpkg-deb")
                .arg("--field")
                .arg(&package)
                .arg(field));
            said.trim().to_owned()
        };
        assert_eq!(field("Package"), name);
        assert_eq!(field("Version"), packaging::version().replace('-', "~"));
        assert_eq!(field("Depends"), "");
        let owners = run(Command::new("dpkg-deb").arg("--contents").arg(&package));
        assert!(
            owners.lines().all(|line| line.contains(" root/root ")),
            "{owners}"
        );
    }
}
