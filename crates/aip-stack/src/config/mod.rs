//! The typed configuration of a stack: `k8s_context` and `aip_config`, read from the stack file
//! by one table, every mistake reported at once with its line and its remedy.
//!
//! | module | what |
//! | --- | --- |
//! | [`fields`], `dependency_fields` | the table: path, type, range, default and description of every field |
//! | `field`, `choices`, `value` | what a field, its type and its value are |
//! | `parse` | from the nodes of the file to [`Values`] |
//! | `resolve` | from values to a [`StackConfig`]: what is required, what goes together |
//! | `checks`, `certificate` | what a value means beyond its type |
//! | `problem`, `fix` | what is wrong, and the command that mends it |
//! | `rotation` | the periods of the rotation of keys |
//! | `schema` | the JSON Schema of the table |

mod certificate;
mod checks;
mod choices;
mod dependency_fields;
mod field;
pub mod fields;
mod fix;
mod parse;
mod problem;
mod resolve;
mod rotation;
mod schema;
mod valkey_url;
mod value;
mod values;

use std::collections::BTreeMap;

use pulumi_files::StackName;
use secrecy::SecretString;
use yaml_lossless::Segment;

pub use certificate::end_of as certificate_end;
pub use checks::{kids as key_ids, public_host};
pub use choices::{
    AnnotationsStyle, CertificateKind, EdgeKind, ImageDigest, IssuerKind, MigrationMode,
    PostgresKind, Profile, ServiceType, ValkeyKind,
};
pub use field::{AnyField, Field, FieldType, Group, Shape, Variable};
pub use fix::{Fix, Remedy, quoted};
pub use parse::SecretsAccess;
pub use problem::{Problem, Problems};
pub use resolve::{ConfigInput, EXTERNAL_BASE, connections_needed, resolve};
pub(crate) use resolve::{KEY_FILE_PATH, POSTGRES_NAME, SENTINEL_PORT, VALKEY_NAME, VALKEY_PORT};
pub use rotation::{key_schedule, rotate_every};
pub use schema::schema;
pub use value::{ConfigString, EnvValues, FieldValue, PLACEHOLDER};
pub use values::Values;

/// The variable with the URL of the database that `aip` goes on at once it is moved there.
pub const NEXT_DATABASE_URL: &str = "AIP_DATABASE_NEXT_URL";

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
    /// `edge.kind` and `service.type`, with what each of them needs.
    pub exposure: Exposure,
    /// The certificate that the stack itself gives to a gateway or ingress controller.
    pub certificate: Option<Certificate>,
    /// Whether an autoscaler controls the number of Pods in place of `replicas`.
    pub is_autoscaled: bool,
    /// `network_policy`; none in the profile `compat`.
    pub network_policy: Option<NetworkPolicy>,
    /// The PostgreSQL cluster that the stack makes.
    pub postgres: Option<Postgres>,
    /// The Valkey servers that the stack makes.
    pub valkey: Option<Valkey>,
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
    /// By routes at a Gateway.
    Gateway(GatewayEdge),
    /// By an Ingress.
    Ingress(IngressEdge),
}

/// `edge.gateway`, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayEdge {
    /// The public host name.
    pub host: String,
    /// The name of the Gateway.
    pub gateway: String,
    /// The name of its listener for HTTPS.
    pub section: String,
    /// The name of its listener for HTTP, if it redirects.
    pub redirect_section: Option<String>,
}

/// `edge.ingress`, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressEdge {
    /// The public host name.
    pub host: String,
    /// The name of the `IngressClass`.
    pub class: String,
}

/// `certificate`, complete.
#[derive(Clone)]
pub enum Certificate {
    /// cert-manager makes and renews it.
    CertManager {
        /// The public host name.
        host: String,
        /// The name of the issuer.
        issuer: String,
    },
    /// The stack file has it.
    Files {
        /// PEM.
        chain: SecretString,
        /// PEM.
        key: SecretString,
    },
}

/// `dependencies.cnpg`, complete. [`AipConfig::get`] has the fields that need nothing else.
#[derive(Clone)]
pub struct Postgres {
    /// Where backups go, if there are any.
    pub backup: Option<PostgresBackup>,
}

/// `dependencies.cnpg.backup`, complete.
#[derive(Clone)]
pub struct PostgresBackup {
    /// `s3://BUCKET/PREFIX`
    pub destination: String,
    /// Who may write there.
    pub credentials: BackupCredentials,
}

/// How the PostgreSQL servers authenticate to the object storage.
#[derive(Clone)]
pub enum BackupCredentials {
    /// By a role of IAM, given to their service account.
    Role(String),
    /// By an access key.
    AccessKey {
        /// Access key id.
        id: SecretString,
        /// Secret access key.
        secret: SecretString,
    },
}

/// `dependencies.valkey_cluster`, complete. [`AipConfig::get`] has the fields that need nothing else.
#[derive(Clone)]
pub struct Valkey {
    /// Of characters that no URL and no configuration file escapes.
    pub password: SecretString,
    /// `maxmemory`: less than the limit of its container, which counts more than the data.
    pub max_memory_bytes: u64,
    /// One, or three with a Sentinel beside each.
    pub servers: u32,
}

impl Valkey {
    /// Whether there are Sentinels, which know the primary.
    pub(crate) fn has_sentinels(&self) -> bool {
        self.servers > 1
    }

    /// The names of the servers in the namespace of the stack, as their Service gives them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let numbers = 0..self.servers;
        let host = |number| format!("{VALKEY_NAME}-{number}.{VALKEY_NAME}");
        numbers.map(host).collect()
    }
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
