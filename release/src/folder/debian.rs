//! Debian packages, built by `dpkg-deb` (deb(5), deb-control(5)).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Contents;
use super::generated::Generated;
use crate::image::{compress, hex};
use crate::origin::{LICENSES, Origin};
use crate::program::{Architecture, Program};

/// Where the files of packages are in the checkout.
const SOURCES: &str = "deploy/debian";
const MAINTAINER: &str = "The AIP contributors <aip@localhost>";

pub(super) struct Package {
    /// Its name, which is that of its program.
    pub(super) name: &'static str,
    description: &'static str,
    /// Files of `deploy/debian`, and where they belong.
    files: &'static [(&'static str, &'static str)],
    /// Files that belong to the administrator once they are installed (deb-conffiles(5)).
    configuration: &'static [&'static str],
    /// Scripts that dpkg runs (deb-postinst(5) and so on), of `deploy/debian`.
    scripts: &'static [&'static str],
}

/// The packages of a release.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "aip",
        description: "identity provider of the AT Protocol",
        files: &[
            ("aip.service", "usr/lib/systemd/system/aip.service"),
            ("aip.sysusers", "usr/lib/sysusers.d/aip.conf"),
            ("aip.toml", "etc/aip/aip.toml"),
        ],
        configuration: &["/etc/aip/aip.toml"],
        scripts: &["postinst", "prerm", "postrm"],
    },
    Package {
        name: "aip-deploy",
        description: "deploys AIP on Kubernetes",
        files: &[],
        configuration: &[],
        scripts: &[],
    },
];

/// A version as Debian orders it: a pre-release comes before its release (deb-version(7)).
pub(super) fn version(version: &str) -> String {
    version.replace('-', "~")
}

/// Builds the package.
pub(super) fn build(
    package: &Package,
    architecture: Architecture,
    programs: &BTreeMap<&str, &Program>,
    generated: &Generated,
    contents: &Contents,
) -> Result<Vec<u8>> {
    let mut files = files(package, programs, generated, contents)?;
    let control = control(package, architecture, &files, &contents.origin)?;
    let sums = files.iter().fold(String::new(), |mut sums, (path, file)| {
        // Writing to a String does not fail.
        let _ = writeln!(sums, "{}  {path}", hex(&file.content));
        sums
    });
    files.insert("DEBIAN/sha256sums".to_owned(), File::text(sums));
    files.insert("DEBIAN/control".to_owned(), File::text(control));
    if !package.configuration.is_empty() {
        let list = format!("{}\n", package.configuration.join("\n"));
        files.insert("DEBIAN/conffiles".to_owned(), File::text(list));
    }
    for script in package.scripts {
        let content = contents.read(&format!("{SOURCES}/{script}"))?;
        files.insert(format!("DEBIAN/{script}"), File::program(content));
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    for (path, file) in &files {
        file.write(&root.join(path))?;
    }
    let path = folder.path().join("package.deb");
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zgzip", "--build"])
        .args([&root, &path])
        .env("SOURCE_DATE_EPOCH", contents.origin.epoch().to_string())
        .output()
        .context("cannot run dpkg-deb, of Debian's package `dpkg`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("dpkg-deb did not build {}: {said}", package.name);
    }
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Everything that the package installs, by its path.
fn files(
    package: &Package,
    programs: &BTreeMap<&str, &Program>,
    generated: &Generated,
    contents: &Contents,
) -> Result<BTreeMap<String, File>> {
    let name = package.name;
    let mut files = BTreeMap::new();
    let program = programs
        .get(name)
        .with_context(|| format!("no program {name}"))?;
    files.insert(
        format!("usr/bin/{name}"),
        File::program(program.bytes.clone()),
    );
    for (source, path) in package.files {
        let content = contents.read(&format!("{SOURCES}/{source}"))?;
        files.insert((*path).to_owned(), File::data(content));
    }
    let description = generated
        .get(name)
        .with_context(|| format!("no pages of {name}"))?;
    for (page, text) in &description.pages {
        let path = format!("usr/share/man/man1/{page}.1.gz");
        files.insert(path, File::data(compress(text)?));
    }
    for (shell, script) in &description.completions {
        let path = match *shell {
            "bash" => format!("bash-completion/completions/{name}"),
            "fish" => format!("fish/vendor_completions.d/{name}.fish"),
            _ => format!("zsh/vendor-completions/_{name}"),
        };
        files.insert(format!("usr/share/{path}"), File::data(script.clone()));
    }
    let documents = format!("usr/share/doc/{name}");
    files.insert(
        format!("{documents}/copyright"),
        File::text(copyright(name)),
    );
    let log = changelog(name, &contents.origin);
    files.insert(
        format!("{documents}/changelog.gz"),
        File::data(compress(log.as_bytes())?),
    );
    Ok(files)
}

/// deb-control(5). There is nothing to depend on: the program is static.
fn control(
    package: &Package,
    architecture: Architecture,
    files: &BTreeMap<String, File>,
    origin: &Origin,
) -> Result<String> {
    let bytes: usize = files.values().map(|file| file.content.len()).sum();
    let recommends = if package.scripts.is_empty() {
        "ca-certificates"
    } else {
        "ca-certificates, systemd"
    };
    Ok(format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {}\nSection: net\nPriority: optional\nRecommends: {recommends}\n\
         Description: {}\n",
        package.name,
        version(&origin.version),
        architecture.name(),
        u64::try_from(bytes)?.div_ceil(1024),
        package.description,
    ))
}

/// <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>
fn copyright(name: &str) -> String {
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: {name}\n\nFiles: *\nCopyright: {MAINTAINER}\n\
         License: {LICENSES}\n On Debian, /usr/share/common-licenses/Apache-2.0 has the second one.\n"
    )
}

/// deb-changelog(5).
fn changelog(name: &str, origin: &Origin) -> String {
    format!(
        "{name} ({}) unstable; urgency=medium\n\n  * CHANGELOG.md of the release says what is new.\n\n \
         -- {MAINTAINER}  {}\n",
        version(&origin.version),
        origin.rfc5322(),
    )
}

/// A file of a package.
struct File {
    content: Vec<u8>,
    mode: u32,
}

impl File {
    fn data(content: Vec<u8>) -> Self {
        Self {
            content,
            mode: 0o644,
        }
    }

    fn text(content: String) -> Self {
        Self::data(content.into_bytes())
    }

    fn program(content: Vec<u8>) -> Self {
        Self {
            content,
            mode: 0o755,
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let place = || format!("cannot write {}", path.display());
        let folder = path.parent().with_context(place)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .with_context(place)?;
        std::fs::write(path, &self.content).with_context(place)?;
        let permissions = std::fs::Permissions::from_mode(self.mode);
        std::fs::set_permissions(path, permissions).with_context(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pre_release_comes_before_its_release() {
        assert_eq!(version("0.1.0-rc.1"), "0.1.0~rc.1");
        assert_eq!(version("0.1.0"), "0.1.0");
    }
}
