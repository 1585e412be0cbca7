//! A Kubernetes cluster for tests, on one machine without containers.
//!
//! [`ControlPlane`] is the real thing: etcd, kube-apiserver and kube-controller-manager, built by
//! `build.sh` from the Go modules in `tools`. [`Kubelet`] stands in for scheduler, kubelet and
//! container runtime: it runs every container as a local process on a loopback address of its own
//! and reports what the real kubelet would. [`Balancer`] stands in for kube-proxy and a load
//! balancer, [`Gateway`] for one of the Gateway API; [`Load`] counts the requests that a roll-out loses. [`Moto`] stands in for AWS.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test bed that is broken must fail the test at once, with the reason"
)]

mod audit;
mod balancer;
mod control_plane;
mod daemon;
pub mod definitions;
mod gateway;
mod http_client;
mod kubeconfig;
mod kubelet;
mod load;
mod moto;
mod pki;
mod poll;
mod ports;
mod programs;
mod reaper;

pub use audit::{Audit, AuditEvent, ObjectRef};
pub use balancer::Balancer;
pub use control_plane::{ControlPlane, User};
pub use gateway::{Gateway, NO_ROUTE};
pub use http_client::{get, get_with};
pub use kubelet::{Image, Images, Kubelet, Nodes, local_address};
pub use load::{Load, Tally};
pub use moto::Moto;
pub use poll::{eventually, eventually_within};
pub use programs::{
    aip_image, envoy_gateway_program, kustomize_program, registry_program, tiltfile_program,
    workspace_example, workspace_program,
};
