//! The program `aip`: its command line, and the wiring of the rooms.
//!
//! * [`app`]: the application put together, for the server, the sandbox and the tests;
//! * [`cli`]: from the words on the command line to an exit code;
//! * `commands`: one file for each command;
//! * `environment`: the one place that reads the environment and the configuration file;
//! * `output`: what is printed, as a table or as JSON.

pub mod app;
pub mod cli;
mod commands;
mod environment;
mod failure;
mod output;
