//! `deploy/Dockerfile` yields the image that `cargo xtask image` writes. No daemon runs here: its files
//! come from that command, and the rest is compared with the configuration of the image.

use std::collections::{BTreeMap, BTreeSet};

use packaging::unpacked_image;

const DOCKERFILE: &str = include_str!("../../../../deploy/Dockerfile");

/// Instructions of the last stage, with their arguments on one line.
fn instructions() -> Vec<(String, String)> {
    let text = DOCKERFILE.replace("\\\n", " ");
    let (_, last) = text.split_once("FROM scratch\n").unwrap();
    last.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            let rest: Vec<&str> = rest.split_whitespace().collect();
            (name.to_owned(), rest.join(" "))
        })
        .collect()
}

fn only(name: &str) -> String {
    let mut found = instructions().into_iter().filter(|(it, _)| it == name);
    let (_, arguments) = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    arguments
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap()
}

fn names(pairs: &str) -> BTreeSet<String> {
    let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_dockerfile_yields_the_same_image() {
    let config = unpacked_image().config.config().clone().unwrap();
    assert_eq!(Some(words(&only("ENTRYPOINT"))), *config.entrypoint());
    assert_eq!(Some(words(&only("CMD"))), *config.cmd());
    assert_eq!(Some(only("USER")), *config.user());
    assert_eq!(Some(only("WORKDIR")), *config.working_dir());
    assert_eq!(Some(only("STOPSIGNAL")), *config.stop_signal());
    assert_eq!(Some(vec![only("VOLUME")]), *config.volumes());
    let ports: BTreeSet<String> = only("EXPOSE").split(' ').map(str::to_owned).collect();
    let exposed = config.exposed_ports().clone().unwrap();
    assert_eq!(ports, exposed.into_iter().collect());
    let variables: BTreeSet<String> = only("ENV").split(' ').map(str::to_owned).collect();
    let expected = config.env().clone().unwrap();
    assert_eq!(variables, expected.into_iter().collect());
    let labels: BTreeMap<_, _> = config.labels().clone().unwrap().into_iter().collect();
    let labels: BTreeSet<String> = labels.into_keys().collect();
    let written = names(&only("LABEL"));
    let written: BTreeSet<String> = written
        .into_iter()
        .filter(|name| name.starts_with("org."))
        .collect();
    assert_eq!(written, labels);
    let health = only("HEALTHCHECK");
    assert!(
        health.ends_with(r#"CMD ["/usr/bin/aip", "healthcheck"]"#),
        "{health}"
    );
}

#[test]
fn its_files_are_those_of_the_image() {
    assert!(DOCKERFILE.contains("RUN cargo xtask image --files /image"));
    let copied: Vec<String> = instructions()
        .into_iter()
        .filter(|(name, _)| name == "COPY" || name == "ADD")
        .map(|(_, arguments)| arguments)
        .collect();
    assert_eq!(
        copied,
        [
            "--from=build /image/ /",
            "--from=build --chown=10001:10001 /image/data/ /data/"
        ]
    );
    assert!(!instructions().iter().any(|(name, _)| name == "RUN"));
}
