//! The program `aip`: its command line, and the wiring of the rooms.
//!
//! * [`app`]: the application put together, for the server, the sandbox and the tests;
//! * [`cli`]: from the words on the command line to an exit code;
//! * `at_rest`: whether the keys fit the database, and sealing it again;
//! * `commands`: one file for each command;
//! * `data_dir`, `key_files`, `opened`: keys, database and network, as the configuration has them;
//! * `environment`: the one place that reads the environment and the configuration file;
//! * `output`: what is printed, as a table or as JSON;
//! * `settings`: the rooms' own configurations, from the settings;
//! * `telemetry`: what operators see.

pub mod app;
mod at_rest;
pub mod cli;
mod commands;
mod data_dir;
mod environment;
mod failure;
mod file_modes;
mod key_files;
mod opened;
mod output;
mod settings;
mod telemetry;
