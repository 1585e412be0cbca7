//! The fields of the stack file below `aip_config`. Reading, the type of `config set` values, the
//! JSON Schema and the reference page follow from this table.

use std::collections::BTreeMap;

use super::checks;
use super::choices::{
    AnnotationsStyle, CertificateKind, EdgeKind, ImageDigest, IssuerKind, MigrationMode, Profile,
    ServiceType,
};
use super::field::{Field, FieldType, Group, Shape, Variable, fields};
use super::rotation::DEFAULT_OVERLAP;
use super::valkey_url;
use super::value::{ConfigString, EnvValues};

pub use super::dependency_fields::*;

const REPLICA_COUNT: Shape = Shape::Int { min: 1, max: 1000 };
const SECONDS: Shape = Shape::Int { min: 0, max: 3600 };
const PORT_NUMBER: Shape = Shape::Int {
    min: 1,
    max: 65_535,
};
const PERCENT: Shape = Shape::Int { min: 1, max: 100 };

const DATABASE_SCHEMES: &[&str] = &[
    "postgresql://",
    "postgresql+asyncpg://",
    "postgres://",
    "sqlite://",
];

/// `DATABASE_URL`
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    description: "Database URL: postgresql://…, postgresql+asyncpg://… or sqlite://…",
    is_secret: true,
    check: |text| checks::url(text, DATABASE_SCHEMES),
};

/// `REDIS_DSN`
pub const REDIS_DSN: Variable = Variable {
    name: "REDIS_DSN",
    description: "Valkey or Redis URL: redis://user:password@host:6379/0, or redis+sentinel://…/service/0 with several hosts",
    is_secret: true,
    check: valkey_url::check,
};

/// `WORKER_ID`
pub const WORKER_ID: Variable = Variable {
    name: "WORKER_ID",
    description: "Worker name; defaults to the Pod name in the restricted profile",
    is_secret: false,
    check: |_| Ok(()),
};

/// `JSON_WEB_KEYS`
pub const JSON_WEB_KEYS: Variable = Variable {
    name: "JSON_WEB_KEYS",
    description: "Path of the key file in the container; set automatically in the restricted profile",
    is_secret: false,
    check: |_| Ok(()),
};

/// `ACTIVE_SIGNING_KEYS`
pub const ACTIVE_SIGNING_KEYS: Variable = Variable {
    name: "ACTIVE_SIGNING_KEYS",
    description: "The `kid`s of the active signing keys: a JSON array, or comma-separated",
    is_secret: true,
    check: |text| checks::kids(text).map(drop),
};

/// `SERVICE_AUTH_KEYS`
pub const SERVICE_AUTH_KEYS: Variable = Variable {
    name: "SERVICE_AUTH_KEYS",
    description: "The `kid`s of the service authentication keys: a JSON array, or comma-separated",
    is_secret: true,
    check: |text| checks::kids(text).map(drop),
};

/// The environment that AIP cannot do without.
pub const REQUIRED_VARIABLES: &[&Variable] = &[
    &DATABASE_URL,
    &REDIS_DSN,
    &WORKER_ID,
    &JSON_WEB_KEYS,
    &ACTIVE_SIGNING_KEYS,
    &SERVICE_AUTH_KEYS,
];

