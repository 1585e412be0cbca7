//! Fields with a closed set of values.

use strum::{EnumString, IntoStaticStr, VariantNames};

/// The set of objects that a stack consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Profile {
    /// The objects of the original Pulumi program, field for field.
    Compat,
    /// Hardened Pods that Pod Security "restricted" admits.
    Restricted,
}

/// How the database is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum MigrationMode {
    /// A Job that must complete before the Pods change.
    Job,
    /// An init container of every Pod.
    Init,
    /// No migration.
    None,
}

/// How Pods are exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ServiceType {
    /// An AWS network load balancer.
    LoadBalancer,
    /// Inside the cluster only.
    ClusterIp,
}

/// Whose annotations configure the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum AnnotationsStyle {
    /// Those of the in-tree cloud provider.
    Legacy,
    /// Those of the AWS Load Balancer Controller.
    Controller,
}
