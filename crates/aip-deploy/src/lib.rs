//! Deploys AIP on Kubernetes: the command line over `aip-stack` and `aip-apply`.
//!
//! | module | what | I/O |
//! | --- | --- | --- |
//! | `cli` | the command line | all |
//! | `context` | what a command starts from: terminal, environment, the selected stack | files, store |
//! | `commands` | one file per command, and the table of them | all |
//! | `workflow` | deploy and destroy: plan, ask, take the lease, apply, record | cluster, store |
//! | `signals` | the signals that end a command | system |
//! | `pulumi_state` | checkpoint and locks that Pulumi left | store |
//! | `outputs` | what other programs want to know: the load balancer's address | cluster |
//! | `present` | plans, results and rollouts in the look of Pulumi | none |
//! | `aws_http`, `aws_keys` | requests to AWS, and its key service | network |
//! | `exit` | exit codes, and which error has which | none |
//! | `operator` | who works here and where | system |
//! | `option_variables` | flags from the environment | none |
//! | `pulumi_cli` | flags and commands of Pulumi that are ignored or refused | none |
//! | `ui` | colours, prompts, terminal or pipe | terminal |

mod aws_http;
mod aws_keys;
mod cli;
mod commands;
mod context;
mod exit;
mod operator;
mod option_variables;
mod outputs;
mod present;
mod pulumi_cli;
mod pulumi_state;
mod signals;
mod ui;
mod workflow;

pub use aws_http::AwsHttp;
pub use aws_keys::AwsKeys;
pub use cli::{Cli, main};
