//! A problem for each kind of fix, and more for those that are easily written wrong.

use aip_stack::config::Remedy;

use crate::test_project::STACK;

pub(super) const MASTER_KEYS: &str =
    r#"{"primary":"m","keys":[{"kid":"m","key":"k"}],"token_pepper":"p"}"#;
pub(super) const KEYS: &str =
    r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#;

/// A stack file that is complete, in block style and with a comment.
pub(crate) fn complete() -> String {
    let salt = STACK.lines().next().unwrap();
    format!(
        "{salt}\nconfig:\n  aip:k8s_context: here\n  # kept\n  aip:aip_config:\n    profile: restricted\n    \
         image_repo: registry.example.com/aip\n    image_tag: v0.1.1\n    ssl_cert_arn: \
         arn:aws:acm:us-east-1:000000000000:certificate/1\n    signing_keys_json_string: '{KEYS}'\n    required_env:\n      \
         DATABASE_URL: postgresql://u@db:5432/aip\n      ACTIVE_SIGNING_KEYS: '[\"k1\"]'\n      AIP_MASTER_KEYS: \
         '{MASTER_KEYS}'\n      EXTERNAL_HOSTNAME: auth.example.com\n"
    )
}

/// A problem to provoke and the answer to the question that its fix may ask.
pub(super) struct Row {
    pub(super) remedy: Remedy,
    pub(super) text: String,
    pub(super) answer: &'static str,
    /// What every value that changes has in its path.
    pub(super) changes: &'static str,
}

/// The complete file with lines added below `aip_config`.
fn with(remedy: Remedy, lines: &str, answer: &'static str, changes: &'static str) -> Row {
    let lines: Vec<String> = lines.lines().map(|line| format!("    {line}\n")).collect();
    Row {
        remedy,
        text: complete() + &lines.concat(),
        answer,
        changes,
    }
}

/// The complete file with something replaced.
fn without(
    remedy: Remedy,
    from: &str,
    to: &str,
    answer: &'static str,
    changes: &'static str,
) -> Row {
    let text = complete();
    assert!(text.contains(from), "{from}");
    Row {
        remedy,
        text: text.replace(from, to),
        answer,
        changes,
    }
}

