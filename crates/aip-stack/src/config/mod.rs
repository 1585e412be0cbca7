//! The typed configuration of a stack: `k8s_context` and `aip_config`, read from the stack file
//! by one table, every mistake reported at once with its line and its remedy.
//!
//! | module | what |
//! | --- | --- |
//! | [`fields`] | the table: path, type, range, default and description of every field |
//! | `field`, `choices`, `value` | what a field, its type and its value are |
//! | `parse` | from the nodes of the file to [`Values`] |
//! | `resolve` | from values to a [`StackConfig`]: what is required, what goes together |
//! | `checks` | what a value means beyond its type |
//! | `problem`, `fix` | what is wrong, and the command that mends it |
//! | `schema` | the JSON Schema of the table |

mod checks;
mod choices;
mod field;
pub mod fields;
mod fix;
mod parse;
mod problem;
mod resolve;
mod schema;
mod value;
mod values;

use std::collections::BTreeMap;

use pulumi_files::StackName;
use secrecy::SecretString;
use yaml_lossless::Segment;

pub use checks::kids as key_ids;
pub use choices::{AnnotationsStyle, MigrationMode, Profile, ServiceType};
pub use field::{AnyField, Field, FieldType, Group, Shape, Variable};
pub use fix::{Fix, Remedy, quoted};
pub use parse::SecretsAccess;
pub use problem::{Problem, Problems};
pub(crate) use resolve::KEY_FILE_PATH;
pub use resolve::{ConfigInput, resolve};
pub use schema::schema;
pub use value::{ConfigString, EnvValues, FieldValue, PLACEHOLDER};
pub use values::Values;

/// The validated configuration of a stack.
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

/// The shape of the value at `steps` below `aip_config`; `None` where the table says nothing.
pub fn shape_at(steps: &[Segment]) -> Option<Shape> {
    Shape::Group(&fields::AIP_CONFIG).at(steps)
}

/// `aip_config`, validated: what follows from several fields. [`AipConfig::get`] has the others.
#[derive(Clone)]
pub struct AipConfig {
    values: Values,
    /// `repository:tag`, with or without a digest.
    pub image: String,
    /// `required_env` or `env_config`, by name.
    pub required_env: BTreeMap<String, SecretString>,
    /// `extra_env`, by name.
    pub extra_env: BTreeMap<String, SecretString>,
    /// JWK Set with private keys, as JSON.
    pub signing_keys: SecretString,
    /// `migrations.mode`, or what `enable_init_containers` says.
    pub migration_mode: MigrationMode,
    /// `service.type`, with what a load balancer needs.
    pub exposure: Exposure,
    /// Whether an autoscaler controls the number of Pods in place of `replicas`.
    pub is_autoscaled: bool,
    /// `network_policy`; none in the profile `compat`.
    pub network_policy: Option<NetworkPolicy>,
}

impl AipConfig {
    /// The value of a field, or its default in the profile of the stack.
    pub fn get<T: FieldType>(&self, field: &Field<T>) -> T {
        self.values.get(field)
    }
}

/// How Pods are exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// Inside the cluster only.
    ClusterIp,
    /// By an AWS network load balancer.
    LoadBalancer(LoadBalancer),
}

/// An AWS network load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// ARN of the ACM certificate for port 443.
    pub certificate_arn: String,
    /// `loadBalancerClass`
    pub class: Option<String>,
}

/// `NetworkPolicy` of the Pods, `aip_config.network_policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Ports of the database and of Valkey, wherever they are.
    pub ports: Vec<u16>,
    /// Destination ports of StatsD metrics.
    pub udp_ports: Vec<u16>,
}
