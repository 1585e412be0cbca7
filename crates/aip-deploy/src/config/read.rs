//! From a stack file to a [`StackConfig`]: what is required, what goes together, what values mean.

mod environment;
mod network;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pulumi_files::yaml::Node;
use pulumi_files::{ConfigKey, Project, StackFile, StackName};
use secrecy::SecretString;

use super::checks;
use super::fix::{Edit, Fix, Remedy};
use super::problem::Problems;
use super::reader::{ConfigString, Object, Reader, SecretsAccess, display_path};
use super::table::AIP_CONFIG;
use super::{
    AipConfig, Metrics, MigrationMode, Migrations, Probes, Profile, Resources, StackConfig,
    namespace_of,
};

/// Inputs of [`read`].
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
}

/// Where the restricted profile mounts the key file.
pub(crate) const KEY_FILE_PATH: &str = "/etc/aip/keys/signing_keys.json";

/// Reads the configuration, or says everything that is wrong with it.
pub fn read(input: ConfigInput<'_>) -> Result<StackConfig, Problems> {
    let reader = Reader {
        file: display_path(input.file.path()),
        secrets: input.secrets,
        problems: Vec::new(),
    };
    let mut assembly = StackConfigBuilder {
        input,
        reader,
        notices: Vec::new(),
        plain: Vec::new(),
    };
    let config = assembly.stack();
    match config {
        Some(config) if assembly.reader.problems.is_empty() => Ok(config),
        _ => {
            let mut problems = assembly.reader.problems;
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

struct StackConfigBuilder<'a> {
    input: ConfigInput<'a>,
    reader: Reader<'a>,
    notices: Vec<String>,
    /// Lines and paths of secrets that are not encrypted.
    plain: Vec<(usize, String)>,
}

impl StackConfigBuilder<'_> {
    fn stack(&mut self) -> Option<StackConfig> {
        let context = self.context();
        let namespace = namespace_of(self.input.stack);
        if let Err(message) = checks::dns_label(&namespace) {
            let message = format!(
                "the namespace would be `{namespace}`, which {message}: choose another stack name"
            );
            self.reader.problem(None, "stack", message, None);
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
            let fix = Fix::new(Remedy::StartConfig, "aip_config.image_repo", Edit::Prompt);
            self.reader
                .problem(None, "aip_config", "is missing", Some(fix));
            return None;
        };
        self.reader.file = file;
        let fields = self.reader.object(&node, AIP_CONFIG, "aip_config");
        let aip = self.aip(&fields);
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
            self.reader.problem(None, "k8s_context", message, fix);
            return None;
        };
        let stack_file = std::mem::replace(&mut self.reader.file, file);
        let context = self.reader.text(&node, "k8s_context");
        let context = context.map(|text| text.plaintext().unwrap_or_default().to_owned());
        if context.as_deref() == Some("") {
            self.reader
                .problem(Some(node.line), "k8s_context", "is empty", fix);
        }
        self.reader.file = stack_file;
        context.filter(|context| !context.is_empty())
    }

    fn aip(&mut self, fields: &Object) -> Option<AipConfig> {
        let profile = match fields.plain("profile") {
            Some("restricted") => Profile::Restricted,
            Some(_) => Profile::Compat,
            None => {
                self.notices.push(
                    "`profile` is not set, so the stack uses the profile `compat`; `aip-deploy config set \
                     --path aip_config.profile restricted` hardens it"
                        .to_owned(),
                );
                Profile::Compat
            }
        };
        let restricted = profile == Profile::Restricted;
        let image = self.image(fields);
        let autoscaling = self.autoscaling(fields);
        let replicas = fields.int("replicas").unwrap_or(3);
        let most = autoscaling.map_or(replicas, |scaling| scaling.max_replicas);
        let required_env = self.required_env(fields, restricted, most);
        let extra_env = self.extra_env(fields);
        if restricted {
            self.master_keys(fields, &required_env, &extra_env, most);
            self.external_host(fields, &required_env, &extra_env);
        }
        let signing_keys = self.signing_keys(fields, &required_env, restricted);
        if let Some(keys) = signing_keys.as_ref().filter(|_| restricted && most > 1) {
            self.keys_towards_apps(keys);
        }
        self.plain_notice();
        let service = self.service(fields, restricted);
        let port = fields.int("port").unwrap_or(8080);
        let network_policy = self.network_policy(fields, restricted, &required_env, &extra_env);
        let role_arn = fields.plain("service_account_role_arn").map(str::to_owned);
        if let Some(arn) = &role_arn {
            let outcome = checks::arn(arn, "iam", "role/");
            self.checked(fields, "service_account_role_arn", outcome);
        }
        let server_args: &[&str] = if restricted {
            &["serve"]
        } else {
            &["pdm", "run", "aipserver"]
        };
        let grace_seconds = fields.int("grace_seconds").unwrap_or(60);
        let drain_seconds = fields.int("drain_seconds").unwrap_or(15);
        if drain_seconds >= grace_seconds {
            let message = "must be less than aip_config.grace_seconds: the Pod would be killed while it drains";
            let longer = Edit::Set((drain_seconds + 15).to_string());
            let fix = Fix::new(Remedy::GracePeriod, "aip_config.grace_seconds", longer);
            let line = fields.lines.get("drain_seconds").copied().or(fields.line);
            self.reader
                .problem(line, "aip_config.drain_seconds", message, Some(fix));
        }
        let trusted_proxies = self.trusted_proxies(fields, restricted, &required_env, &extra_env);
        let pull_secrets = self.pull_secrets(fields);
        let (requests, limits) = self.resources(fields);
        Some(AipConfig {
            profile,
            image: image?,
            replicas,
            required_env: secrets(&required_env),
            extra_env: secrets(&extra_env),
            signing_keys: signing_keys?,
            server_args: fields
                .texts("server_args")
                .unwrap_or_else(|| owned(server_args)),
            port,
            migrations: migrations(fields, restricted),
            service: service?,
            probes: probes(fields),
            requests,
            limits,
            autoscaling,
            network_policy,
            trusted_proxies,
            metrics: metrics(fields),
            pull_secrets,
            role_arn,
            grace_seconds,
            drain_seconds,
        })
    }

    fn image(&mut self, fields: &Object) -> Option<String> {
        if let Some(slug) = fields.plain("image_slug") {
            let slug = slug.to_owned();
            return self
                .checked(fields, "image_slug", checks::image(&slug))
                .then_some(slug);
        }
        let repository = self.part_of_image(
            fields,
            "image_repo",
            "is missing: the image repository (or set aip_config.image_slug)",
            checks::image_repository,
        );
        let tag = self.part_of_image(
            fields,
            "image_tag",
            "is missing: the image tag to deploy (or set aip_config.image_slug)",
            checks::image_tag,
        );
        Some(format!("{}:{}", repository?, tag?))
    }

    fn part_of_image(
        &mut self,
        fields: &Object,
        name: &str,
        why: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let Some(given) = fields.plain(name).map(str::to_owned) else {
            let path = format!("aip_config.{name}");
            let fix = Fix::new(Remedy::Image, &path, Edit::Prompt);
            self.reader.missing(fields.line, &path, why, fix);
            return None;
        };
        self.checked(fields, name, check(&given)).then_some(given)
    }

    /// Reports the outcome of a check on a field; whether it is fine.
    fn checked(&mut self, fields: &Object, name: &str, outcome: Result<(), String>) -> bool {
        let Err(message) = outcome else { return true };
        let line = fields.text(name).map(|text| text.line).or(fields.line);
        let path = format!("aip_config.{name}");
        let fix = Fix::new(Remedy::String, &path, Edit::Prompt);
        self.reader.problem(line, &path, message, Some(fix));
        false
    }

    /// What every Pod is given at least and at most.
    fn resources(&mut self, fields: &Object) -> (Resources, Resources) {
        let requests = self.quantities(fields, "requests", "100m", "128Mi");
        let limits = self.quantities(fields, "limits", "1", "2Gi");
        for (what, request, limit) in [
            ("cpu", &requests.cpu, &limits.cpu),
            ("memory", &requests.memory, &limits.memory),
        ] {
            let sizes = (checks::quantity(request), checks::quantity(limit));
            if let (Ok(least), Ok(most)) = sizes
                && least > most
            {
                let path = format!("aip_config.requests.{what}");
                let message = format!(
                    "is {request}, which exceeds aip_config.limits.{what} ({limit}): Kubernetes rejects that"
                );
                let to = Edit::Set(request.clone());
                let fix = Fix::new(Remedy::Limit, &format!("aip_config.limits.{what}"), to);
                let given = fields.object("requests").or(fields.object("limits"));
                let line = given.and_then(|given| given.line).or(fields.line);
                self.reader.problem(line, &path, message, Some(fix));
            }
        }
        (requests, limits)
    }

    fn quantities(&mut self, fields: &Object, name: &str, cpu: &str, memory: &str) -> Resources {
        let empty = Object::default();
        let given = fields.object(name).unwrap_or(&empty);
        let mut quantity = |field: &str, default: &str| {
            let value = given.plain(field).unwrap_or(default).to_owned();
            if let Err(message) = checks::quantity(&value) {
                let path = format!("aip_config.{name}.{field}");
                let line = given.text(field).map(|text| text.line);
                let fix = Fix::new(Remedy::Quantity, &path, Edit::Set(default.to_owned()));
                self.reader.problem(line, &path, message, Some(fix));
            }
            value
        };
        Resources {
            cpu: quantity("cpu", cpu),
            memory: quantity("memory", memory),
        }
    }

    fn pull_secrets(&mut self, fields: &Object) -> Vec<String> {
        let names = fields.texts("pull_secrets").unwrap_or_default();
        for (index, name) in names.iter().enumerate() {
            if let Err(message) = checks::object_name(name) {
                let path = format!("aip_config.pull_secrets[{index}]");
                let edit = if name.is_empty() {
                    Edit::Remove
                } else {
                    Edit::Prompt
                };
                let fix = Fix::new(Remedy::EmptyName, &path, edit);
                let line = fields.lines.get("pull_secrets").copied().or(fields.line);
                self.reader.problem(line, &path, message, Some(fix));
            }
        }
        names
    }
}

