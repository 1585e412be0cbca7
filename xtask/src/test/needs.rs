//! What the suites need of the machine: found, installed with Debian's packages when we may, else
//! listed. Nothing is skipped because something is missing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Suite;
use crate::{process, say};

/// Something a machine must have.
struct Need {
    what: &'static str,
    /// Suites that cannot run without it.
    suites: &'static [Suite],
    present: fn() -> bool,
    /// Packages of Debian 12 that bring it; none where Debian's version is too old.
    debian: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        what: "C and C++ compilers with make",
        suites: &[
            Suite::Unit,
            Suite::Stories,
            Suite::E2e,
            Suite::Chaos,
            Suite::Cluster,
            Suite::Packaging,
        ],
        present: || ["cc", "g++", "make"].iter().all(|name| on_path(name)),
        debian: &["build-essential"],
    },
    Need {
        what: "PostgreSQL server",
        suites: &[
            Suite::Unit,
            Suite::Stories,
            Suite::Chaos,
            Suite::Cluster,
            Suite::Packaging,
        ],
        present: || on_path("initdb") || debian_postgres().next().is_some(),
        debian: &["postgresql"],
    },
    Need {
        what: "PgBouncer",
        suites: &[Suite::Unit, Suite::Stories],
        // Debian keeps it where the `PATH` of most users does not lead.
        present: || on_path("pgbouncer") || Path::new("/usr/sbin/pgbouncer").is_file(),
        debian: &["pgbouncer"],
    },
    Need {
        what: "Valkey or Redis server",
        suites: &[
            Suite::Unit,
            Suite::Stories,
            Suite::Chaos,
            Suite::Cluster,
            Suite::Packaging,
        ],
        present: || on_path("redis-server"),
        debian: &["redis-server"],
    },
    Need {
        what: "nginx",
        suites: &[Suite::Packaging, Suite::Cluster],
        // Debian keeps it where the `PATH` of most users does not lead.
        present: || on_path("nginx") || Path::new("/usr/sbin/nginx").is_file(),
        debian: &["nginx-light"],
    },
    Need {
        what: "curl",
        suites: &[Suite::Packaging],
        present: || on_path("curl"),
        debian: &["curl"],
    },
    Need {
        what: "Caddy",
        suites: &[Suite::Packaging],
        present: || on_path("caddy"),
        debian: &["caddy"],
    },
    Need {
        what: "Debian's package tools",
        suites: &[Suite::Packaging],
        present: || on_path("dpkg-deb"),
        debian: &["dpkg"],
    },
    Need {
        what: "systemd-analyze",
        suites: &[Suite::Packaging],
        present: || on_path("systemd-analyze"),
        debian: &["systemd"],
    },
    Need {
        what: "libfaketime",
        suites: &[Suite::Chaos],
        present: || on_path("faketime"),
        debian: &["faketime"],
    },
    Need {
        what: "Chromium",
        suites: &[Suite::E2e],
        present: || on_path("chromium"),
        debian: &["chromium"],
    },
    Need {
        what: "OpenSSL command line",
        suites: &[Suite::E2e],
        present: || on_path("openssl"),
        debian: &["openssl"],
    },
    Need {
        what: "Node.js 20 or newer with npm",
        suites: &[Suite::E2e, Suite::Chaos],
        present: || {
            on_path("npm")
                && process::succeeds(process::command("node").args([
                    "-e",
                    "process.exit(Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)",
                ]))
        },
        debian: &[],
    },
    Need {
        what: "Python 3.11 or newer with venv",
        suites: &[Suite::E2e, Suite::Chaos, Suite::Cluster, Suite::Packaging],
        present: || {
            process::succeeds(process::command("python3").args([
                "-c",
                "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))",
            ]))
        },
        debian: &["python3", "python3-venv"],
    },
    Need {
        what: "JDK 17 or newer with Maven",
        suites: &[Suite::E2e, Suite::Chaos],
        present: || ["javac", "mvn"].iter().all(|name| on_path(name)),
        debian: &["default-jdk-headless", "maven"],
    },
];

/// Makes sure that everything the suites need is there.
pub(super) fn provide(suites: &[Suite]) -> Result<()> {
    let missing = missing(suites);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.debian.iter().copied())
        .collect();
    if !packages.is_empty() && on_path("apt-get") && is_root() {
        let apt = || {
            let mut apt = process::command("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        process::run(apt().args(["update", "--quiet"]))?;
        process::run(
            apt()
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .args(&packages),
        )?;
    }
    report(&self::missing(suites))
}

fn missing(suites: &[Suite]) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| need.suites.iter().any(|suite| suites.contains(suite)))
        .filter(|need| !(need.present)())
        .collect()
}

fn report(missing: &[&Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    say::line("This machine lacks:");
    for need in missing {
        let packages = need.debian.join(" ");
        let hint = if packages.is_empty() {
            "no package of Debian 12 is new enough".to_owned()
        } else {
            format!("as root: apt-get install {packages}")
        };
        say::line(&format!("  - {} ({hint})", need.what));
    }
    bail!("{} missing; nothing was run", missing.len())
}

/// Folders of Debian's PostgreSQL servers, newest first.
pub(super) fn debian_postgres() -> impl Iterator<Item = PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    folders.sort();
    folders.into_iter().rev()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    process::output(process::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
