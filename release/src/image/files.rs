//! The files of the image, and the layer with them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::config::{DATA_FOLDER, ENTRY_POINT, USER_ID};
use crate::program::Program;

/// Columns of a line of PEM (RFC 7468 §2).
const PEM_COLUMNS: usize = 64;

/// A file or folder of the image.
#[derive(Debug, Clone)]
pub struct File {
    /// `None` for a folder.
    content: Option<Vec<u8>>,
    mode: u32,
    /// Both user and group.
    owner: u32,
}

/// Paths without a leading slash, and what is there. A folder comes before what is in it.
pub type Files = BTreeMap<String, File>;

/// Every file of the image with this program.
pub fn files(program: &Program) -> Files {
    let text = |content: String| File {
        content: Some(content.into_bytes()),
        mode: 0o644,
        owner: 0,
    };
    let folder = |mode, owner| File {
        content: None,
        mode,
        owner,
    };
    let mut files = Files::new();
    for path in ["etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/bin"] {
        files.insert(path.to_owned(), folder(0o755, 0));
    }
    // A container's own user has it to itself, also when an empty volume is mounted there.
    files.insert(
        DATA_FOLDER.trim_start_matches('/').to_owned(),
        folder(0o700, USER_ID),
    );
    files.insert("tmp".to_owned(), folder(0o1777, 0));
    let user = format!("aip:x:{USER_ID}:{USER_ID}:AIP:{DATA_FOLDER}:/sbin/nologin\n");
    files.insert("etc/passwd".to_owned(), text(user));
    files.insert("etc/group".to_owned(), text(format!("aip:x:{USER_ID}:\n")));
    // Both are part of the C library of a static program; any other service is a shared library.
    files.insert(
        "etc/nsswitch.conf".to_owned(),
        text("hosts: files dns\n".to_owned()),
    );
    files.insert(
        "etc/ssl/certs/ca-certificates.crt".to_owned(),
        text(certificate_authorities()),
    );
    files.insert(
        ENTRY_POINT.trim_start_matches('/').to_owned(),
        File {
            content: Some(program.bytes.clone()),
            mode: 0o755,
            owner: 0,
        },
    );
    files
}

/// Mozilla's list as `Cargo.lock` has it, so that it is the same on every machine.
fn certificate_authorities() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_COLUMNS));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// The files as a tar archive, which names no time but `epoch` (seconds since 1970).
pub(super) fn archive(files: &Files, epoch: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let mut header = Header::new_ustar();
        header.set_mode(file.mode);
        header.set_uid(file.owner.into());
        header.set_gid(file.owner.into());
        header.set_mtime(epoch);
        let content = file.content.as_deref().unwrap_or_default();
        header.set_size(content.len().try_into()?);
        if file.content.is_some() {
            header.set_entry_type(EntryType::Regular);
            archive.append_data(&mut header, path, content)?;
        } else {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), content)?;
        }
    }
    Ok(archive.into_inner()?)
}

/// Compresses without a time and a file name (RFC 1952 §2.3.1).
pub(crate) fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// Writes the files below `root`, for a builder that makes the layer itself. Owners are not set:
/// `deploy/Dockerfile` names them.
pub fn write_below(root: &Path, files: &Files) -> Result<()> {
    for (path, file) in files {
        let path = root.join(path);
        let place = || format!("cannot write {}", path.display());
        match &file.content {
            None => std::fs::create_dir_all(&path).with_context(place)?,
            Some(content) => {
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create(true).truncate(true);
                let mut written = options.mode(file.mode).open(&path).with_context(place)?;
                written.write_all(content).with_context(place)?;
            }
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))
            .with_context(place)?;
    }
    Ok(())
}
