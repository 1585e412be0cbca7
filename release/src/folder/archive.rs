//! The archive with everything for one architecture.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{EntryType, Header};

use super::Contents;
use super::generated::Generated;
use crate::image::compress;
use crate::program::Program;

/// Files of the checkout that belong to every copy.
const TEXT_FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// What deploys AIP: compose file, unit, proxies, dashboards.
const DEPLOY: &str = "deploy";

/// The archive, in which everything is below the folder `name`.
pub(super) fn write(
    name: &str,
    programs: &BTreeMap<&str, &Program>,
    generated: &Generated,
    contents: &Contents,
) -> Result<Vec<u8>> {
    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    for (program, file) in programs {
        files.insert((*program).to_owned(), (0o755, file.bytes.clone()));
    }
    for (program, description) in generated {
        for (shell, script) in &description.completions {
            let path = format!("completions/{program}.{shell}");
            files.insert(path, (0o644, script.clone()));
        }
        for (page, text) in &description.pages {
            files.insert(format!("man/{page}.1"), (0o644, text.clone()));
        }
    }
    for path in TEXT_FILES {
        files.insert(path.to_owned(), (0o644, contents.read(path)?));
    }
    let deploy = contents.checkout.join(DEPLOY);
    walk(&deploy, DEPLOY, &mut files)
        .with_context(|| format!("cannot read {}", deploy.display()))?;
    let mut archive = tar::Builder::new(Vec::new());
    for (path, (mode, content)) in &files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(contents.origin.epoch());
        header.set_size(content.len().try_into()?);
        archive.append_data(&mut header, format!("{name}/{path}"), &**content)?;
    }
    compress(&archive.into_inner()?)
}

/// Adds every file below `folder`, under the path `prefix`.
fn walk(
    folder: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, (u32, Vec<u8>)>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &path, files)?;
        } else {
            files.insert(path, (0o644, std::fs::read(entry.path())?));
        }
    }
    Ok(())
}
