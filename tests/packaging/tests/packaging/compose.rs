//! `deploy/compose.yaml`. No daemon runs here: the file is read, and what each container would be told
//! is checked with the program that it would run.

use std::collections::BTreeMap;
use std::process::Command;

use aip_testkit::valkey::{ValkeyServer, free_ports};
use packaging::{run, unpacked_archive, unpacked_image};
use tempfile::TempDir;
use yaml_lossless::{Content, Document, Node};

/// What `.env` says in the guide.
const SET: [(&str, &str); 3] = [
    ("AIP_IMAGE", "registry.example.org/aip:v0.1.0"),
    ("AIP_DOMAIN", "id.example.org"),
    ("POSTGRES_PASSWORD", "f00d"),
];

fn document() -> Document {
    let path = unpacked_archive().join("deploy/compose.yaml");
    Document::parse(std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What compose makes of `${NAME:?why}`; nothing may be left unset.
fn interpolated(text: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}').unwrap();
        let (name, why) = variable
            .split_once(":?")
            .expect("a variable that must be set");
        assert!(!why.is_empty());
        let value = SET.iter().find(|(it, _)| *it == name);
        done.push_str(before);
        done.push_str(value.unwrap_or_else(|| panic!("{name} is in no guide")).1);
        rest = after;
    }
    done + rest
}

fn text(node: &Node) -> String {
    interpolated(&node.scalar().expect("a single value").text)
}

fn list(node: &Node) -> Vec<String> {
    let Content::List(items) = &node.content else {
        panic!("line {}: no list", node.line)
    };
    items.iter().map(text).collect()
}

fn map(node: &Node) -> BTreeMap<String, String> {
    node.entries()
        .map(|(name, value)| (name.to_owned(), text(value)))
        .collect()
}

fn service(document: &Document, name: &str) -> Node {
    let services = document.root().get("services").unwrap();
    services.get(name).unwrap().clone()
}

#[test]
fn the_container_of_aip_is_told_what_aip_knows() {
    let document = document();
    let aip = service(&document, "aip");
    let variables = map(aip.get("environment").unwrap());
    let folder = TempDir::new().unwrap();
    let program = unpacked_image().root.join("usr/bin/aip");
    let image = unpacked_image().config.config().clone().unwrap();
    let of_image: BTreeMap<String, String> = image
        .env()
        .iter()
        .flatten()
        .filter_map(|it| it.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let aip_with = |words: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(words)
            .env_clear()
            .envs(&of_image)
            .envs(&variables)
            .env("AIP_DATA_DIR", folder.path())
            .current_dir(folder.path());
        run(&mut command)
    };
    // Names that AIP does not know are errors, and those without effect are warnings.
    let said = aip_with(&["config", "check"]);
    assert!(!said.contains("warning"), "{said}");
    let shown = aip_with(&["config", "show", "--output", "json"]);
    for (setting, expected) in [
        ("server.external_base", "https://id.example.org"),
        ("server.listen", "0.0.0.0:8080"),
    ] {
        let settings: Vec<serde_json::Value> = serde_json::from_str(&shown).unwrap();
        let found = settings.iter().find(|it| it["setting"] == setting).unwrap();
        assert_eq!(found["value"], expected);
    }
    let command = list(aip.get("command").unwrap());
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    aip_with(&[&words[..], &["--help"]].concat());
    let check = list(aip.get("healthcheck").unwrap().get("test").unwrap());
    assert_eq!(check, ["CMD", "/usr/bin/aip", "healthcheck"]);
}

#[test]
fn the_container_of_aip_has_the_rights_of_the_image_and_a_place_for_its_data() {
    let document = document();
    let aip = service(&document, "aip");
    let image = unpacked_image().config.config().clone().unwrap();
    assert_eq!(Some(text(aip.get("user").unwrap())), *image.user());
    assert_eq!(text(aip.get("read_only").unwrap()), "true");
    assert_eq!(list(aip.get("cap_drop").unwrap()), ["ALL"]);
    let volumes = list(aip.get("volumes").unwrap());
    assert_eq!(volumes, ["aip-data:/data"]);
    assert_eq!(*image.volumes(), Some(vec!["/data".to_owned()]));
}