fn metrics(fields: &Object) -> Metrics {
    let Some(given) = fields.object("metrics") else {
        return Metrics::default();
    };
    let labels = given.map("labels").into_iter();
    let labels = labels
        .filter_map(|(name, text)| Some((name, text.plaintext()?.to_owned())))
        .collect();
    Metrics {
        pod_monitor: given.bool("pod_monitor").unwrap_or(false).then_some(labels),
        namespace: given.plain("namespace").map(str::to_owned),
    }
}

fn migrations(fields: &Object, restricted: bool) -> Migrations {
    let empty = Object::default();
    let given = fields.object("migrations").unwrap_or(&empty);
    let old = fields.bool("enable_init_containers");
    let mode = match (given.plain("mode"), old) {
        (Some("job"), _) => MigrationMode::Job,
        (Some("init"), _) | (None, Some(true)) => MigrationMode::Init,
        (None, None) if restricted => MigrationMode::Job,
        (Some(_) | None, _) => MigrationMode::None,
    };
    let args: &[&str] = if restricted {
        &["migrate"]
    } else {
        &["pdm", "run", "alembic", "upgrade", "head"]
    };
    Migrations {
        mode,
        args: given.texts("args").unwrap_or_else(|| owned(args)),
        timeout_seconds: given.int("timeout_seconds").unwrap_or(300),
    }
}

fn probes(fields: &Object) -> Probes {
    let empty = Object::default();
    let given = fields.object("probes").unwrap_or(&empty);
    let path = |name: &str, default: &str| given.plain(name).unwrap_or(default).to_owned();
    Probes {
        ready_path: path("ready_path", "/internal/ready"),
        alive_path: path("alive_path", "/internal/alive"),
        startup_seconds: given.int("startup_seconds").unwrap_or(120),
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn secrets(env: &BTreeMap<String, ConfigString>) -> BTreeMap<String, SecretString> {
    env.iter()
        .map(|(name, text)| (name.clone(), text.to_secret()))
        .collect()
}
