//! Deploys AIP on Kubernetes: stack file → typed configuration → objects → plan → apply → rollout.
//!
//! | module | what | I/O |
//! | --- | --- | --- |
//! | [`target`] | the selected stack with its objects | files |
//! | [`config`] | the typed configuration, every problem with its line | none |
//! | [`cli_context`] | project, stack, backend and secrets, from flags, environment and files | files, store |
//! | [`desired`] | what the cluster should hold | none |
//! | [`signing_keys`] | the keys that a stack gives to AIP, and their rotation | none |
//! | [`store`] | inventory, history and lease in an object store | store |
//! | [`guard`] | the only way to a cluster: the right one, or an error | cluster |
//! | [`cluster`] | reads, dry runs, applies, deletes, watches | cluster |
//! | [`outputs`] | what other programs want to know: the load balancer's address | cluster |
//! | [`plan`] | live objects compared with a dry run; trees and diffs | none |
//! | [`apply`] | intent, phases, waiting, pruning | cluster, store |
//! | [`rollout`] | a Deployment down to its containers, with a verdict | cluster |
//! | `error_text` | messages of other libraries' errors, without secrets | none |
//! | [`option_variables`] | flags from the environment | none |
//! | [`pulumi_cli`] | flags and commands of Pulumi that are ignored or refused | none |
//! | [`commands`] | one file per command | all |
//! | [`ui`] | colours, prompts, terminal or pipe | terminal |

pub mod adoption;
pub mod apply;
pub mod aws_http;
pub mod cli;
pub mod cli_context;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod desired;
mod error_text;
pub mod exit;
pub mod guard;
pub mod option_variables;
pub mod outputs;
pub mod plan;
pub mod pulumi_cli;
pub mod rollout;
pub mod signing_keys;
pub mod store;
pub mod target;
pub mod ui;
