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
pub(crate) use read::KEY_FILE;
pub use read::{Input, read};
pub use reader::{STUB, Secrets, Text};
pub use schema::schema;
pub use table::{AIP_CONFIG, Field, REQUIRED_ENV, Shape, shape_at};

/// The configuration of a stack.
#[derive(Clone)]
pub struct StackConfig {
    /// The kubeconfig context that the stack belongs to.
    pub context: String,
    /// The namespace, `aip-<stack>`.
    pub namespace: String,
    /// The stack's name.
    pub stack: String,
    /// What to deploy.
    pub aip: AipConfig,
    /// What the operator should know.
    pub notices: Vec<String>,
}

/// Where a stack lives in its cluster.
pub fn namespace_of(stack: &StackName) -> String {
    format!("aip-{stack}")
}

/// Which objects a stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Those of the original program.
    Compat,
    /// Hardened ones.
    Restricted,
}

/// What to deploy.
#[derive(Clone)]
pub struct AipConfig {
    /// Which objects.
    pub profile: Profile,
    /// The image reference.
    pub image: String,
    /// The number of Pods.
    pub replicas: u32,
    /// The environment that AIP cannot do without, by name.
    pub required_env: BTreeMap<String, SecretString>,
    /// More environment.
    pub extra_env: BTreeMap<String, SecretString>,
    /// The key file.
    pub signing_keys: SecretString,
    /// Arguments that start the server.
    pub server_args: Vec<String>,
    /// The port that the server listens on.
    pub port: u16,
    /// How the database is migrated.
    pub migrations: Migrations,
    /// How the Pods are reached.
    pub service: Service,
    /// How the Pods are checked.
    pub probes: Probes,
    /// What every Pod is given at least.
    pub requests: Resources,
    /// What every Pod is given at most.
    pub limits: Resources,
    /// Scaling with the load.
    pub autoscaling: Option<Autoscaling>,
    /// What the Pods may reach.
    pub network_policy: Option<NetworkPolicy>,
    /// Networks of the reverse proxies whose word on the caller's address counts; none if nobody
    /// said.
    pub trusted_proxies: Vec<String>,
    /// How metrics are scraped.
    pub metrics: Metrics,
    /// Secrets with registry credentials.
    pub pull_secrets: Vec<String>,
    /// A role for the Pods.
    pub role_arn: Option<String>,
    /// How long a Pod may take to end.
    pub grace_seconds: u32,
    /// How long a Pod serves on after it is taken out.
    pub drain_seconds: u32,
}

/// How the database is migrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    /// Where.
    pub mode: MigrationMode,
    /// Arguments that migrate.
    pub args: Vec<String>,
    /// How long it may take.
    pub timeout_seconds: u32,
}

/// Where the migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationMode {
    /// A Job before the Pods change.
    Job,
    /// An init container of every Pod.
    Init,
    /// Nowhere.
    None,
}

/// How the Pods are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// A load balancer, or inside the cluster only.
    pub load_balancer: Option<LoadBalancer>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The certificate for port 443.
    pub certificate_arn: String,
    /// Whether the AWS Load Balancer Controller makes it, or the in-tree provider.
    pub controller: bool,
    /// `loadBalancerClass`.
    pub class: Option<String>,
    /// Reachable from inside the network only.
    pub internal: bool,
    /// Port 80 in clear text.
    pub plain_http: bool,
    /// More annotations.
    pub annotations: BTreeMap<String, String>,
}

/// How the Pods are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// Readiness and startup.
    pub ready_path: String,
    /// Liveness.
    pub alive_path: String,
    /// How long a start may take.
    pub startup_seconds: u32,
}

/// How metrics are scraped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The labels of a `PodMonitor`, if there is to be one.
    pub pod_monitor: Option<BTreeMap<String, String>>,
    /// The only namespace whose Pods may scrape.
    pub namespace: Option<String>,
}

/// Processors and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub cpu: String,
    /// Memory.
    pub memory: String,
}

/// Scaling with the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoscaling {
    /// The least number of Pods.
    pub min_replicas: u32,
    /// The largest number of Pods.
    pub max_replicas: u32,
    /// The use of processors to aim at.
    pub cpu_percent: u32,
}

/// What the Pods may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Ports of the database and of Valkey, wherever they are.
    pub ports: Vec<u16>,
    /// Where metrics are sent over UDP.
    pub udp_ports: Vec<u16>,
    /// More addresses, on any port.
    pub allow_cidrs: Vec<String>,
}
