//! The typed configuration of a stack: `k8s_context` and `aip_config`, read from the stack file
//! by one table, every mistake reported at once with its line and its remedy.

mod checks;
mod fix;
mod problem;
mod read;
mod reader;
mod schema;
mod table;

use std::collections::BTreeMap;

use pulumi_files::StackName;
use secrecy::SecretString;

pub(crate) use checks::kids as key_ids;
pub(crate) use fix::quoted;
pub use fix::{Fix, Remedy};
pub use problem::{Problem, Problems};
pub(crate) use read::KEY_FILE_PATH;
pub use read::{ConfigInput, read};
pub use reader::{ConfigString, PLACEHOLDER, SecretsAccess};
pub use schema::schema;
pub use table::{AIP_CONFIG, Field, REQUIRED_ENV, Shape, shape_at};

/// The validated configuration of a stack, defaults filled in.
#[derive(Clone)]
pub struct StackConfig {
    /// The kubeconfig context that the stack belongs to.
    pub context: String,
    /// The namespace, `aip-<stack>`.
    pub namespace: String,
    /// The stack's name.
    pub stack: String,
    /// `aip_config`.
    pub aip: AipConfig,
    /// Warnings for the operator; no secret values.
    pub notices: Vec<String>,
}

/// `aip-<stack>`.
pub fn namespace_of(stack: &StackName) -> String {
    format!("aip-{stack}")
}

/// The set of objects that a stack consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The objects of the original Pulumi program, field for field.
    Compat,
    /// Hardened Pods that Pod Security "restricted" admits.
    Restricted,
}

/// The fields of `aip_config`, validated, with defaults.
#[derive(Clone)]
pub struct AipConfig {
    /// `compat` if not set.
    pub profile: Profile,
    /// `repository:tag`, with or without a digest.
    pub image: String,
    /// 1 to 1000; default 3.
    pub replicas: u32,
    /// The environment that AIP cannot do without, by name.
    pub required_env: BTreeMap<String, SecretString>,
    /// `extra_env`, by name.
    pub extra_env: BTreeMap<String, SecretString>,
    /// JWK Set with private keys, as JSON.
    pub signing_keys: SecretString,
    /// Container arguments of the server.
    pub server_args: Vec<String>,
    /// Container port of the server; default 8080.
    pub port: u16,
    /// `migrations`.
    pub migrations: Migrations,
    /// `service`.
    pub service: Service,
    /// `probes`.
    pub probes: Probes,
    /// Resource requests of the container.
    pub requests: Resources,
    /// Resource limits of the container.
    pub limits: Resources,
    /// `autoscaling`; replaces `replicas`.
    pub autoscaling: Option<Autoscaling>,
    /// `network_policy`; none in the profile `compat`.
    pub network_policy: Option<NetworkPolicy>,
    /// Networks of the reverse proxies whose word on the caller's address counts; none if nobody
    /// said.
    pub trusted_proxies: Vec<String>,
    /// `metrics`.
    pub metrics: Metrics,
    /// Names of image pull Secrets.
    pub pull_secrets: Vec<String>,
    /// ARN of the IAM role of the service account.
    pub role_arn: Option<String>,
    /// `terminationGracePeriodSeconds`; default 60.
    pub grace_seconds: u32,
    /// Seconds a Pod keeps serving after it was removed from the endpoints; default 15.
    pub drain_seconds: u32,
}

/// The database migration, `aip_config.migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    /// Job, init container or none.
    pub mode: MigrationMode,
    /// Container arguments of the migration.
    pub args: Vec<String>,
    /// `activeDeadlineSeconds` of the Job; default 300.
    pub timeout_seconds: u32,
}

/// How the database is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationMode {
    /// A Job that must complete before the Pods change.
    Job,
    /// An init container of every Pod.
    Init,
    /// No migration.
    None,
}

/// How Pods are exposed, `aip_config.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// A load balancer, or inside the cluster only.
    pub load_balancer: Option<LoadBalancer>,
}

/// An AWS network load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// ARN of the ACM certificate for port 443.
    pub certificate_arn: String,
    /// Whether the AWS Load Balancer Controller makes it, or the in-tree provider.
    pub controller: bool,
    /// `loadBalancerClass`.
    pub class: Option<String>,
    /// Reachable from inside the network only.
    pub internal: bool,
    /// Also serve unencrypted HTTP on port 80.
    pub plain_http: bool,
    /// Additional annotations of the Service.
    pub annotations: BTreeMap<String, String>,
}

/// HTTP probes, `aip_config.probes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// HTTP path of the readiness and startup probes.
    pub ready_path: String,
    /// HTTP path of the liveness probe.
    pub alive_path: String,
    /// Time limit for startup in seconds; default 120.
    pub startup_seconds: u32,
}

/// Metrics scraping, `aip_config.metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The labels of a `PodMonitor`, if there is to be one.
    pub pod_monitor: Option<BTreeMap<String, String>>,
    /// The only namespace whose Pods may scrape.
    pub namespace: Option<String>,
}

/// CPU and memory, as Kubernetes quantities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// `500m`, `2`.
    pub cpu: String,
    /// `128Mi`, `2Gi`.
    pub memory: String,
}

/// `HorizontalPodAutoscaler`, `aip_config.autoscaling`; replaces `replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoscaling {
    /// `minReplicas`; default 2.
    pub min_replicas: u32,
    /// `maxReplicas`; default 10.
    pub max_replicas: u32,
    /// Target average CPU utilization in percent of the request; default 70.
    pub cpu_percent: u32,
}

/// `NetworkPolicy` of the Pods, `aip_config.network_policy`; none in the profile `compat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Ports of the database and of Valkey, wherever they are.
    pub ports: Vec<u16>,
    /// Destination ports of StatsD metrics.
    pub udp_ports: Vec<u16>,
    /// Additional CIDR blocks, on any port.
    pub allow_cidrs: Vec<String>,
}
