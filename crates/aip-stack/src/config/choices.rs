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

/// What Pods have in place of the image's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ImageDigest {
    /// The digest that the registry has for the tag, beside the tag.
    Resolve,
    /// Nothing: the tag as it is.
    Off,
}

/// Where the certificate of the edge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum CertificateKind {
    /// AWS Certificate Manager.
    Acm,
    /// cert-manager, in the cluster.
    CertManager,
    /// The stack file.
    Files,
}

/// Which issuer of cert-manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum IssuerKind {
    /// One of the whole cluster.
    ClusterIssuer,
    /// One in the namespace of the stack.
    Issuer,
}

/// Which PostgreSQL the Pods use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PostgresKind {
    /// A server that the operator has.
    External,
    /// A Cluster of `CloudNativePG`.
    Cnpg,
    /// A server that the operator has, while the data is moved to a Cluster, which is there already.
    CnpgNext,
}

impl PostgresKind {
    /// Whether the stack makes a Cluster.
    pub fn makes_cluster(self) -> bool {
        matches!(self, Self::Cnpg | Self::CnpgNext)
    }
}

/// Which Valkey the Pods use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ValkeyKind {
    /// A server that the operator has, or none.
    External,
    /// A server in the cluster.
    Cluster,
}

/// What people come in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum EdgeKind {
    /// An AWS network load balancer, or nothing.
    LoadBalancer,
    /// A Gateway of the Gateway API.
    Gateway,
    /// An ingress controller.
    Ingress,
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
