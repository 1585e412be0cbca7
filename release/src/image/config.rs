//! How a container of the image runs: entry point, user, variables, labels.

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, History, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    Os, RootFsBuilder,
};
use serde_json::{Value, json};

use crate::origin::{LICENSES, Origin};
use crate::program::Architecture;

/// The program.
pub const ENTRY_POINT: &str = "/usr/bin/aip";
/// What it does unless a container says something else.
pub(super) const COMMAND: &str = "serve";
/// User and group: a number that no machine gives to anybody, and the one that `aip-deploy` uses.
pub const USER_ID: u32 = 10_001;
/// Where a volume belongs, if there is no database elsewhere.
pub(super) const DATA_FOLDER: &str = "/data";
/// The public listener, and the one with metrics and probes.
pub const PORTS: [&str; 2] = ["8080/tcp", "9090/tcp"];
/// Variables of every container that does not set them itself.
pub(super) const VARIABLES: [(&str, &str); 4] = [
    ("AIP_DATA_DIR", DATA_FOLDER),
    ("HOME", DATA_FOLDER),
    ("HTTP_PORT", "8080"),
    ("PATH", "/usr/bin"),
];
/// Names of the labels (OCI image specification, annotations).
pub const LABELS: [&str; 6] = [
    "org.opencontainers.image.created",
    "org.opencontainers.image.description",
    "org.opencontainers.image.licenses",
    "org.opencontainers.image.revision",
    "org.opencontainers.image.title",
    "org.opencontainers.image.version",
];

const NANOSECONDS: u64 = 1_000_000_000;

/// The value of a label.
pub(super) fn label(name: &str, origin: &Origin) -> String {
    match name.rsplit('.').next().unwrap_or_default() {
        "created" => origin.rfc3339(),
        "description" => "Identity provider of the AT Protocol".to_owned(),
        "licenses" => LICENSES.to_owned(),
        "revision" => origin.commit.clone(),
        "version" => origin.version.clone(),
        _ => "aip".to_owned(),
    }
}

/// The configuration of the image whose only layer has this digest when it is not compressed.
pub(super) fn config(
    architecture: Architecture,
    diff_id: String,
    origin: &Origin,
) -> Result<Value> {
    let config = ConfigBuilder::default()
        .user(format!("{USER_ID}:{USER_ID}"))
        .exposed_ports(PORTS.map(str::to_owned).to_vec())
        .env(
            VARIABLES
                .map(|(name, value)| format!("{name}={value}"))
                .to_vec(),
        )
        .entrypoint(vec![ENTRY_POINT.to_owned()])
        .cmd(vec![COMMAND.to_owned()])
        .volumes(vec![DATA_FOLDER.to_owned()])
        .working_dir(DATA_FOLDER.to_owned())
        .labels(
            LABELS
                .map(|name| (name.to_owned(), label(name, origin)))
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        )
        .stop_signal("SIGTERM".to_owned())
        .build()?;
    let root = RootFsBuilder::default()
        .typ("layers".to_owned())
        .diff_ids(vec![diff_id])
        .build()?;
    let image: ImageConfiguration = ImageConfigurationBuilder::default()
        .created(origin.rfc3339())
        .architecture(oci_name(architecture))
        .os(Os::Linux)
        .config(config)
        .rootfs(root)
        .history(vec![history(origin)?])
        .build()?;
    let mut image = serde_json::to_value(image)?;
    // Docker's own field: the specification has none. Kubernetes has probes of its own.
    image
        .get_mut("config")
        .and_then(Value::as_object_mut)
        .context("an image has a configuration")?
        .insert("Healthcheck".to_owned(), health_check());
    Ok(image)
}

fn health_check() -> Value {
    json!({
        "Test": ["CMD", ENTRY_POINT, "healthcheck"],
        "Interval": 10 * NANOSECONDS,
        "Timeout": 5 * NANOSECONDS,
        "StartPeriod": 60 * NANOSECONDS,
        "Retries": 3,
    })
}

fn history(origin: &Origin) -> Result<History> {
    Ok(HistoryBuilder::default()
        .created(origin.rfc3339())
        .created_by("cargo xtask image".to_owned())
        .build()?)
}

pub(super) fn oci_name(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::Amd64 => Arch::Amd64,
        Architecture::Arm64 => Arch::ARM64,
    }
}
