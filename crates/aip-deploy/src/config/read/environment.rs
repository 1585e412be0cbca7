//! The environment and the keys: what is required, what values mean, what is better encrypted.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::super::checks;
use super::super::reader::{Object, Text, quoted};
use super::super::table::REQUIRED_ENV;
use super::Assembly;
use crate::signing_keys::{KeyView, Purpose, SigningKeys};

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
/// The variables of `aip` for the keys that protect the database: as JSON, or the path of a file.
const MASTER_KEYS: [&str; 2] = ["AIP_MASTER_KEYS", "AIP_MASTER_KEYS_FILE"];

fn set_master_keys(path: &str) -> String {
    format!("aip-deploy config set --path --secret {path} < master-keys.json")
}

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
            let fix = format!("aip-deploy config set --path{flag} {path}");
            // Valkey is one of those that only the original cannot do without.
            let needed =
                !restricted || matches!(field.name, "DATABASE_URL" | "ACTIVE_SIGNING_KEYS");
            match given
                .text(field.name)
                .filter(|text| text.known() != Some(""))
            {
                None if needed => {
                    let line = given.line.or(fields.line);
                    self.reader.missing(line, &path, "is missing", fix);
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
                        self.reader
                            .problem(Some(text.line), &path, message, Some(fix));
                    }
                    if matches!(field.name, "DATABASE_URL" | "REDIS_DSN") {
                        self.better_encrypted(text, &path);
                    }
                    env.insert(field.name.to_owned(), text.clone());
                }
            }
        }
        for (name, text) in &given.others {
            let path = format!("aip_config.{spelled}.{name}");
            match checks::variable(name) {
                Ok(()) => {
                    if !MASTER_KEYS.contains(&name.as_str()) {
                        self.notices.push(format!(
                            "{path} is not known here; it is passed on to the Pods"
                        ));
                    }
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

    /// What `aip` seals the database with. A Pod without it makes its own, which go with it; the
    /// database outlives the Pods, unless it is a SQLite file of the only one.
    pub(super) fn master_keys(
        &mut self,
        fields: &Object,
        required: &BTreeMap<String, Text>,
        extra: &BTreeMap<String, Text>,
        replicas: u32,
    ) {
        let [json, file] = MASTER_KEYS;
        for (place, env) in [("required_env", required), ("extra_env", extra)] {
            if let Some(text) = env.get(json) {
                let path = format!("aip_config.{place}.{json}");
                if let Some(Err(message)) = text.known().map(checks::master_keys) {
                    let fix = Some(set_master_keys(&path));
                    self.reader.problem(Some(text.line), &path, message, fix);
                }
                self.better_encrypted(text, &path);
            }
        }
        let given = [json, file]
            .iter()
            .any(|name| required.contains_key(*name) || extra.contains_key(*name));
        let database = required.get("DATABASE_URL").and_then(Text::known);
        if !given && (replicas > 1 || database.is_some_and(|url| !url.starts_with("sqlite"))) {
            let path = format!("aip_config.extra_env.{json}");
            let why = "is missing: each Pod would seal the database with keys of its own";
            self.reader
                .missing(fields.line, &path, why, set_master_keys(&path));
        }
    }

    /// `aip` makes the keys towards apps that a set lacks, in each Pod others.
    pub(super) fn keys_towards_apps(&mut self, keys: &SecretString) {
        let set = SigningKeys::parse(keys.expose_secret(), Vec::new(), Vec::new());
        let towards_apps = |key: &KeyView| key.purpose == Purpose::Oidc;
        if set.is_ok_and(|set| !set.list().iter().any(towards_apps)) {
            self.notices.push(
                "aip_config.signing_keys_json_string has no keys towards apps, so each Pod makes its own, and apps \
                 cannot verify what another one has signed; the `keys.json` that `aip` makes has them"
                    .to_owned(),
            );
        }
    }

    /// Says so if a value that should be encrypted is not.
    fn better_encrypted(&mut self, text: &Text, path: &str) {
        if !text.encrypted {
            let file = self.reader.file.display();
            self.notices.push(format!(
                "{file}:{}: {path} is in plain text: `aip-deploy config set --path --secret {path}` encrypts it",
                text.line
            ));
        }
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
        let fix = format!("aip-deploy config set --path --secret {PATH} < signing_keys.json");
        let Some(text) = fields
            .text("signing_keys_json_string")
            .filter(|text| text.known() != Some(""))
        else {
            self.reader.missing(fields.line, PATH, "is missing", fix);
            return None;
        };
        if let Some(value) = text.known() {
            match checks::key_set(value) {
                Err(message) => self
                    .reader
                    .problem(Some(text.line), PATH, message, Some(fix)),
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
                        let fix = Some(fix.clone());
                        self.reader.problem(Some(text.line), PATH, message, fix);
                    }
                }
            }
            self.better_encrypted(text, PATH);
        }
        Some(text.to_secret())
    }
}
