//! A layout in one file: an uncompressed tar archive of the folder (the blobs are compressed themselves), as
//! `docker load`, `podman load` and `skopeo copy oci-archive:…` read it, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

/// A file whose entries are read where they lie.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    path: PathBuf,
    /// Offset and length of each file.
    entries: BTreeMap<String, (u64, u64)>,
}

impl Archive {
    /// Finds the entries of a tar file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
        let mut entries = BTreeMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if entry.header().entry_type() == EntryType::Regular {
                let name = entry.path()?.to_string_lossy().into_owned();
                let name = name.trim_start_matches("./").to_owned();
                entries.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// A file of it.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("it has no {name}"));
        let &(offset, length) = self.entries.get(name).ok_or_else(missing)?;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut content = Vec::new();
        file.take(length).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// The archive of these files, of nobody and dated `mtime`, in seconds since 1970: the same files give the same
/// bytes.
pub(crate) fn write(files: &BTreeMap<String, Vec<u8>>, mtime: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(mtime);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        archive.append_data(&mut header, name, &**content)?;
    }
    archive.into_inner()
}
