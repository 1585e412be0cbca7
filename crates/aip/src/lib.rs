//! The program `aip`: its command line, and the wiring of the crates.
//!
//! * [`app`]: the application put together, for the server, the sandbox and the tests;
//! * [`cli`]: from the words on the command line to an exit code;
//! * `rekeying`: whether the keys fit the database, and sealing it again;
//! * `commands`: one file for each command;
//! * `data_dir`, `key_files`, `runtime`: keys, database and network, as the configuration has them;
//! * `database_files`: the files of a SQLite database, and copying them;
//! * `environment`: the one place that reads the environment and the configuration file;
//! * `output`: what is printed, as a table or as JSON;
//! * `progress`: how far a command is that takes long;
//! * `settings`: the crates' own configurations, from the settings;
//! * `telemetry`: what operators see.

pub mod app;
pub mod cli;
mod commands;
mod data_dir;
mod database_files;
mod environment;
mod failure;
mod file_modes;
mod key_files;
mod output;
mod progress;
mod rekeying;
mod runtime;
mod settings;
mod telemetry;