fields! {
    /// What a stack deploys
    AIP_CONFIG at "aip_config" {
        /// `compat`: the objects of the original Pulumi program; `restricted`: hardened Pods
        PROFILE: Profile = "profile" => |_| Profile::Compat;
        /// Migrate in an init container of every Pod, as the original program did; prefer `migrations`
        ENABLE_INIT_CONTAINERS: Option<bool> = "enable_init_containers" => |_| None;
        /// Full image reference; overrides `image_repo` and `image_tag`
        IMAGE_SLUG: Option<String> = "image_slug" => |_| None;
        /// The image's repository
        IMAGE_REPO: Option<String> = "image_repo" => |_| None;
        /// The image's tag, with or without @sha256:…
        IMAGE_TAG: Option<String> = "image_tag" => |_| None;
        /// `resolve`: a deployment asks the registry what the tag means and pins the Pods to that digest;
        /// `off`: Pods have the tag as it is
        IMAGE_DIGEST: ImageDigest = "image_digest" => |profile| match profile {
            Profile::Compat => ImageDigest::Off,
            Profile::Restricted => ImageDigest::Resolve,
        };
        /// The number of Pods
        REPLICAS: u32 = "replicas" as REPLICA_COUNT => |_| 3;
        /// Required environment variables
        REQUIRED_ENV: Option<EnvValues> = "required_env" as Shape::Env(REQUIRED_VARIABLES) => |_| None;
        /// Alias of `required_env`
        ENV_CONFIG: Option<EnvValues> = "env_config" as Shape::Env(REQUIRED_VARIABLES) => |_| None;
        /// Additional environment variables
        EXTRA_ENV: BTreeMap<String, ConfigString> = "extra_env" => |_| BTreeMap::new();
        /// The key file: a JWK Set with private keys, as a string
        SIGNING_KEYS: Option<ConfigString> = "signing_keys_json_string" => |_| None;
        /// ARN of the certificate of the load balancer; `aip-deploy cert` requests one and writes it here
        SSL_CERT_ARN: Option<String> = "ssl_cert_arn" => |_| None;
        /// Container arguments that start the server
        SERVER_ARGS: Vec<String> = "server_args" => |profile| match profile {
            Profile::Compat => list(&["pdm", "run", "aipserver"]),
            Profile::Restricted => list(&["serve"]),
        };
        /// The port that the server listens on
        PORT: u16 = "port" as PORT_NUMBER => |_| 8080;
        /// Networks of the reverse proxies in front of the Pods, whose `X-Forwarded-For` is trusted
        /// (restricted profile)
        TRUSTED_PROXIES: Vec<String> = "trusted_proxies" => |_| Vec::new();
        /// Names of Secrets with registry credentials
        PULL_SECRETS: Vec<String> = "pull_secrets" => |_| Vec::new();
        /// ARN of a role for the Pods (IAM roles for service accounts)
        SERVICE_ACCOUNT_ROLE_ARN: Option<String> = "service_account_role_arn" => |_| None;
        /// Termination grace period of a Pod, in seconds (restricted profile)
        GRACE_SECONDS: u32 = "grace_seconds" as SECONDS => |_| 60;
        /// How long a Pod keeps serving after it is removed from the load balancer, in seconds
        /// (restricted profile)
        DRAIN_SECONDS: u32 = "drain_seconds" as SECONDS => |_| 15;
    }
    with [MIGRATIONS, KEYS, EDGE, CERTIFICATE, SERVICE, PROBES, REQUESTS, LIMITS, AUTOSCALING, NETWORK_POLICY, METRICS, DEPENDENCIES]
}

fields! {
    /// How the database is migrated
    MIGRATIONS at "aip_config.migrations" {
        /// `job`: a Job that completes before the Pods change; `init`: an init container in each Pod;
        /// `none`: no migration
        MIGRATION_MODE: MigrationMode = "mode" => |profile| match profile {
            Profile::Compat => MigrationMode::None,
            Profile::Restricted => MigrationMode::Job,
        };
        /// Container arguments that migrate the database
        MIGRATION_ARGS: Vec<String> = "args" => |profile| match profile {
            Profile::Compat => list(&["pdm", "run", "alembic", "upgrade", "head"]),
            Profile::Restricted => list(&["migrate"]),
        };
        /// Time limit of the Job, in seconds
        MIGRATION_TIMEOUT_SECONDS: u32 = "timeout_seconds" as SECONDS => |_| 300;
    }
}

fields! {
    /// When `aip-deploy keys rotate --auto` rotates the signing keys
    KEYS at "aip_config.keys" {
        /// How long a key signs: `90d`, `12w`. If not set, `--auto` has to be told by `--every`
        ROTATE_EVERY: Option<String> = "rotate_every" => |_| None;
        /// How long a replaced key for apps stays published: at least 25h, the longest life of a token and
        /// the time for which apps keep a copy of the keys
        KEY_OVERLAP: String = "overlap" => |_| DEFAULT_OVERLAP.to_owned();
    }
}

