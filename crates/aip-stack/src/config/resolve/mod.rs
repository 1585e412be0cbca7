//! From a stack file to a [`StackConfig`]: what is required, what goes together, what values mean.

mod certificate;
mod dependencies;
mod edge;
mod environment;
mod network;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aip_base::Timestamp;
use pulumi_files::{ConfigKey, Project, StackFile, StackName};
use secrecy::SecretString;
use yaml_lossless::Node;

use crate::config::checks;
use crate::config::choices::{MigrationMode, Profile};
use crate::config::field::{AnyField, Field};
use crate::config::fields::{
    CPU_LIMIT, DRAIN_SECONDS, ENABLE_INIT_CONTAINERS, GRACE_SECONDS, IMAGE_REPO, IMAGE_SLUG,
    IMAGE_TAG, KEY_OVERLAP, LIMITS, MAX_REPLICAS, MEMORY_LIMIT, MIGRATION_MODE, PROFILE,
    PULL_SECRETS, REPLICAS, REQUESTED_CPU, REQUESTED_MEMORY, REQUESTS, ROTATE_EVERY,
    SERVICE_ACCOUNT_ROLE_ARN,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::parse::{Parser, SecretsAccess, display_path};
use crate::config::problem::Problems;
use crate::config::rotation::{key_schedule, rotate_every};
use crate::config::value::ConfigString;
use crate::config::values::Values;
use crate::config::{AipConfig, StackConfig, namespace_of};

pub use environment::EXTERNAL_BASE;

/// Inputs of [`resolve`].
#[derive(Clone, Copy)]
pub struct ConfigInput<'a> {
    /// The stack file.
    pub file: &'a StackFile,
    /// Its project, whose defaults count where the stack says nothing.
    pub project: &'a Project,
    /// The stack's name.
    pub stack: &'a StackName,
    /// Whether encrypted values are decrypted.
    pub secrets: SecretsAccess<'a>,
    /// The time at which a certificate has to be valid.
    pub now: Timestamp,
}

pub use dependencies::connections_needed;
pub(crate) use dependencies::{POSTGRES_NAME, SENTINEL_PORT, VALKEY_NAME, VALKEY_PORT};

/// Where the restricted profile mounts the key file.
pub(crate) const KEY_FILE_PATH: &str = "/etc/aip/keys/signing_keys.json";

/// Reads the configuration, or says everything that is wrong with it.
pub fn resolve(input: ConfigInput<'_>) -> Result<StackConfig, Problems> {
    let parser = Parser {
        file: display_path(input.file.path()),
        secrets: input.secrets,
        problems: Vec::new(),
    };
    let mut resolver = Resolver {
        input,
        parser,
        notices: Vec::new(),
        plain: Vec::new(),
    };
    let config = resolver.stack();
    match config {
        Some(config) if resolver.parser.problems.is_empty() => Ok(config),
        _ => {
            let mut problems = resolver.parser.problems;
            problems.sort_by_key(|problem| problem.line);
            let stack_file = display_path(input.file.path());
            let mut tried = 0;
            for problem in &mut problems {
                tried += usize::from(problem.fix.is_some());
                let works = |fix: &Fix| {
                    problem.file == stack_file
                        && tried <= MAX_FIXES
                        && fix.works_on(input.file, &input.project.name)
                };
                problem.fix = problem.fix.take().filter(works);
            }
            Err(Problems(problems))
        }
    }
}

/// Each fix is tried on a copy of the file before it is offered; beyond these, none is.
const MAX_FIXES: usize = 100;

struct Resolver<'a> {
    input: ConfigInput<'a>,
    parser: Parser<'a>,
    notices: Vec<String>,
    /// Lines and paths of secrets that are not encrypted.
    plain: Vec<(usize, String)>,
}

