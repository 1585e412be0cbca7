//! What settings are read from, handed in by the program.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The variable that names the configuration file. Its value is used before there are settings.
pub const CONFIG_FILE_VARIABLE: &str = "AIP_CONFIG";

/// What settings are read from.
pub struct Sources<'a> {
    /// Settings on the command line; a later one wins.
    pub flags: Vec<Flag>,
    /// The variables of the process, by name.
    pub environment: BTreeMap<String, String>,
    /// The configuration file, if there is one.
    pub file: Option<ConfigFile>,
    /// Reads the files that `*_FILE` variables name.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A setting on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// How the flag is written, for messages: `--listen`.
    pub flag: String,
    /// The setting: `server.listen`.
    pub key: String,
    /// The value as it was written on the command line.
    pub text: String,
}

/// A configuration file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path, for messages.
    pub path: String,
    /// What it says.
    pub text: String,
}
