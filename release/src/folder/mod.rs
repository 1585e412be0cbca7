//! A release folder: what an operator downloads.
//!
//! ```text
//! SHA256SUMS                            of every file below
//! CHANGELOG.md                          the section of this version
//! aip-0.1.0-linux-amd64.tar.gz          aip, aip-deploy, aip-sandbox, completions, manual pages
//! aip_0.1.0_amd64.deb                   aip with its systemd unit
//! aip-deploy_0.1.0_amd64.deb
//! aip-0.1.0-image.tar                   the container image, for every architecture
//! aip-0.1.0.cdx.json …                  bills of materials
//! ```

mod archive;
mod changelog;
mod debian;
mod generated;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use oci_layout::Layout;

use crate::image::hex;
use crate::origin::Origin;
use crate::program::{Architecture, Program};

const CHECKSUM_FILE: &str = "SHA256SUMS";
/// What a release consists of.
pub const PROGRAMS: [&str; 3] = ["aip", "aip-deploy", "aip-sandbox"];

/// What a release folder is made of.
pub struct Contents {
    /// Every program, once for each architecture.
    pub programs: Vec<Program>,
    /// The container image.
    pub image: Layout,
    /// Files with bills of materials, named for their program.
    pub sboms: Vec<PathBuf>,
    /// The checkout, for change log, licences and unit files.
    pub checkout: PathBuf,
    /// Version and commit.
    pub origin: Origin,
}

impl Contents {
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.checkout.join(path);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Writes the folder, in the place of a release folder that may be there.
pub fn write(folder: &Path, contents: &Contents) -> Result<()> {
    prepare(folder)?;
    let version = &contents.origin.version;
    let section = changelog::section(&String::from_utf8(contents.read("CHANGELOG.md")?)?, version)?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert("CHANGELOG.md".to_owned(), section.into_bytes());
    let image = contents.image.archive(contents.origin.epoch())?;
    files.insert(format!("aip-{version}-image.tar"), image);
    for sbom in &contents.sboms {
        let name = sbom.file_name().context("a file has a name")?;
        let name = name.to_string_lossy();
        let program = name
            .strip_suffix(".cdx.json")
            .context("no CycloneDX file")?;
        let content =
            std::fs::read(sbom).with_context(|| format!("cannot read {}", sbom.display()))?;
        files.insert(format!("{program}-{version}.cdx.json"), content);
    }
    for (architecture, programs) in by_architecture(contents)? {
        let generated = generated::from(&programs, contents)?;
        let name = format!("aip-{version}-linux-{}", architecture.name());
        let archive = archive::write(&name, &programs, &generated, contents)?;
        files.insert(format!("{name}.tar.gz"), archive);
        for package in debian::PACKAGES {
            let content = debian::build(package, architecture, &programs, &generated, contents)?;
            let architecture = architecture.name();
            let name = format!(
                "{}_{}_{architecture}.deb",
                package.name,
                debian::version(version)
            );
            files.insert(name, content);
        }
    }
    let mut sums = String::new();
    for (name, content) in &files {
        std::fs::write(folder.join(name), content)
            .with_context(|| format!("cannot write {name} to {}", folder.display()))?;
        writeln!(sums, "{}  {name}", hex(content))?;
    }
    // Last: a folder without it is not finished.
    Ok(std::fs::write(folder.join(CHECKSUM_FILE), sums)?)
}

/// Empties the folder, if it is one of ours.
fn prepare(folder: &Path) -> Result<()> {
    if folder.exists() {
        let empty = std::fs::read_dir(folder)?.next().is_none();
        if !empty && !folder.join(CHECKSUM_FILE).is_file() {
            bail!(
                "{} is no release folder, and is not replaced: choose another one",
                folder.display()
            );
        }
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Programs by name, for each architecture; all of them must be there.
fn by_architecture(
    contents: &Contents,
) -> Result<BTreeMap<Architecture, BTreeMap<&str, &Program>>> {
    let mut sorted: BTreeMap<Architecture, BTreeMap<&str, &Program>> = BTreeMap::new();
    for program in &contents.programs {
        let of_one = sorted.entry(program.architecture).or_default();
        let before = of_one.insert(&program.name, program);
        ensure!(before.is_none(), "{} was given twice", program.name);
    }
    for (architecture, programs) in &sorted {
        for name in PROGRAMS {
            let architecture = architecture.name();
            ensure!(
                programs.contains_key(name),
                "the program {name} for {architecture} is missing"
            );
        }
    }
    Ok(sorted)
}
