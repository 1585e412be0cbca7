//! The fields of `aip_config`: one table, from which reading, the type of `config set` values and
//! the JSON Schema for editors follow.

use pulumi_files::yaml::Segment;

/// A field.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// What it is for.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Text; a value that looks like a number or a date must be in quotes.
    Text,
    /// A quantity of Kubernetes: text, or a bare number.
    Quantity,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// Names and texts.
    TextMap,
    /// Environment: texts, of which some are known by name.
    Env(&'static [Field]),
    /// Fields of its own.
    Object(&'static [Field]),
}

const fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, about }
}

const COUNT: Shape = Shape::Int { min: 1, max: 1000 };
const SECONDS: Shape = Shape::Int { min: 0, max: 3600 };
const PORT: Shape = Shape::Int {
    min: 1,
    max: 65_535,
};

/// The environment that AIP cannot do without.
pub const REQUIRED_ENV: &[Field] = &[
    field(
        "DATABASE_URL",
        Shape::Text,
        "URL of the database: postgresql://…, postgresql+asyncpg://… or sqlite://…",
    ),
    field(
        "REDIS_DSN",
        Shape::Text,
        "URL of Valkey or Redis: redis://user:password@host:6379/0",
    ),
    field(
        "WORKER_ID",
        Shape::Text,
        "Name of the worker; in the restricted profile the Pod's name unless it is set",
    ),
    field(
        "JSON_WEB_KEYS",
        Shape::Text,
        "Path of the key file in the container; in the restricted profile it follows the mount",
    ),
    field(
        "ACTIVE_SIGNING_KEYS",
        Shape::Text,
        "The `kid`s that sign: a JSON array, or separated by commas",
    ),
    field(
        "SERVICE_AUTH_KEYS",
        Shape::Text,
        "The `kid`s for service authentication, in the same form",
    ),
];

const RESOURCE: &[Field] = &[
    field(
        "cpu",
        Shape::Quantity,
        "Processors, as Kubernetes writes them: 500m, 2",
    ),
    field(
        "memory",
        Shape::Quantity,
        "Memory, as Kubernetes writes it: 128Mi, 2Gi",
    ),
];

const SERVICE: &[Field] = &[
    field(
        "type",
        Shape::Word(&["load_balancer", "cluster_ip"]),
        "A network load balancer, or reachable inside the cluster only",
    ),
    field(
        "annotations_style",
        Shape::Word(&["legacy", "controller"]),
        "The in-tree provider's annotations, or those of the AWS Load Balancer Controller",
    ),
    field(
        "load_balancer_class",
        Shape::Text,
        "`loadBalancerClass`; service.k8s.aws/nlb with annotations_style controller",
    ),
    field(
        "internal",
        Shape::Bool,
        "Reachable from inside the network only (controller style)",
    ),
    field(
        "plain_http",
        Shape::Bool,
        "Also listen on port 80, in clear text",
    ),
    field(
        "annotations",
        Shape::TextMap,
        "More annotations of the load balancer's Service",
    ),
];

const PROBES: &[Field] = &[
    field(
        "ready_path",
        Shape::Text,
        "Path of the readiness and startup probes",
    ),
    field(
        "alive_path",
        Shape::Text,
        "Path of the liveness probe (restricted profile)",
    ),
    field(
        "startup_seconds",
        SECONDS,
        "How long a start may take before the container is restarted",
    ),
];

const AUTOSCALING: &[Field] = &[
    field("min_replicas", COUNT, "The least number of Pods"),
    field("max_replicas", COUNT, "The largest number of Pods"),
    field(
        "cpu_percent",
        Shape::Int { min: 1, max: 100 },
        "The average use of requested processors to aim at",
    ),
];

const MIGRATIONS: &[Field] = &[
    field(
        "mode",
        Shape::Word(&["job", "init", "none"]),
        "A Job that is awaited before the Pods change, an init container in each Pod, or not at all",
    ),
    field(
        "args",
        Shape::Texts,
        "Arguments of the image that migrate the database",
    ),
    field("timeout_seconds", SECONDS, "How long the Job may run"),
];

const NETWORK_POLICY: &[Field] = &[
    field(
        "enabled",
        Shape::Bool,
        "Whether to restrict what the Pods may reach",
    ),
    field(
        "allow_cidrs",
        Shape::Texts,
        "More addresses that the Pods may reach, on any port",
    ),
];

