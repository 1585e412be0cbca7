//! The commands of the page about this program work: every block is run as it stands, but those
//! that say why they are not.

use std::path::Path;
use std::process::Command;

use crate::test_project::TestProject;

const FENCE: &str = "```sh";
const MARK: &str = "<!-- not run: ";

const KEYS: &str = r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d","aip_purpose":"upstream",
    "aip_state":"active"},{"kid":"k2","kty":"RSA","aip_purpose":"oidc","aip_state":"active"}]}"#;
const MASTER_KEYS: &str = r#"{"primary":"m","keys":[{"kid":"m","key":"k"}],"token_pepper":"p"}"#;

/// The blocks of a page that are run.
fn blocks(page: &str) -> Vec<String> {
    let lines: Vec<&str> = page.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at] != FENCE {
            at += 1;
            continue;
        }
        let end = at + lines[at..].iter().position(|line| *line == "```").unwrap();
        let reason = at.checked_sub(1).and_then(|before| {
            let reason = lines[before].strip_prefix(MARK)?.strip_suffix("-->")?;
            Some(reason.trim())
        });
        assert!(reason != Some(""), "a block that is not run says why");
        if reason.is_none() {
            blocks.push(lines[at + 1..end].join("\n"));
        }
        at = end;
    }
    blocks
}

fn page(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    blocks(&std::fs::read_to_string(path.join(name)).unwrap())
}

/// Runs the blocks in an empty folder that has the keys which `aip` made.
fn run(blocks: &[String]) -> (TestProject, String) {
    let project = TestProject::empty();
    let folder = project.folder.path();
    std::fs::remove_file(folder.join("Pulumi.yaml")).unwrap();
    std::fs::remove_dir(folder.join("state")).unwrap();
    std::fs::create_dir(folder.join("aip-data")).unwrap();
    std::fs::write(folder.join("aip-data/keys.json"), KEYS).unwrap();
    std::fs::write(folder.join("aip-data/master-keys.json"), MASTER_KEYS).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_aip-deploy"))
        .parent()
        .unwrap();
    let output = Command::new("/bin/sh")
        .args(["-eux", "-c", &blocks.join("\n")])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("HOME", folder)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (project, said)
}

#[test]
fn the_walk_through_ends_in_a_complete_configuration_whichever_way_people_come_in() {
    let all = page("aip-deploy.md");
    for (without, objects) in [
        ("ssl_cert_arn", "PodMonitor"),
        ("trusted_proxies", "LoadBalancer"),
    ] {
        let way: Vec<String> = all
            .iter()
            .filter(|block| !block.contains(without))
            .cloned()
            .collect();
        assert_eq!(way.len(), all.len() - 1, "{without} is in one block");
        let (project, said) = run(&way);
        assert!(
            said.contains("the configuration of stack 'main' is complete"),
            "{said}"
        );
        assert!(!said.contains("note: aip_config.trusted_proxies"), "{said}");
        let rendered = project.run(&["render"]).ok().out;
        assert!(rendered.contains(objects), "{rendered}");
        assert!(
            !project.text("main").contains("password@"),
            "secrets are encrypted"
        );
    }
}

#[test]
fn the_page_about_gitops_goes_on_where_the_walk_through_ends() {
    let mut way = page("aip-deploy.md");
    way.retain(|block| !block.contains("ssl_cert_arn"));
    let rendering = page("gitops.md");
    assert_eq!(rendering.len(), 1);
    way.extend(rendering);
    let (project, _) = run(&way);
    let rendered = project.folder.path().join("gitops/aip.yaml");
    let rendered = std::fs::read_to_string(rendered).unwrap();
    assert_eq!(rendered.matches("kind: ExternalSecret\n").count(), 3);
    assert!(!rendered.contains("kind: Secret\n"));
}

#[test]
fn the_page_about_tilt_ends_in_a_complete_configuration() {
    let (project, said) = run(&page("tilt.md"));
    let complete = "the configuration of stack 'dev' is complete";
    assert!(said.contains(complete), "{said}");
    assert!(!said.contains("note: "), "{said}");
    let rendered = project.run(&["render", "--stack", "dev"]).ok().out;
    assert!(rendered.contains("replicas: 1\n"), "{rendered}");
}

#[test]
fn the_page_about_dependencies_goes_on_where_the_walk_through_ends() {
    let mut way = page("aip-deploy.md");
    way.retain(|block| !block.contains("ssl_cert_arn"));
    let settings = page("dependencies.md");
    assert_eq!(settings.len(), 4);
    way.extend(settings);
    let (project, said) = run(&way);
    assert!(
        said.contains("the configuration of stack 'main' is complete"),
        "{said}"
    );
    let rendered = project.run(&["render"]).ok().out;
    for kind in ["Cluster", "ScheduledBackup", "StatefulSet"] {
        let line = format!("kind: {kind}\n");
        assert_eq!(rendered.matches(&line).count(), 1, "{rendered}");
    }
}

#[test]
fn blocks_are_run_unless_they_say_why_not() {
    let page = "```sh\none\n```\ntext\n<!-- not run: because -->\n```sh\ntwo\n```\n```text\nno\n```\n```sh\nthree\nfour\n```\n";
    assert_eq!(blocks(page), ["one", "three\nfour"]);
}