impl Resolver<'_> {
    fn stack(&mut self) -> Option<StackConfig> {
        let context = self.context();
        let namespace = namespace_of(self.input.stack);
        if let Err(message) = checks::dns_label(&namespace) {
            let message = format!(
                "the namespace would be `{namespace}`, which {message}: choose another stack name"
            );
            self.parser.problem(None, "stack", message, None);
        }
        for ignored in ["import_kubeconfig", "eks"] {
            if self.top(ignored).is_some() {
                self.notices.push(format!(
                    "`{ignored}` is ignored: the cluster is the one of `k8s_context`, and its identity is \
                     always verified"
                ));
            }
        }
        let Some((node, file)) = self.top("aip_config") else {
            let fix = Fix::new(Remedy::StartConfig, IMAGE_REPO.path(), Edit::Prompt);
            self.parser
                .problem(None, "aip_config", "is missing", Some(fix));
            return None;
        };
        self.parser.file = file;
        let values = self.parser.values(&node);
        let aip = self.aip(values);
        Some(StackConfig {
            context: context?,
            namespace,
            stack: self.input.stack.to_string(),
            aip: aip?,
            notices: std::mem::take(&mut self.notices),
        })
    }

    /// A value of the stack, or of the project where the stack has none, and its file.
    fn top(&self, name: &str) -> Option<(Node, PathBuf)> {
        let key = ConfigKey {
            namespace: self.input.project.name.clone(),
            name: name.to_owned(),
        };
        let ConfigInput { file, project, .. } = self.input;
        let own = file
            .get(&key)
            .map(|node| (node.clone(), display_path(file.path())));
        let default = || {
            let mut defaults = project.defaults.iter();
            defaults
                .find(|default| default.key == key)
                .map(|default| (default.value.clone(), display_path(&project.file)))
        };
        own.or_else(default).filter(|(node, _)| !node.is_null())
    }

    fn context(&mut self) -> Option<String> {
        let fix = Some(Fix::new(Remedy::Context, "k8s_context", Edit::Prompt));
        let Some((node, file)) = self.top("k8s_context") else {
            let message = "is missing: the kubeconfig context of the only cluster that this stack may be deployed to";
            self.parser.problem(None, "k8s_context", message, fix);
            return None;
        };
        let stack_file = std::mem::replace(&mut self.parser.file, file);
        let context = self.parser.text(&node, "k8s_context");
        let context = context.map(|text| text.plaintext().unwrap_or_default().to_owned());
        if context.as_deref() == Some("") {
            self.parser
                .problem(Some(node.line), "k8s_context", "is empty", fix);
        }
        self.parser.file = stack_file;
        context.filter(|context| !context.is_empty())
    }

    fn aip(&mut self, values: Values) -> Option<AipConfig> {
        let profile = values.get(&PROFILE);
        if !values.is_set(&PROFILE) {
            self.notices.push(
                "`profile` is not set, so the stack uses the profile `compat`; `aip-deploy config set \
                 --path aip_config.profile restricted` hardens it"
                    .to_owned(),
            );
        }
        let restricted = profile == Profile::Restricted;
        let image = self.image(&values);
        let is_autoscaled = self.is_autoscaled(&values);
        let most = if is_autoscaled {
            values.get(&MAX_REPLICAS)
        } else {
            values.get(&REPLICAS)
        };
        let required_env = self.required_env(&values, restricted, most);
        let postgres = self.postgres(&values, restricted, most);
        let valkey = self.valkey(&values, restricted);
        let extra_env = self.extra_env(&values);
        if restricted {
            self.master_keys(&values, &required_env, &extra_env, most);
        }
        let host = self.external_host(&values, &required_env, &extra_env, restricted);
        let signing_keys = self.signing_keys(&values, &required_env, restricted);
        if let Some(keys) = signing_keys.as_ref().filter(|_| restricted && most > 1) {
            self.keys_towards_apps(keys);
        }
        let certificate = self.certificate(&values, host.as_deref());
        let exposure = self.exposure(&values, host);
        let network_policy = self.network_policy(&values, restricted, &required_env, &extra_env);
        if let Some(arn) = values.get(&SERVICE_ACCOUNT_ROLE_ARN) {
            let outcome = checks::arn(&arn, "iam", "role/");
            self.checked(&values, &SERVICE_ACCOUNT_ROLE_ARN, outcome);
        }
        self.grace_period(&values);
        self.trusted_proxies(&values, restricted, &required_env, &extra_env);
        self.pull_secrets(&values);
        self.key_rotation(&values);
        self.resources(&values);
        self.unused_dependencies(&values);
        self.plain_notice();
        let mut required_env = secrets(&required_env);
        required_env.extend(valkey.as_ref().map(dependencies::valkey_variable));
        Some(AipConfig {
            image: image?,
            required_env,
            extra_env: secrets(&extra_env),
            signing_keys: signing_keys?,
            migration_mode: migration_mode(&values),
            exposure: exposure?,
            certificate,
            is_autoscaled,
            network_policy,
            postgres,
            valkey,
            values,
        })
    }

    fn image(&mut self, values: &Values) -> Option<String> {
        if let Some(slug) = values.get(&IMAGE_SLUG) {
            return self
                .checked(values, &IMAGE_SLUG, checks::image(&slug))
                .then_some(slug);
        }
        let repository = self.part_of_image(
            values,
            &IMAGE_REPO,
            "is missing: the image repository (or set aip_config.image_slug)",
            checks::image_repository,
        );
        let tag = self.part_of_image(
            values,
            &IMAGE_TAG,
            "is missing: the image tag to deploy (or set aip_config.image_slug)",
            checks::image_tag,
        );
        Some(format!("{}:{}", repository?, tag?))
    }

    fn part_of_image(
        &mut self,
        values: &Values,
        field: &Field<Option<String>>,
        why: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let Some(given) = values.get(field) else {
            let fix = Fix::new(Remedy::Image, field.path(), Edit::Prompt);
            self.parser.missing(values.line(), field.path(), why, fix);
            return None;
        };
        self.checked(values, field, check(&given)).then_some(given)
    }

    /// Reports the outcome of a check on a field; whether it is fine.
    fn checked(
        &mut self,
        values: &Values,
        field: &dyn AnyField,
        outcome: Result<(), String>,
    ) -> bool {
        let Err(message) = outcome else { return true };
        let line = values.line_of(field).or(values.line());
        let fix = Fix::new(Remedy::String, field.path(), Edit::Prompt);
        self.parser.problem(line, field.path(), message, Some(fix));
        false
    }

    /// A Pod that is killed drains no longer.
    fn grace_period(&mut self, values: &Values) {
        let drain_seconds = values.get(&DRAIN_SECONDS);
        if drain_seconds < values.get(&GRACE_SECONDS) {
            return;
        }
        let message =
            "must be less than aip_config.grace_seconds: the Pod would be killed while it drains";
        let longer = Edit::Set((drain_seconds + 15).to_string());
        let fix = Fix::new(Remedy::GracePeriod, GRACE_SECONDS.path(), longer);
        let line = values.line_of(&DRAIN_SECONDS).or(values.line());
        self.parser
            .problem(line, DRAIN_SECONDS.path(), message, Some(fix));
    }

    /// What every Pod is given at least and at most.
    fn resources(&mut self, values: &Values) {
        for (requested, limit) in [
            (&REQUESTED_CPU, &CPU_LIMIT),
            (&REQUESTED_MEMORY, &MEMORY_LIMIT),
        ] {
            let sizes = (
                self.quantity(values, requested),
                self.quantity(values, limit),
            );
            let (Some(least), Some(most)) = sizes else {
                continue;
            };
            if least > most {
                let (request, most) = (values.get(requested), values.get(limit));
                let message = format!(
                    "is {request}, which exceeds {} ({most}): Kubernetes rejects that",
                    limit.path()
                );
                let fix = Fix::new(Remedy::Limit, limit.path(), Edit::Set(request));
                let line = values.line_of_group(&REQUESTS);
                let line = line.or(values.line_of_group(&LIMITS)).or(values.line());
                self.parser
                    .problem(line, requested.path(), message, Some(fix));
            }
        }
    }

    /// The size that a quantity means, in billionths.
    fn quantity(&mut self, values: &Values, field: &Field<String>) -> Option<u128> {
        match checks::quantity(&values.get(field)) {
            Ok(size) => Some(size),
            Err(message) => {
                let default = Edit::Set(field.default(values.get(&PROFILE)));
                let fix = Fix::new(Remedy::Quantity, field.path(), default);
                let line = values.line_of(field);
                self.parser.problem(line, field.path(), message, Some(fix));
                None
            }
        }
    }

    /// The periods of the rotation of keys, alone and together.
    fn key_rotation(&mut self, values: &Values) {
        let every = match values.get(&ROTATE_EVERY).as_deref().map(rotate_every) {
            None => None,
            Some(Ok(every)) => Some(every),
            Some(Err(message)) => {
                self.checked(values, &ROTATE_EVERY, Err(message));
                None
            }
        };
        if every.is_some() || values.is_set(&KEY_OVERLAP) {
            let outcome = key_schedule(
                every.unwrap_or(Duration::MAX),
                Some(&values.get(&KEY_OVERLAP)),
            );
            self.checked(values, &KEY_OVERLAP, outcome.map(drop));
        }
    }

    fn pull_secrets(&mut self, values: &Values) {
        for (index, name) in values.get(&PULL_SECRETS).iter().enumerate() {
            if let Err(message) = checks::object_name(name) {
                let path = format!("{}[{index}]", PULL_SECRETS.path());
                let edit = if name.is_empty() {
                    Edit::Remove
                } else {
                    Edit::Prompt
                };
                let fix = Fix::new(Remedy::EmptyName, &path, edit);
                let line = values.line_of(&PULL_SECRETS).or(values.line());
                self.parser.problem(line, &path, message, Some(fix));
            }
        }
    }
}

/// `migrations.mode`, else what the older field says, else the default of the profile.
fn migration_mode(values: &Values) -> MigrationMode {
    let from_older_field = match values.get(&ENABLE_INIT_CONTAINERS) {
        Some(true) => Some(MigrationMode::Init),
        Some(false) => Some(MigrationMode::None),
        None => None,
    };
    match from_older_field {
        Some(mode) if !values.is_set(&MIGRATION_MODE) => mode,
        _ => values.get(&MIGRATION_MODE),
    }
}

fn secrets(env: &BTreeMap<String, ConfigString>) -> BTreeMap<String, SecretString> {
    env.iter()
        .map(|(name, text)| (name.clone(), text.to_secret()))
        .collect()
}