const METRICS: &[Field] = &[
    field(
        "pod_monitor",
        Shape::Bool,
        "Make a PodMonitor, which the Prometheus operator scrapes by; its kinds must be installed",
    ),
    field(
        "labels",
        Shape::TextMap,
        "Labels of the PodMonitor that a Prometheus selects it by, such as `release`",
    ),
    field(
        "namespace",
        Shape::Text,
        "The only namespace whose Pods may scrape; without it those of every namespace may",
    ),
];

/// The fields of `aip_config`.
pub const AIP_CONFIG: &[Field] = &[
    field(
        "profile",
        Shape::Word(&["compat", "restricted"]),
        "compat: the objects of the original program; restricted: hardened Pods",
    ),
    field(
        "enable_init_containers",
        Shape::Bool,
        "Migrate in an init container of every Pod, as the original did; `migrations` is the newer way",
    ),
    field(
        "image_slug",
        Shape::Text,
        "The whole image reference; beats image_repo and image_tag",
    ),
    field("image_repo", Shape::Text, "The image's repository"),
    field(
        "image_tag",
        Shape::Text,
        "The image's tag, with or without @sha256:…",
    ),
    field("replicas", COUNT, "The number of Pods"),
    field(
        "required_env",
        Shape::Env(REQUIRED_ENV),
        "The environment that AIP cannot do without",
    ),
    field(
        "env_config",
        Shape::Env(REQUIRED_ENV),
        "Another name of required_env",
    ),
    field("extra_env", Shape::TextMap, "More environment"),
    field(
        "signing_keys_json_string",
        Shape::Text,
        "The key file: a JWK Set with private keys, as text",
    ),
    field(
        "ssl_cert_arn",
        Shape::Text,
        "ARN of the certificate of the load balancer",
    ),
    field(
        "server_args",
        Shape::Texts,
        "Arguments of the image that start the server",
    ),
    field("port", PORT, "The port that the server listens on"),
    field(
        "migrations",
        Shape::Object(MIGRATIONS),
        "How the database is migrated",
    ),
    field(
        "service",
        Shape::Object(SERVICE),
        "How the Pods are reached",
    ),
    field("probes", Shape::Object(PROBES), "How the Pods are checked"),
    field(
        "requests",
        Shape::Object(RESOURCE),
        "What every Pod is given at least",
    ),
    field(
        "limits",
        Shape::Object(RESOURCE),
        "What every Pod is given at most",
    ),
    field(
        "autoscaling",
        Shape::Object(AUTOSCALING),
        "Scale with the load; `replicas` is then left to the autoscaler",
    ),
    field(
        "network_policy",
        Shape::Object(NETWORK_POLICY),
        "What the Pods may reach (restricted profile)",
    ),
    field(
        "trusted_proxies",
        Shape::Texts,
        "Networks of the reverse proxies in front of the Pods, whose `X-Forwarded-For` counts \
         (restricted profile)",
    ),
    field(
        "metrics",
        Shape::Object(METRICS),
        "How metrics are scraped (restricted profile)",
    ),
    field(
        "pull_secrets",
        Shape::Texts,
        "Names of Secrets with registry credentials",
    ),
    field(
        "service_account_role_arn",
        Shape::Text,
        "ARN of a role for the Pods (IAM roles for service accounts)",
    ),
    field(
        "grace_seconds",
        SECONDS,
        "How long a Pod may take to end (restricted profile)",
    ),
    field(
        "drain_seconds",
        SECONDS,
        "How long a Pod serves on after it is taken out of the load balancer (restricted profile)",
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
                (Shape::TextMap | Shape::Env(_), Segment::Key(_))
                | (Shape::Texts, Segment::Index(_)) => Some(Shape::Text),
                _ => None,
            }
        })
}

impl Shape {
    /// What to call it in a message.
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Quantity => "a quantity like 500m, 2, 128Mi".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Word(words) => words.join(" or "),
            Self::Texts => "a list of texts".to_owned(),
            Self::TextMap | Self::Env(_) => "a map of names and texts".to_owned(),
            Self::Object(_) => "a map".to_owned(),
        }
    }
}
