//! One file (or folder) per command. A command is a struct of its arguments with a `run`.

pub mod adopt;
pub mod config;
pub mod deploy;
pub mod deploy_context;
pub mod destroy;
pub mod doctor;
pub mod drift;
pub mod failure;
pub mod generate;
pub mod keys;
pub mod lock;
pub mod login;
pub mod preview;
pub mod print;
pub mod render;
pub mod repin;
pub mod reporter;
pub mod rollback;
pub mod rollout;
pub mod stack;
pub mod up;
