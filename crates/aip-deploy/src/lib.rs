//! Deploys AIP on Kubernetes: stack file → typed configuration → objects → plan → apply → rollout.
//!
//! | module | what | I/O |
//! | --- | --- | --- |
//! | [`target`] | the selected stack with its objects | files |
//! | [`config`] | the typed configuration, every mistake with its line | none |
//! | [`selection`] | what flags, environment and files select | files, store |
//! | [`desired`] | what the cluster should hold | none |
//! | [`signing_keys`] | the keys that a stack gives to AIP, and their rotation | none |
//! | [`store`] | inventory, history and lease in an object store | store |
//! | [`guard`] | the only way to a cluster: the right one, or an error | cluster |
//! | [`cluster`] | reads, dry runs, applies, deletes, watches | cluster |
//! | [`outputs`] | what other programs want to know: the load balancer's address | cluster |
//! | [`plan`] | live objects compared with a dry run; trees and diffs | none |
//! | [`apply`] | intent, phases, waiting, pruning | cluster, store |
//! | [`rollout`] | a Deployment down to its containers, with a verdict | cluster |
//! | `foreign` | what other libraries' errors say, without what is secret | none |
//! | [`option_variables`] | flags from the environment | none |
//! | [`pulumi_words`] | flags and commands that Pulumi has and this program has not | none |
//! | [`commands`] | one file per command | all |
//! | [`ui`] | colours, prompts, terminal or pipe | terminal |

pub mod adoption;
pub mod apply;
pub mod aws_http;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod desired;
pub mod exit;
mod foreign;
pub mod guard;
pub mod option_variables;
pub mod outputs;
pub mod plan;
pub mod pulumi_words;
pub mod rollout;
pub mod selection;
pub mod signing_keys;
pub mod store;
pub mod target;
pub mod ui;