fields! {
    /// What people come in by
    EDGE at "aip_config.edge" {
        /// `load_balancer`: as `service` says; `gateway`: routes of the Gateway API at an existing Gateway;
        /// `ingress`: an Ingress of an existing class. The last two lead to public paths only
        EDGE_KIND: EdgeKind = "kind" => |_| EdgeKind::LoadBalancer;
        /// Annotations of the routes or of the Ingress
        EDGE_ANNOTATIONS: BTreeMap<String, String> = "annotations" => |_| BTreeMap::new();
    }
    with [GATEWAY, INGRESS]
}

fields! {
    /// The Gateway, with `edge.kind: gateway`
    GATEWAY at "aip_config.edge.gateway" {
        /// Its name
        GATEWAY_NAME: Option<String> = "name" => |_| None;
        /// Its namespace; if not set, the namespace of the stack
        GATEWAY_NAMESPACE: Option<String> = "namespace" => |_| None;
        /// The name of its HTTPS listener for the host of the stack
        GATEWAY_SECTION: Option<String> = "section" => |_| None;
        /// The name of its HTTP listener; requests there are redirected to HTTPS
        GATEWAY_REDIRECT_SECTION: Option<String> = "redirect_section" => |_| None;
    }
}

fields! {
    /// The Ingress, with `edge.kind: ingress`
    INGRESS at "aip_config.edge.ingress" {
        /// The name of its `IngressClass`
        INGRESS_CLASS: Option<String> = "class" => |_| None;
    }
}

fields! {
    /// The certificate of the edge
    CERTIFICATE at "aip_config.certificate" {
        /// `acm`: `ssl_cert_arn`, with a load balancer; `cert_manager`: cert-manager requests and renews
        /// it; `files`: `chain` and `key`. If not set, a gateway or ingress controller has its own
        CERTIFICATE_KIND: Option<CertificateKind> = "kind" => |_| None;
        /// The certificate and its intermediates as PEM (files)
        CERTIFICATE_CHAIN: Option<ConfigString> = "chain" => |_| None;
        /// The private key of the certificate as PEM, encrypted (files)
        CERTIFICATE_KEY: Option<ConfigString> = "key" => |_| None;
    }
    with [ISSUER]
}

fields! {
    /// Who signs, with `certificate.kind: cert_manager`
    ISSUER at "aip_config.certificate.issuer" {
        /// `cluster_issuer`: for the whole cluster; `issuer`: in the namespace of the stack
        ISSUER_KIND: IssuerKind = "kind" => |_| IssuerKind::ClusterIssuer;
        /// Its name
        ISSUER_NAME: Option<String> = "name" => |_| None;
    }
}

fields! {
    /// The Service in front of the Pods
    SERVICE at "aip_config.service" {
        /// `load_balancer`: an AWS network load balancer; `cluster_ip`: reachable only inside the cluster
        SERVICE_TYPE: ServiceType = "type" => |_| ServiceType::LoadBalancer;
        /// `legacy`: annotations of the in-tree cloud provider; `controller`: those of the AWS Load
        /// Balancer Controller
        ANNOTATIONS_STYLE: AnnotationsStyle = "annotations_style" => |_| AnnotationsStyle::Legacy;
        /// `loadBalancerClass`; `service.k8s.aws/nlb` with `annotations_style: controller`
        LOAD_BALANCER_CLASS: Option<String> = "load_balancer_class" => |_| None;
        /// Internal load balancer, reachable only inside the VPC (controller style)
        INTERNAL: bool = "internal" => |_| false;
        /// Also listen on port 80, unencrypted
        PLAIN_HTTP: bool = "plain_http" => |profile| profile == Profile::Compat;
        /// Additional annotations of the load balancer's Service
        ANNOTATIONS: BTreeMap<String, String> = "annotations" => |_| BTreeMap::new();
    }
}

fields! {
    /// Startup, readiness and liveness probes
    PROBES at "aip_config.probes" {
        /// Path of the readiness and startup probes
        READY_PATH: String = "ready_path" => |_| "/internal/ready".to_owned();
        /// Path of the liveness probe (restricted profile)
        ALIVE_PATH: String = "alive_path" => |_| "/internal/alive".to_owned();
        /// Time limit for startup, in seconds; after it the container is restarted
        STARTUP_SECONDS: u32 = "startup_seconds" as SECONDS => |_| 120;
    }
}

