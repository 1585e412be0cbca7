//! The environment and the keys: what is required, what values mean, what is better encrypted.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::super::checks;
use super::super::reader::{Object, Text, quoted};
use super::super::table::REQUIRED_ENV;
use super::Assembly;

const DATABASES: &[&str] = &[
    "postgresql://",
    "postgresql+asyncpg://",
    "postgres://",
    "sqlite://",
];
const VALKEYS: &[&str] = &[
    "redis://",
    "rediss://",
    "valkey://",
    "valkeys://",
    "unix://",
];

impl Assembly<'_> {
    pub(super) fn required_env(
        &mut self,
        fields: &Object,
        restricted: bool,
        replicas: u32,
    ) -> BTreeMap<String, Text> {
        if let (Some(_), Some(other)) = (fields.object("required_env"), fields.object("env_config"))
        {
            let message = "is another name of aip_config.required_env: keep one of the two";
            let fix = Some("aip-deploy config rm --path aip_config.env_config".to_owned());
            self.reader
                .problem(other.line, "aip_config.env_config", message, fix);
        }
        let spelled = if fields.object("env_config").is_some() {
            "env_config"
        } else {
            "required_env"
        };
        let empty = Object::default();
        let given = fields
            .object("required_env")
            .or(fields.object("env_config"))
            .unwrap_or(&empty);
        let mut env = BTreeMap::new();
        for field in REQUIRED_ENV {
            let path = format!("aip_config.{spelled}.{}", field.name);
            let secret = !matches!(field.name, "WORKER_ID" | "JSON_WEB_KEYS");
            let flag = if secret { " --secret" } else { "" };
            let fix = || Some(format!("aip-deploy config set --path{flag} {path}"));
            let needed = match field.name {
                "DATABASE_URL" | "ACTIVE_SIGNING_KEYS" => true,
                "REDIS_DSN" => !restricted || replicas > 1,
                _ => !restricted,
            };
            let already = |problems: &[super::super::Problem]| {
                problems.iter().any(|problem| problem.path == path)
            };
            match given
                .text(field.name)
                .filter(|text| text.known() != Some(""))
            {
                None if needed && !already(&self.reader.problems) => {
                    let why = if field.name == "REDIS_DSN" && restricted {
                        "is missing: more than one Pod needs a shared Valkey"
                    } else {
                        "is missing"
                    };
                    self.reader
                        .problem(given.line.or(fields.line), &path, why, fix());
                }
                None => {}
                Some(text) => {
                    let outcome = text.known().map_or(Ok(()), |value| match field.name {
                        "DATABASE_URL" => checks::url(value, DATABASES),
                        "REDIS_DSN" => checks::url(value, VALKEYS),
                        "ACTIVE_SIGNING_KEYS" | "SERVICE_AUTH_KEYS" => {
                            checks::kids(value).map(drop)
                        }
                        _ => Ok(()),
                    });
                    if let Err(message) = outcome {
                        self.reader.problem(Some(text.line), &path, message, fix());
                    }
                    if !text.encrypted && matches!(field.name, "DATABASE_URL" | "REDIS_DSN") {
                        let file = self.reader.file.display();
                        self.notices.push(format!(
                            "{file}:{}: {path} is in plain text: `aip-deploy config set --path --secret {path}` encrypts it",
                            text.line
                        ));
                    }
                    env.insert(field.name.to_owned(), text.clone());
                }
            }
        }
        for (name, text) in &given.others {
            let path = format!("aip_config.{spelled}.{name}");
            match checks::variable(name) {
                Ok(()) => {
                    self.notices.push(format!(
                        "{path} is not known here; it is passed on to the Pods"
                    ));
                    env.insert(name.clone(), text.clone());
                }
                Err(message) => self.reader.problem(Some(text.line), &path, message, None),
            }
        }
        if let Some(database) = env.get("DATABASE_URL").filter(|_| restricted)
            && database
                .known()
                .is_some_and(|url| url.starts_with("sqlite"))
            && replicas > 1
        {
            let path = format!("aip_config.{spelled}.DATABASE_URL");
            let message = "SQLite serves one Pod only: use PostgreSQL, or one replica";
            let fix = Some("aip-deploy config set --path aip_config.replicas 1".to_owned());
            self.reader
                .problem(Some(database.line), &path, message, fix);
        }
        env
    }

    pub(super) fn extra_env(&mut self, fields: &Object) -> BTreeMap<String, Text> {
        let env = fields.map("extra_env");
        for (name, text) in &env {
            let path = format!("aip_config.extra_env.{name}");
            let fix = Some(format!("aip-deploy config rm --path {}", quoted(&path)));
            if let Err(message) = checks::variable(name) {
                self.reader.problem(Some(text.line), &path, message, fix);
            } else if REQUIRED_ENV.iter().any(|field| field.name == name) {
                let message =
                    "belongs into aip_config.required_env: here it would hide the checked value";
                self.reader.problem(Some(text.line), &path, message, fix);
            }
        }
        env
    }

    pub(super) fn signing_keys(
        &mut self,
        fields: &Object,
        env: &BTreeMap<String, Text>,
    ) -> Option<SecretString> {
        const PATH: &str = "aip_config.signing_keys_json_string";
        let fix = || {
            Some(format!(
                "aip-deploy config set --path --secret {PATH} < signing_keys.json"
            ))
        };
        let Some(text) = fields
            .text("signing_keys_json_string")
            .filter(|text| text.known() != Some(""))
        else {
            if !self
                .reader
                .problems
                .iter()
                .any(|problem| problem.path == PATH)
            {
                self.reader.problem(fields.line, PATH, "is missing", fix());
            }
            return None;
        };
        if let Some(value) = text.known() {
            match checks::key_set(value) {
                Err(message) => self.reader.problem(Some(text.line), PATH, message, fix()),
                Ok(present) => {
                    let active = env
                        .get("ACTIVE_SIGNING_KEYS")
                        .and_then(Text::known)
                        .and_then(|a| checks::kids(a).ok());
                    for kid in active
                        .unwrap_or_default()
                        .iter()
                        .filter(|kid| !present.contains(kid))
                    {
                        let message =
                            format!("has no key `{kid}`, which ACTIVE_SIGNING_KEYS names");
                        self.reader.problem(Some(text.line), PATH, message, fix());
                    }
                }
            }
            if !text.encrypted {
                let file = self.reader.file.display();
                self.notices
                    .push(format!("{file}:{}: {PATH} is in plain text", text.line));
            }
        }
        Some(text.to_secret())
    }
}
