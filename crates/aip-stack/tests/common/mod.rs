//! Stacks for tests.

use std::path::Path;

use aip_stack::config::{ConfigInput, Problems, SecretsAccess, StackConfig, resolve};
use pulumi_files::{Project, StackFile};

/// The time at which stacks are read: 21 September 2026.
pub(crate) const NOW: aip_base::Timestamp = aip_base::Timestamp::from_secs(1_790_000_000);

pub(crate) const KEYS: &str =
    r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","x":"x","y":"y","d":"d"}]}"#;

pub(crate) const MASTER_KEYS: &str =
    r#"{"primary":"m","keys":[{"kid":"m","key":"k"}],"token_pepper":"p"}"#;

pub(crate) fn project() -> Project {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Pulumi.yaml");
    std::fs::write(&file, "name: aip\nruntime: python\n").unwrap();
    Project::load(&file).unwrap()
}

/// Reads the stack `main` from the text of its file, without opening secrets.
pub(crate) fn config(text: &str) -> Result<StackConfig, Problems> {
    let file = StackFile::parse(Path::new("Pulumi.main.yaml"), text.to_owned(), "aip").unwrap();
    let stack = "main".parse().unwrap();
    resolve(ConfigInput {
        file: &file,
        project: &project(),
        stack: &stack,
        secrets: SecretsAccess::Placeholder,
        now: NOW,
    })
}

/// A complete stack of a profile, with more lines below `aip_config`.
pub(crate) fn stack(profile: &str, more: &str) -> String {
    let more: Vec<_> = more.lines().map(|line| format!("    {line}\n")).collect();
    let more = more.concat();
    let master_keys = match profile {
        "restricted" => format!(
            "      AIP_MASTER_KEYS: '{MASTER_KEYS}'\n      EXTERNAL_HOSTNAME: auth.example.com\n"
        ),
        _ => String::new(),
    };
    format!(
        "config:\n  aip:k8s_context: here\n  aip:aip_config:\n    profile: {profile}\n    image_repo: registry.example.com/aip\n    \
         image_tag: v0.1.1\n    ssl_cert_arn: arn:aws:acm:us-east-1:000000000000:certificate/1\n    \
         signing_keys_json_string: '{KEYS}'\n    required_env:\n      DATABASE_URL: postgresql://u:p@db:5432/aip\n      \
         REDIS_DSN: redis://valkey:6379/0\n      WORKER_ID: main01\n      JSON_WEB_KEYS: /app/signing_keys.json\n      \
         ACTIVE_SIGNING_KEYS: '[\"k1\"]'\n      SERVICE_AUTH_KEYS: k1\n{master_keys}{more}"
    )
}