fields! {
    /// Resource requests of every Pod
    REQUESTS at "aip_config.requests" {
        /// CPU, as a Kubernetes quantity: 500m, 2
        REQUESTED_CPU: String = "cpu" as Shape::Quantity => |_| "100m".to_owned();
        /// Memory, as a Kubernetes quantity: 128Mi, 2Gi
        REQUESTED_MEMORY: String = "memory" as Shape::Quantity => |_| "128Mi".to_owned();
    }
}

fields! {
    /// Resource limits of every Pod
    LIMITS at "aip_config.limits" {
        /// CPU, as a Kubernetes quantity: 500m, 2
        CPU_LIMIT: String = "cpu" as Shape::Quantity => |_| "1".to_owned();
        /// Memory, as a Kubernetes quantity: 128Mi, 2Gi
        MEMORY_LIMIT: String = "memory" as Shape::Quantity => |_| "2Gi".to_owned();
    }
}

fields! {
    /// `HorizontalPodAutoscaler`, which then controls the number of replicas
    AUTOSCALING at "aip_config.autoscaling" {
        /// Minimum number of Pods
        MIN_REPLICAS: u32 = "min_replicas" as REPLICA_COUNT => |_| 2;
        /// Maximum number of Pods
        MAX_REPLICAS: u32 = "max_replicas" as REPLICA_COUNT => |_| 10;
        /// Target average CPU utilization, in percent of the requested CPU
        CPU_PERCENT: u32 = "cpu_percent" as PERCENT => |_| 70;
    }
}

fields! {
    /// `NetworkPolicy` of the Pods (restricted profile)
    NETWORK_POLICY at "aip_config.network_policy" {
        /// Whether to create a `NetworkPolicy` that restricts the traffic of the Pods
        NETWORK_POLICY_ENABLED: bool = "enabled" => |profile| profile == Profile::Restricted;
        /// Additional CIDR blocks that the Pods may reach, on any port
        ALLOW_CIDRS: Vec<String> = "allow_cidrs" => |_| Vec::new();
    }
}

fields! {
    /// How metrics are scraped (restricted profile)
    METRICS at "aip_config.metrics" {
        /// Create a `PodMonitor` for the Prometheus operator, whose CRDs must be installed
        POD_MONITOR: bool = "pod_monitor" => |_| false;
        /// Labels of the `PodMonitor` that your Prometheus selects, such as `release`
        POD_MONITOR_LABELS: BTreeMap<String, String> = "labels" => |_| BTreeMap::new();
        /// The only namespace that may scrape metrics; if not set, all namespaces may
        METRICS_NAMESPACE: Option<String> = "namespace" => |_| None;
    }
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::field::AnyField;
    use super::*;

    fn fits(shape: Shape, value: &Value) -> bool {
        match shape {
            Shape::String | Shape::Quantity => value.is_string(),
            Shape::Bool => value.is_boolean(),
            Shape::Int { min, max } => value
                .as_i64()
                .is_some_and(|number| (min..=max).contains(&number)),
            Shape::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Shape::StringList => value.is_array(),
            Shape::StringMap | Shape::Env(_) | Shape::Group(_) => value.is_object(),
        }
    }

    fn all(group: &Group) -> Vec<&'static dyn AnyField> {
        let below = group.groups.iter().flat_map(|group| all(group));
        group.fields.iter().copied().chain(below).collect()
    }

    #[test]
    fn every_default_is_a_value_of_its_field() {
        let fields = all(&AIP_CONFIG);
        assert!(fields.len() > 40, "{}", fields.len());
        for field in fields {
            for profile in [Profile::Compat, Profile::Restricted] {
                let default = field.default_json(profile);
                assert!(
                    default.is_null() || fits(field.shape(), &default),
                    "{}: {default}",
                    field.path()
                );
            }
            assert!(!field.description().is_empty(), "{}", field.path());
        }
    }
}
