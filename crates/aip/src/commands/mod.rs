//! The commands. A new one is a file here and a variant of [`Command`].

mod backup;
mod clients;
mod completions;
mod config;
mod database;
mod doctor;
mod healthcheck;
mod import;
mod keys;
mod man;
mod migrate;
mod resolve;
mod restore;
mod serve;
mod sessions;
mod tokens;

use clap::Subcommand;

use crate::cli::Global;
use crate::failure::Failure;

/// Every command there is.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the server
    Serve(serve::Args),
    /// Finds out what is wrong with an installation
    Doctor(doctor::Args),
    /// Asks a running server whether it is ready
    Healthcheck(healthcheck::Args),
    /// Registers apps and shows, changes and deletes them
    Clients(clients::Args),
    /// Shows sessions at PDSs, refreshes and ends them
    Sessions(sessions::Args),
    /// Makes, lists and revokes tokens of people for their scripts
    Tokens(tokens::Args),
    /// Lists, makes, activates and removes keys, and seals the database again
    Keys(keys::Args),
    /// Finds out who a handle or DID is
    Resolve(resolve::Args),
    /// Takes the place of another server, so that nobody signs in again
    Import(import::Args),
    /// Brings the database up to this program
    Migrate(migrate::Args),
    /// Moves the PostgreSQL database to another server
    Database(database::Args),
    /// Copies the SQLite database while servers use it
    Backup(backup::Args),
    /// Puts a copy in the place of the SQLite database
    Restore(restore::Args),
    /// Shows and checks the configuration
    Config(config::Args),
    /// Prints a script that completes commands in a shell
    Completions(completions::Args),
    /// Prints a manual page
    Man(man::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(&args, global),
            Self::Doctor(args) => doctor::run(&args, global),
            Self::Healthcheck(args) => healthcheck::run(&args, global),
            Self::Clients(args) => clients::run(args, global),
            Self::Sessions(args) => sessions::run(args, global),
            Self::Tokens(args) => tokens::run(args, global),
            Self::Keys(args) => keys::run(args, global),
            Self::Resolve(args) => resolve::run(&args, global),
            Self::Import(args) => import::run(&args, global),
            Self::Migrate(args) => migrate::run(&args, global),
            Self::Database(args) => database::run(&args, global),
            Self::Backup(args) => backup::run(&args, global),
            Self::Restore(args) => restore::run(&args, global),
            Self::Config(args) => config::run(&args, global),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
        }
    }
}
