//! The program `aip`: its command line, and the wiring of the rooms.
//!
//! * [`app`]: the application put together, for the server, the sandbox and the tests;
//! * [`cli`]: from the words on the command line to an exit code;
//! * `commands`: one file for each command;
//! * `data_dir`, `opened`: keys, database and network, as the configuration has them;
//! * `environment`: the one place that reads the environment and the configuration file;
//! * `output`: what is printed, as a table or as JSON;
//! * `settings`: the rooms' own configurations, from the settings.

pub mod app;
pub mod cli;
mod commands;
mod data_dir;
mod environment;
mod failure;
mod opened;
mod output;
mod settings;