#[allow(clippy::too_many_lines, reason = "a table")]
pub(super) fn rows() -> Vec<Row> {
    let ours = complete();
    let aip_config = &ours[ours.find("  aip:aip_config").unwrap()..];
    let master_keys = format!("      AIP_MASTER_KEYS: '{MASTER_KEYS}'\n");
    let keys = format!("    signing_keys_json_string: '{KEYS}'\n");
    let retired = KEYS.replace("]}", r#",{"kid":"k2","kty":"RSA"}]}"#);
    vec![
        without(
            Remedy::Context,
            "  aip:k8s_context: here\n",
            "",
            "there",
            "k8s_context",
        ),
        without(
            Remedy::Context,
            "context: here",
            "context: \"\"",
            "there",
            "k8s_context",
        ),
        without(
            Remedy::StartConfig,
            aip_config,
            "",
            "example.com/aip",
            "image_repo",
        ),
        without(
            Remedy::Image,
            "    image_tag: v0.1.1\n",
            "",
            "v2",
            "image_tag",
        ),
        without(
            Remedy::Image,
            "    image_repo: registry.example.com/aip\n",
            "",
            "example.com/aip",
            "image_repo",
        ),
        with(
            Remedy::String,
            "image_slug: Repo/AIP:v1",
            "repo/aip:v1",
            "image_slug",
        ),
        without(
            Remedy::String,
            "000000000000:certificate/1",
            "0:certificate/1",
            "arn:aws:acm:us-east-1:000000000000:certificate/2",
            "ssl_cert_arn",
        ),
        with(Remedy::Quantity, "limits: {cpu: lots}", "", "limits/cpu"),
        with(
            Remedy::Quantity,
            "requests:\n  memory: 1 Gi",
            "",
            "requests/memory",
        ),
        with(Remedy::Quote, "extra_env: {PORT.ALT: 5}", "", "PORT.ALT"),
        with(
            Remedy::Quote,
            "extra_env:\n  FROM: 2024-01-01 10:00:00 # kept",
            "",
            "FROM",
        ),
        with(
            Remedy::Quote,
            "extra_env:\n  FROM: 2024-01-01T10:00:00Z",
            "",
            "FROM",
        ),
        with(Remedy::Quote, "extra_env: {LEVEL: -5}", "", "LEVEL"),
        with(Remedy::Quote, "extra_env: {LEVEL: -.inf}", "", "LEVEL"),
        with(
            Remedy::Quote,
            "extra_env: {A: 0x1F, B: x}",
            "",
            "extra_env/A",
        ),
        with(
            Remedy::Quote,
            "extra_env: {APP_TOKEN: 12345678}",
            "12345678",
            "APP_TOKEN",
        ),
        with(
            Remedy::Quote,
            "extra_env: {A: ~, B: null}",
            "",
            "extra_env/A",
        ),
        with(
            Remedy::Quote,
            "server_args: [serve, -1]",
            "",
            "server_args/1",
        ),
        with(
            Remedy::Quote,
            "service:\n  annotations:\n    example.com/it's-$(id)[0]: true",
            "",
            "annotations",
        ),
        with(
            Remedy::Quote,
            "metrics: {labels: {\"a\\\"b\": 1.10}}",
            "",
            "labels",
        ),
        without(
            Remedy::Quote,
            "image_tag: v0.1.1",
            "image_tag: 1.10",
            "",
            "image_tag",
        ),
        without(
            Remedy::Quote,
            "context: here",
            "context: 5",
            "",
            "k8s_context",
        ),
        with(Remedy::Shape, "replicas: 0", "", "replicas"),
        with(Remedy::Shape, "replicas: \"7\"", "", "replicas"),
        with(Remedy::Shape, "replicas:\n  a: 1", "", "replicas"),
        with(
            Remedy::Shape,
            "service: {type: ClusterIP}",
            "",
            "service/type",
        ),
        with(
            Remedy::Shape,
            "service: {internal: \"no\"}",
            "",
            "service/internal",
        ),
        without(
            Remedy::Reencrypt,
            "postgresql://u@db:5432/aip",
            "{secure: \"v1:AyijEgDvK4ums8J0:LOqC\"}",
            "postgresql://u:p@db/aip",
            "DATABASE_URL",
        ),
        with(
            Remedy::Encrypt,
            "replicas: 1",
            KEYS,
            "signing_keys_json_string",
        ),
        with(Remedy::Unknown, "image_tga: v1", "", "image_tga"),
        with(
            Remedy::Unknown,
            "service: {\"a.b\": {c: d}, internal: true}",
            "",
            "service/a.b",
        ),
        with(Remedy::Unknown, "\"it's $HOME\": v1", "", "it's"),
        without(
            Remedy::Variable,
            "      DATABASE_URL: postgresql://u@db:5432/aip\n",
            "",
            "postgresql://u:p@db/aip",
            "DATABASE_URL",
        ),
        without(
            Remedy::Variable,
            "'[\"k1\"]'",
            "'['",
            "k1",
            "ACTIVE_SIGNING_KEYS",
        ),
        with(
            Remedy::VariableName,
            "extra_env: {\"b c\": x, D: e}",
            "",
            "b c",
        ),
        without(
            Remedy::VariableName,
            "      EXTERNAL",
            "      \"1.x\": y\n      EXTERNAL",
            "",
            "1.x",
        ),
        with(
            Remedy::Shadowing,
            "extra_env: {DATABASE_URL: x}",
            "",
            "extra_env/DATABASE_URL",
        ),
        with(
            Remedy::OtherName,
            "env_config: {WORKER_ID: x}",
            "",
            "env_config",
        ),
        without(
            Remedy::OneReplica,
            "postgresql://u@db:5432/aip",
            "sqlite:///data/aip.db",
            "",
            "replicas",
        ),
        without(Remedy::MasterKeys, &master_keys, "", "", "AIP_MASTER_KEYS"),
        without(Remedy::MasterKeys, MASTER_KEYS, "{}", "", "AIP_MASTER_KEYS"),
        without(
            Remedy::SigningKeys,
            &keys,
            "",
            "",
            "signing_keys_json_string",
        ),
        without(
            Remedy::SigningKeys,
            KEYS,
            "{}",
            "",
            "signing_keys_json_string",
        ),
        Row {
            remedy: Remedy::ActiveKeys,
            text: ours.replace(KEYS, &retired).replace("'[\"k1\"]'", "k2"),
            answer: "",
            changes: "ACTIVE_SIGNING_KEYS",
        },
        without(
            Remedy::ExternalHost,
            "      EXTERNAL_HOSTNAME: auth.example.com\n",
            "",
            "auth.example.com",
            "EXTERNAL_HOSTNAME",
        ),
        without(
            Remedy::ExternalHost,
            "auth.example.com",
            "127.0.0.1",
            "auth.example.com",
            "EXTERNAL_HOSTNAME",
        ),
        without(
            Remedy::Certificate,
            "    ssl_cert_arn: arn:aws:acm:us-east-1:000000000000:certificate/1\n",
            "",
            "arn:aws:acm:us-east-1:000000000000:certificate/1",
            "ssl_cert_arn",
        ),
        with(
            Remedy::AutoscaledReplicas,
            "replicas: 4\nautoscaling: {}",
            "",
            "replicas",
        ),
        with(
            Remedy::MaxReplicas,
            "autoscaling: {min_replicas: 9, max_replicas: 2}",
            "",
            "max_replicas",
        ),
        with(
            Remedy::GracePeriod,
            "drain_seconds: 90",
            "",
            "grace_seconds",
        ),
        with(
            Remedy::Limit,
            "requests: {cpu: 3, memory: 1Gi}",
            "",
            "limits",
        ),
        with(
            Remedy::CidrBlock,
            "network_policy: {allow_cidrs: [10.0.0.0/8, 10.1.2.3]}",
            "",
            "allow_cidrs/1",
        ),
        with(
            Remedy::CidrBlock,
            "trusted_proxies: [\"fd00::1\"]",
            "",
            "trusted_proxies/0",
        ),
        with(
            Remedy::EmptyName,
            "pull_secrets: [\"\", registry]",
            "",
            "pull_secrets",
        ),
        with(
            Remedy::EmptyName,
            "pull_secrets: [A_b]",
            "registry",
            "pull_secrets/0",
        ),
        with(
            Remedy::Proxies,
            "service: {type: cluster_ip}",
            "10.0.0.0/8",
            "trusted_proxies",
        ),
        with(
            Remedy::Proxies,
            "edge: {kind: ingress, ingress: {class: traefik}}",
            "10.0.0.0/8",
            "trusted_proxies",
        ),
        with(
            Remedy::EdgeName,
            "trusted_proxies: []\nedge: {kind: gateway, gateway: {name: public}}",
            "https",
            "edge/gateway/section",
        ),
        with(
            Remedy::CertificateKind,
            "certificate: {kind: files}",
            "",
            "certificate/kind",
        ),
        with(
            Remedy::CertificateFiles,
            "trusted_proxies: []\nedge: {kind: ingress, ingress: {class: a}}\ncertificate: {kind: files}",
            "",
            "certificate/",
        ),
        with(
            Remedy::SecondEdge,
            "trusted_proxies: []\nedge: {kind: ingress, ingress: {class: a}}\nservice: {type: load_balancer}",
            "",
            "service",
        ),
        with(
            Remedy::Proxies,
            "trusted_proxies: [0.0.0.0/0]",
            "10.0.0.0/8",
            "trusted_proxies",
        ),
        without(
            Remedy::ExternalDependency,
            "    profile: restricted\n",
            "    profile: compat\n    dependencies: {postgres: cnpg}\n",
            "",
            "dependencies/postgres",
        ),
        with(
            Remedy::SecondUrl,
            "dependencies: {postgres: cnpg}",
            "",
            "required_env/DATABASE_URL",
        ),
        with(
            Remedy::ValkeyPassword,
            "dependencies: {valkey: cluster}",
            "a-password-of-24-letters",
            "valkey_cluster/password",
        ),
        with(
            Remedy::ValkeyPassword,
            "dependencies: {valkey: cluster, valkey_cluster: {password: short}}",
            "a-password-of-24-letters",
            "valkey_cluster/password",
        ),
        with(
            Remedy::ValkeyServers,
            "dependencies: {valkey: cluster, valkey_cluster: {servers: 2, password: a-password-of-24-letters}}",
            "",
            "valkey_cluster/servers",
        ),
        with(
            Remedy::Backup,
            "dependencies: {postgres: cnpg, cnpg: {backup: {role_arn: arn:aws:iam::000000000000:role/b}}}",
            "s3://bucket/aip",
            "backup/destination",
        ),
        with(
            Remedy::Connections,
            "replicas: 40\ndependencies: {postgres: cnpg}",
            "",
            "cnpg/max_connections",
        ),
    ]
}
