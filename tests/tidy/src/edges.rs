//! Which crate may use which: dependencies point from the rim to the core.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::checkout::{assert_clean, root};

/// Each package and the packages of this workspace it may use, core first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("aip-base", &[]),
    // Which commit a program is built from: a leaf that every program may use.
    ("aip-version", &[]),
    ("aip-atproto", &["aip-base"]),
    ("aip-jose", &["aip-base"]),
    // The events of the network; connections are handed in.
    ("aip-events", &["aip-atproto", "aip-base"]),
    // The AWS SDK behind `aip_base::Http`.
    ("aip-aws", &["aip-base"]),
    ("yaml-lossless", &[]),
    ("oci-layout", &[]),
    ("pulumi-files", &["aip-base", "yaml-lossless"]),
    (
        "aip-stack",
        &["aip-base", "aip-jose", "pulumi-files", "yaml-lossless"],
    ),
    (
        "aip-apply",
        &[
            "aip-aws",
            "aip-base",
            "aip-stack",
            "oci-layout",
            "pulumi-files",
            "yaml-lossless",
        ],
    ),
    (
        "aip-deploy",
        &[
            "aip-apply",
            "aip-aws",
            "aip-base",
            "aip-stack",
            "aip-version",
            "pulumi-files",
            "yaml-lossless",
        ],
    ),
    ("aip-keys", &["aip-base", "aip-jose"]),
    (
        "aip-storage",
        &["aip-atproto", "aip-base", "aip-jose", "aip-keys"],
    ),
    (
        "aip-pds",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-storage",
        ],
    ),
    (
        "aip-sessions",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-pds",
            "aip-storage",
        ],
    ),
    (
        "aip-oauth",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-storage",
        ],
    ),
    (
        "aip-xrpc",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-pds",
            "aip-sessions",
            "aip-storage",
        ],
    ),
    (
        "aip-http",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-oauth",
            "aip-pds",
            "aip-sessions",
            "aip-storage",
            "aip-xrpc",
        ],
    ),
    // Implementations, handed in by the binary.
    (
        "aip-storage-sql",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-storage",
        ],
    ),
    (
        "aip-shared-state",
        &["aip-atproto", "aip-base", "aip-pds", "aip-storage"],
    ),
    ("aip-outbound", &["aip-base"]),
    ("aip-listen", &["aip-base"]),
    ("aip-telemetry", &["aip-base"]),
    // Hands what another server holds to the storage, as sign-ins here would have.
    (
        "aip-import-v2",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-oauth",
            "aip-pds",
            "aip-storage",
        ],
    ),
    // Only `aip` imports the configuration; it knows the types of the crates, not the crates.
    ("aip-config", &["aip-atproto", "aip-base"]),
    (
        "aip",
        &[
            "aip-atproto",
            "aip-base",
            "aip-config",
            "aip-events",
            "aip-http",
            "aip-import-v2",
            "aip-jose",
            "aip-keys",
            "aip-listen",
            "aip-oauth",
            "aip-outbound",
            "aip-pds",
            "aip-sessions",
            "aip-shared-state",
            "aip-storage",
            "aip-storage-sql",
            "aip-telemetry",
            "aip-version",
            "aip-xrpc",
        ],
    ),
    // The program of the sandbox runs AIP beside its stand-ins, wired as `aip` wires itself;
    // nothing of it may reach `aip`.
    (
        "aip-sandbox",
        &[
            "aip",
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-listen",
            "aip-oauth",
            "aip-outbound",
            "aip-pds",
            "aip-sessions",
            "aip-shared-state",
            "aip-storage",
            "aip-storage-sql",
            "aip-version",
        ],
    ),
    // Development only: what tests of several crates share.
    ("aip-testkit", &["aip-atproto", "aip-base", "aip-storage"]),
    // Images and release folders, made of programs that are built.
    ("release", &["aip-version", "oci-layout"]),
    // Development only: a Kubernetes cluster in a test.
    (
        "cluster",
        &["aip-apply", "aip-base", "release", "yaml-lossless"],
    ),
    // Programs, databases and people for those who look at AIP from outside.
    ("harness", &["aip-sandbox"]),
    // Measures release builds from outside, with the stand-ins around them.
    (
        "bench",
        &[
            "aip-atproto",
            "aip-base",
            "aip-jose",
            "aip-keys",
            "aip-sandbox",
            "cluster",
            "harness",
        ],
    ),
    // Replicas under faults, with the stand-ins or a real PDS around them.
    (
        "chaos",
        &[
            "aip-atproto",
            "aip-base",
            "aip-sandbox",
            "aip-testkit",
            "harness",
        ],
    ),
    // What operators are given, tried out from the release folder.
    (
        "packaging",
        &[
            "aip-sandbox",
            "aip-testkit",
            "cluster",
            "harness",
            "release",
            "yaml-lossless",
        ],
    ),
    ("tidy", &[]),
    ("xtask", &[]),
];

/// Packages that only tests may use.
const DEVELOPMENT: &[&str] = &["aip-sandbox", "aip-testkit", "cluster"];

/// Implementations that tests of inner crates may be run on.
const IMPLEMENTATIONS: &[&str] = &["aip-outbound", "aip-storage-sql"];

