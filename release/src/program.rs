//! A program as it is shipped: one file that needs no other file of the machine it runs on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, PT_INTERP};
use object::read::elf::{ElfFile64, ProgramHeader as _};

/// A statically linked program.
pub struct Program {
    /// Its name, as in `aip`.
    pub name: String,
    /// The machines it runs on.
    pub architecture: Architecture,
    /// The file.
    pub bytes: Vec<u8>,
    /// Where it was read, and can be run.
    pub path: PathBuf,
}

/// What programs are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// `x86_64` in Rust.
    Amd64,
    /// `aarch64` in Rust.
    Arm64,
}

impl Architecture {
    /// Its name in images and in Debian's packages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// That of the machine this program runs on.
    pub fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }
}

impl Program {
    /// Reads a program, and refuses one that needs shared libraries.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let architecture =
            architecture_of(&bytes).with_context(|| format!("{shown} cannot be shipped"))?;
        let name = path.file_name().context("a program has a name")?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            architecture,
            bytes,
            // A bare name would be looked for on the `PATH`.
            path: path.canonicalize()?,
        })
    }
}

/// The architecture of a static program (elf(5)).
fn architecture_of(bytes: &[u8]) -> Result<Architecture> {
    let elf = ElfFile64::<Endianness>::parse(bytes).context("it is no 64-bit ELF program")?;
    let headers = elf.elf_program_headers().iter();
    let interpreters = headers.filter(|header| header.p_type(elf.endian()) == PT_INTERP);
    if interpreters.count() > 0 {
        bail!(
            "it is linked dynamically, and an image has no shared library: build it with \
             `cargo xtask image` or `cargo xtask release`"
        );
    }
    match elf.elf_header().e_machine.get(elf.endian()) {
        EM_X86_64 => Ok(Architecture::Amd64),
        EM_AARCH64 => Ok(Architecture::Arm64),
        other => bail!("it is for ELF machine {other}: images are made for amd64 and arm64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_shared_libraries_is_refused_and_so_is_no_program() {
        let this = std::env::current_exe().unwrap();
        let refused = Program::read(&this).err().unwrap();
        assert!(format!("{refused:#}").contains("linked dynamically"));
        let refused = architecture_of(b"#!/bin/sh\n").unwrap_err();
        assert!(refused.to_string().contains("no 64-bit ELF"));
    }

    #[test]
    fn the_architecture_is_read_from_the_program() {
        for (machine, expected) in [
            (EM_X86_64, Architecture::Amd64),
            (EM_AARCH64, Architecture::Arm64),
        ] {
            let found = architecture_of(&static_program(machine));
            assert_eq!(found.unwrap(), expected);
        }
        let refused = architecture_of(&static_program(243)).unwrap_err();
        assert!(refused.to_string().contains("243"));
    }

    /// The head of a static program for a machine: what [`architecture_of`] looks at.
    pub(crate) fn static_program(machine: u16) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        head[16] = 2; // e_type: ET_EXEC
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[20] = 1; // e_version
        head[52] = 64; // e_ehsize
        head
    }
}