#[test]
fn every_volume_network_and_container_that_is_named_exists() {
    let document = document();
    let root = document.root();
    let names = |section: &str| -> Vec<String> {
        let section = root.get(section).unwrap();
        section.entries().map(|(name, _)| name.to_owned()).collect()
    };
    let (services, volumes, networks) = (names("services"), names("volumes"), names("networks"));
    assert_eq!(services, ["aip", "postgres", "valkey", "caddy"]);
    for name in &services {
        let service = service(&document, name);
        for volume in service.get("volumes").map(list).unwrap_or_default() {
            let source = volume.split(':').next().unwrap();
            let file = unpacked_archive().join("deploy").join(source);
            let known = volumes.iter().any(|it| it == source);
            assert!(
                known || (source.starts_with("./") && file.is_file()),
                "{volume}"
            );
        }
        for network in list(service.get("networks").unwrap()) {
            assert!(networks.contains(&network), "{network}");
        }
        let waited_for = service.get("depends_on").map(|it| it.entries().count());
        for (other, _) in service.get("depends_on").iter().flat_map(|it| it.entries()) {
            assert!(services.iter().any(|it| it == other), "{other}");
            assert!(self::service(&document, other).get("healthcheck").is_some());
        }
        assert!(waited_for != Some(0));
    }
}

#[test]
fn only_caddy_is_reached_from_outside_and_its_network_is_the_trusted_one() {
    let document = document();
    for name in ["aip", "postgres", "valkey"] {
        assert!(service(&document, name).get("ports").is_none(), "{name}");
    }
    let networks = document.root().get("networks").unwrap();
    let Content::List(pools) = &networks
        .get("edge")
        .unwrap()
        .get("ipam")
        .unwrap()
        .get("config")
        .unwrap()
        .content
    else {
        panic!("no list")
    };
    let variables = map(service(&document, "aip").get("environment").unwrap());
    let subnet = text(pools[0].get("subnet").unwrap());
    assert_eq!(variables["AIP_TRUSTED_PROXIES"], subnet);
    let members = ["aip", "postgres", "valkey", "caddy"]
        .into_iter()
        .filter(|name| {
            let networks = list(service(&document, name).get("networks").unwrap());
            networks.contains(&"edge".to_owned())
        });
    assert_eq!(members.collect::<Vec<_>>(), ["aip", "caddy"]);
    assert_eq!(
        text(networks.get("storage").unwrap().get("internal").unwrap()),
        "true"
    );
    let caddy = map(service(&document, "caddy").get("environment").unwrap());
    assert_eq!(caddy["AIP_UPSTREAM"], "aip:8080");
    assert_eq!(caddy["AIP_DOMAIN"], "id.example.org");
}

#[tokio::test]
async fn the_database_is_made_as_its_url_says_and_valkey_takes_its_options() {
    let document = document();
    let database = map(service(&document, "postgres").get("environment").unwrap());
    let url = format!(
        "postgres://{}:{}@postgres/{}",
        database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"]
    );
    let variables = map(service(&document, "aip").get("environment").unwrap());
    assert_eq!(variables["AIP_DATABASE_URL"], url);
    let known = ["POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_USER"];
    assert_eq!(database.keys().collect::<Vec<_>>(), known);

    let command = list(service(&document, "valkey").get("command").unwrap());
    assert_eq!(command[0], "valkey-server");
    // Debian 12 has Redis, from which Valkey has these options.
    let options: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    let [port] = free_ports();
    let valkey = ValkeyServer::listening(port, &options).await;
    let check = list(
        service(&document, "valkey")
            .get("healthcheck")
            .unwrap()
            .get("test")
            .unwrap(),
    );
    assert_eq!(valkey.cli(&[&check[2]]).await.trim(), "PONG");
}
