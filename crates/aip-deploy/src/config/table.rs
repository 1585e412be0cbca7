//! The fields of `aip_config`: one table, from which reading, the type of `config set` values and
//! the JSON Schema for editors follow.

use pulumi_files::yaml::Segment;

/// A field of the stack file below `aip_config`.
#[derive(Debug)]
pub struct Field {
    /// Name in the stack file.
    pub name: &'static str,
    /// Type and range.
    pub shape: Shape,
    /// One line for `config schema` and the reference page.
    pub description: &'static str,
}

/// Type and range of a field.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Text; a value that looks like a number or a date must be in quotes.
    String,
    /// A quantity of Kubernetes: text, or a bare number.
    Quantity,
    /// `true` or `false`.
    Bool,
    /// An integer.
    Int {
        /// Inclusive.
        min: i64,
        /// Inclusive.
        max: i64,
    },
    /// One of these values.
    Word(&'static [&'static str]),
    /// A list of strings.
    StringList,
    /// A map of strings.
    StringMap,
    /// Environment: strings, of which some are known by name.
    Env(&'static [Field]),
    /// A map with these fields.
    Object(&'static [Field]),
}

const fn field(name: &'static str, shape: Shape, description: &'static str) -> Field {
    Field {
        name,
        shape,
        description,
    }
}

const REPLICA_COUNT: Shape = Shape::Int { min: 1, max: 1000 };
const SECONDS: Shape = Shape::Int { min: 0, max: 3600 };
const PORT_NUMBER: Shape = Shape::Int {
    min: 1,
    max: 65_535,
};

/// The environment that AIP cannot do without.
pub const REQUIRED_ENV: &[Field] = &[
    field(
        "DATABASE_URL",
        Shape::String,
        "Database URL: postgresql://…, postgresql+asyncpg://… or sqlite://…",
    ),
    field(
        "REDIS_DSN",
        Shape::String,
        "Valkey or Redis URL: redis://user:password@host:6379/0",
    ),
    field(
        "WORKER_ID",
        Shape::String,
        "Worker name; defaults to the Pod name in the restricted profile",
    ),
    field(
        "JSON_WEB_KEYS",
        Shape::String,
        "Path of the key file in the container; set automatically in the restricted profile",
    ),
    field(
        "ACTIVE_SIGNING_KEYS",
        Shape::String,
        "The `kid`s of the active signing keys: a JSON array, or comma-separated",
    ),
    field(
        "SERVICE_AUTH_KEYS",
        Shape::String,
        "The `kid`s of the service authentication keys: a JSON array, or comma-separated",
    ),
];

const RESOURCE: &[Field] = &[
    field(
        "cpu",
        Shape::Quantity,
        "CPU, as a Kubernetes quantity: 500m, 2",
    ),
    field(
        "memory",
        Shape::Quantity,
        "Memory, as a Kubernetes quantity: 128Mi, 2Gi",
    ),
];

const SERVICE: &[Field] = &[
    field(
        "type",
        Shape::Word(&["load_balancer", "cluster_ip"]),
        "load_balancer: an AWS network load balancer; cluster_ip: reachable only inside the cluster",
    ),
    field(
        "annotations_style",
        Shape::Word(&["legacy", "controller"]),
        "legacy: annotations of the in-tree cloud provider; controller: those of the AWS Load Balancer Controller",
    ),
    field(
        "load_balancer_class",
        Shape::String,
        "`loadBalancerClass`; service.k8s.aws/nlb with annotations_style controller",
    ),
    field(
        "internal",
        Shape::Bool,
        "Internal load balancer, reachable only inside the VPC (controller style)",
    ),
    field(
        "plain_http",
        Shape::Bool,
        "Also listen on port 80, unencrypted",
    ),
    field(
        "annotations",
        Shape::StringMap,
        "Additional annotations of the load balancer's Service",
    ),
];

const PROBES: &[Field] = &[
    field(
        "ready_path",
        Shape::String,
        "Path of the readiness and startup probes",
    ),
    field(
        "alive_path",
        Shape::String,
        "Path of the liveness probe (restricted profile)",
    ),
    field(
        "startup_seconds",
        SECONDS,
        "Time limit for startup, in seconds; after it the container is restarted",
    ),
];

const AUTOSCALING: &[Field] = &[
    field("min_replicas", REPLICA_COUNT, "Minimum number of Pods"),
    field("max_replicas", REPLICA_COUNT, "Maximum number of Pods"),
    field(
        "cpu_percent",
        Shape::Int { min: 1, max: 100 },
        "Target average CPU utilization, in percent of the requested CPU",
    ),
];

const MIGRATIONS: &[Field] = &[
    field(
        "mode",
        Shape::Word(&["job", "init", "none"]),
        "job: a Job that completes before the Pods change; init: an init container in each Pod; none: no migration",
    ),
    field(
        "args",
        Shape::StringList,
        "Container arguments that migrate the database",
    ),
    field(
        "timeout_seconds",
        SECONDS,
        "Time limit of the Job, in seconds",
    ),
];

const NETWORK_POLICY: &[Field] = &[
    field(
        "enabled",
        Shape::Bool,
        "Whether to create a NetworkPolicy that restricts the traffic of the Pods",
    ),
    field(
        "allow_cidrs",
        Shape::StringList,
        "Additional CIDR blocks that the Pods may reach, on any port",
    ),
];

const METRICS: &[Field] = &[
    field(
        "pod_monitor",
        Shape::Bool,
        "Create a PodMonitor for the Prometheus operator, whose CRDs must be installed",
    ),
    field(
        "labels",
        Shape::StringMap,
        "Labels of the PodMonitor that your Prometheus selects, such as `release`",
    ),
    field(
        "namespace",
        Shape::String,
        "The only namespace that may scrape metrics; if not set, all namespaces may",
    ),
];

/// The fields of `aip_config`.
pub const AIP_CONFIG: &[Field] = &[
    field(
        "profile",
        Shape::Word(&["compat", "restricted"]),
        "compat: the objects of the original Pulumi program; restricted: hardened Pods",
    ),
    field(
        "enable_init_containers",
        Shape::Bool,
        "Migrate in an init container of every Pod, as the original program did; prefer `migrations`",
    ),
    field(
        "image_slug",
        Shape::String,
        "Full image reference; overrides image_repo and image_tag",
    ),
    field("image_repo", Shape::String, "The image's repository"),
    field(
        "image_tag",
        Shape::String,
        "The image's tag, with or without @sha256:…",
    ),
    field("replicas", REPLICA_COUNT, "The number of Pods"),
    field(
        "required_env",
        Shape::Env(REQUIRED_ENV),
        "Required environment variables",
    ),
    field(
        "env_config",
        Shape::Env(REQUIRED_ENV),
        "Alias of required_env",
    ),
    field(
        "extra_env",
        Shape::StringMap,
        "Additional environment variables",
    ),
    field(
        "signing_keys_json_string",
        Shape::String,
        "The key file: a JWK Set with private keys, as a string",
    ),
    field(
        "ssl_cert_arn",
        Shape::String,
        "ARN of the certificate of the load balancer",
    ),
    field(
        "server_args",
        Shape::StringList,
        "Container arguments that start the server",
    ),
    field("port", PORT_NUMBER, "The port that the server listens on"),
    field(
        "migrations",
        Shape::Object(MIGRATIONS),
        "How the database is migrated",
    ),
    field(
        "service",
        Shape::Object(SERVICE),
        "The Service in front of the Pods",
    ),
    field(
        "probes",
        Shape::Object(PROBES),
        "Startup, readiness and liveness probes",
    ),
    field(
        "requests",
        Shape::Object(RESOURCE),
        "Resource requests of every Pod",
    ),
    field(
        "limits",
        Shape::Object(RESOURCE),
        "Resource limits of every Pod",
    ),
    field(
        "autoscaling",
        Shape::Object(AUTOSCALING),
        "HorizontalPodAutoscaler, which then controls the number of replicas",
    ),
    field(
        "network_policy",
        Shape::Object(NETWORK_POLICY),
        "NetworkPolicy of the Pods (restricted profile)",
    ),
    field(
        "trusted_proxies",
        Shape::StringList,
        "Networks of the reverse proxies in front of the Pods, whose `X-Forwarded-For` is trusted (restricted \
         profile)",
    ),
    field(
        "metrics",
        Shape::Object(METRICS),
        "How metrics are scraped (restricted profile)",
    ),
    field(
        "pull_secrets",
        Shape::StringList,
        "Names of Secrets with registry credentials",
    ),
    field(
        "service_account_role_arn",
        Shape::String,
        "ARN of a role for the Pods (IAM roles for service accounts)",
    ),
    field(
        "grace_seconds",
        SECONDS,
        "Termination grace period of a Pod, in seconds (restricted profile)",
    ),
    field(
        "drain_seconds",
        SECONDS,
        "How long a Pod keeps serving after it is removed from the load balancer, in seconds (restricted profile)",
    ),
];

/// The shape of the value at `steps` below `aip_config`; `None` where the table says nothing.
pub fn shape_at(steps: &[Segment]) -> Option<Shape> {
    steps
        .iter()
        .try_fold(Shape::Object(AIP_CONFIG), |shape, step| {
            match (shape, step) {
                (Shape::Object(fields), Segment::Key(name)) => fields
                    .iter()
                    .find(|field| field.name == name)
                    .map(|field| field.shape),
                (Shape::StringMap | Shape::Env(_), Segment::Key(_))
                | (Shape::StringList, Segment::Index(_)) => Some(Shape::String),
                _ => None,
            }
        })
}

impl Shape {
    /// Completes "must be …".
    pub fn describe(self) -> String {
        match self {
            Self::String => "a string".to_owned(),
            Self::Quantity => "a Kubernetes quantity such as 500m, 2 or 128Mi".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::Word(words) => words.join(" or "),
            Self::StringList => "a list of strings".to_owned(),
            Self::StringMap | Self::Env(_) => "a map of strings".to_owned(),
            Self::Object(_) => "a map".to_owned(),
        }
    }
}