/// Packages that a crate does not use itself, because of what it must not know.
const FORBIDDEN: &[(&str, &[&str])] = &[
    // Pure: no cluster, no runtime, no command line.
    ("yaml-lossless", &["clap", "kube", "tokio"]),
    (
        "aip-stack",
        &[
            "anstyle",
            "clap",
            "console",
            "kube",
            "object_store",
            "tokio",
        ],
    ),
    // It reports and never prints: no command line, no colours.
    ("aip-apply", &["anstyle", "clap", "console"]),
];

/// Packages that are nowhere below a crate, whatever is in between.
const FORBIDDEN_BELOW: &[(&str, &[&str])] = &[(
    "aip-stack",
    &[
        "aws-config",
        "hyper",
        "kube-client",
        "object_store",
        "tokio",
    ],
)];

/// A dependency of one workspace package on another.
struct Edge {
    from: String,
    to: String,
    dev: bool,
}

struct Workspace {
    packages: BTreeSet<String>,
    edges: Vec<Edge>,
    /// Dependencies on packages of other people.
    external: Vec<Edge>,
}

fn workspace() -> Workspace {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let list = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages: BTreeSet<String> = list.iter().map(&name).collect();
    let (edges, external) = list
        .iter()
        .flat_map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            dependencies.iter().map(|dependency| Edge {
                from: name(package),
                to: name(dependency),
                dev: dependency["kind"] == "dev",
            })
        })
        .partition(|edge| packages.contains(&edge.to));
    Workspace {
        packages,
        edges,
        external,
    }
}

fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    ALLOWED.iter().copied().collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let allowed = allowed();
    let findings: Vec<String> = workspace()
        .edges
        .iter()
        .filter(|edge| {
            let to = edge.to.as_str();
            !(edge.dev && (DEVELOPMENT.contains(&to) || IMPLEMENTATIONS.contains(&to)))
        })
        .filter(|edge| {
            !allowed
                .get(edge.from.as_str())
                .is_some_and(|to| to.contains(&edge.to.as_str()))
        })
        .map(|edge| format!("{} uses {}", edge.from, edge.to))
        .collect();
    assert_clean(
        &findings,
        "hand the thing in through a trait of the inner crate; a new edge that keeps the direction \
         goes into ALLOWED in tests/tidy/src/edges.rs",
    );
}

#[test]
fn crates_do_not_use_what_they_must_not_know() {
    let forbidden: BTreeMap<&str, &[&str]> = FORBIDDEN.iter().copied().collect();
    let findings: Vec<String> = workspace()
        .external
        .iter()
        .filter(|edge| !edge.dev)
        .filter(|edge| {
            forbidden
                .get(edge.from.as_str())
                .is_some_and(|names| names.contains(&edge.to.as_str()))
        })
        .map(|edge| format!("{} uses {}", edge.from, edge.to))
        .collect();
    assert_clean(
        &findings,
        "move what needs it into the crate that calls this one; the reasons are beside FORBIDDEN in \
         tests/tidy/src/edges.rs",
    );
}

#[test]
fn nothing_below_a_pure_crate_needs_a_runtime_a_cluster_or_the_network() {
    let mut findings = Vec::new();
    for (package, forbidden) in FORBIDDEN_BELOW {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--edges=normal", "--prefix=none"])
            .args(["--package", package])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8(output.stdout).expect("cargo prints text");
        assert!(tree.starts_with(package), "cargo tree: {tree}");
        let below: BTreeSet<&str> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let found = forbidden.iter().filter(|name| below.contains(**name));
        findings.extend(found.map(|name| format!("{name} is below {package}")));
    }
    assert_clean(
        &findings,
        "hand the thing in through a trait; `cargo tree -p CRATE -e normal -i NAME` shows the way to it",
    );
}

#[test]
fn the_table_names_every_room_and_no_other() {
    let packages = workspace().packages;
    let allowed = allowed();
    let unknown = packages
        .iter()
        .filter(|package| !allowed.contains_key(package.as_str()))
        .map(|package| format!("{package} is not in the table"));
    let gone = allowed
        .keys()
        .filter(|name| !packages.contains(**name))
        .map(|name| format!("{name} is in the table and nowhere else"));
    assert_clean(
        &unknown.chain(gone).collect::<Vec<_>>(),
        "edit ALLOWED in tests/tidy/src/edges.rs",
    );
}

#[test]
fn the_table_has_no_cycle() {
    for (at, (name, uses)) in ALLOWED.iter().enumerate() {
        let earlier: BTreeSet<&str> = ALLOWED[..at].iter().map(|(name, _)| *name).collect();
        for used in *uses {
            assert!(
                earlier.contains(used),
                "{name} may use {used}, which stands after it: order ALLOWED core first"
            );
        }
    }
}

#[test]
fn the_program_contains_nothing_that_is_for_tests() {
    let edges = workspace().edges;
    let mut reached: BTreeSet<&str> = BTreeSet::from(["aip"]);
    loop {
        let more: BTreeSet<&str> = edges
            .iter()
            .filter(|edge| !edge.dev && reached.contains(edge.from.as_str()))
            .map(|edge| edge.to.as_str())
            .filter(|to| !reached.contains(to))
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    for name in DEVELOPMENT {
        assert!(
            !reached.contains(name),
            "`aip` depends on {name}: make it a dev-dependency"
        );
    }
}
