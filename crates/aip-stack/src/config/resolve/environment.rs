//! The environment and the keys: what is required, what values mean, what is better encrypted.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::checks;
use crate::config::field::Field;
use crate::config::fields::{
    ACTIVE_SIGNING_KEYS, AUTOSCALING, DATABASE_URL, ENV_CONFIG, EXTRA_ENV, REDIS_DSN, REPLICAS,
    REQUIRED_ENV, REQUIRED_VARIABLES, SERVER_ARGS, SIGNING_KEYS,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::parse::join_path;
use crate::config::value::{ConfigString, EnvValues};
use crate::config::values::Values;
use crate::signing_keys::{KeyView, Purpose, SigningKeys};

use super::Resolver;
use super::dependencies;
use super::edge::is_proxy;

/// What stands in for a host name that is not opened. It is shown in routes, and has to look like one.
const HIDDEN_HOST: &str = "stub";

/// The variables of `aip` for the keys that protect the database: as JSON, or the path of a file.
const MASTER_KEYS: [&str; 2] = ["AIP_MASTER_KEYS", "AIP_MASTER_KEYS_FILE"];

/// The variables of `aip` for the address under which people reach it.
pub const EXTERNAL_BASE: [&str; 3] = ["EXTERNAL_HOSTNAME", "EXTERNAL_BASE", "AIP_EXTERNAL_BASE"];

fn set_master_keys(path: &str) -> Fix {
    let edit = Edit::SecretFrom("master-keys.json");
    Fix::new(Remedy::MasterKeys, path, edit)
}

/// The field in which the file has the required environment, which has two names.
fn env_field(values: &Values) -> &'static Field<Option<EnvValues>> {
    if values.is_set(&ENV_CONFIG) && !values.is_set(&REQUIRED_ENV) {
        &ENV_CONFIG
    } else {
        &REQUIRED_ENV
    }
}

/// Whether the key set says itself which key signs for PDSs, as one that `aip` made does. Of
/// a set that is not opened nothing is known.
fn has_active_key(values: &Values) -> bool {
    let Some(text) = values.get(&SIGNING_KEYS) else {
        return false;
    };
    let Some(json) = text.plaintext() else {
        return true;
    };
    let keys = SigningKeys::parse(json, Vec::new(), Vec::new());
    keys.is_ok_and(|keys| {
        keys.list()
            .iter()
            .any(|key| key.purpose == Purpose::Upstream && key.state == "active")
    })
}

impl Resolver<'_> {
    pub(super) fn required_env(
        &mut self,
        values: &Values,
        restricted: bool,
        replicas: u32,
    ) -> BTreeMap<String, ConfigString> {
        if values.is_set(&REQUIRED_ENV)
            && let Some(other) = values.get(&ENV_CONFIG)
        {
            let message = "is an alias of aip_config.required_env: set only one of them";
            let path = ENV_CONFIG.path();
            let fix = Fix::new(Remedy::OtherName, path, Edit::Remove);
            self.parser.problem(other.line, path, message, Some(fix));
        }
        let field = env_field(values);
        let given = values.get(field).unwrap_or_default();
        let says_itself = has_active_key(values);
        let mut env = BTreeMap::new();
        for variable in REQUIRED_VARIABLES {
            let path = join_path(field.path(), variable.name);
            let edit = if variable.is_secret {
                Edit::PromptSecret
            } else {
                Edit::Prompt
            };
            let fix = Fix::new(Remedy::Variable, &path, edit);
            // Valkey is one of those that only the original cannot do without.
            let needed = !restricted
                || variable.name == DATABASE_URL.name
                || (variable.name == ACTIVE_SIGNING_KEYS.name && !says_itself);
            let text = given.known.get(variable.name);
            let text = text.filter(|text| text.plaintext() != Some(""));
            if let Some(maker) = dependencies::dependency_field(values, variable.name) {
                self.no_second_url(text, &path, &maker);
                continue;
            }
            match text {
                None if needed => {
                    let line = given.line.or(values.line());
                    self.parser.missing(line, &path, "is missing", fix);
                }
                None => {}
                Some(text) => {
                    let outcome = text.plaintext().map_or(Ok(()), variable.check);
                    if let Err(message) = outcome {
                        self.parser
                            .problem(Some(text.line), &path, message, Some(fix));
                    }
                    if [DATABASE_URL.name, REDIS_DSN.name].contains(&variable.name) {
                        self.note_plain(text, &path);
                    }
                    env.insert(variable.name.to_owned(), text.clone());
                }
            }
        }
        for (name, text) in &given.others {
            let path = join_path(field.path(), name);
            match checks::variable(name) {
                Ok(()) => {
                    if !MASTER_KEYS.contains(&name.as_str())
                        && !EXTERNAL_BASE.contains(&name.as_str())
                    {
                        self.notices.push(format!(
                            "{path} is not a known variable; it is passed to the Pods as it is"
                        ));
                    }
                    env.insert(name.clone(), text.clone());
                }
                Err(message) => {
                    let fix = Fix::new(Remedy::VariableName, &path, Edit::Remove);
                    self.parser
                        .problem(Some(text.line), &path, message, Some(fix));
                }
            }
        }
        if let Some(database) = env.get(DATABASE_URL.name).filter(|_| restricted)
            && database
                .plaintext()
                .is_some_and(|url| url.starts_with("sqlite"))
            && replicas > 1
        {
            let path = join_path(field.path(), DATABASE_URL.name);
            let message = "SQLite supports only one Pod: use PostgreSQL or one replica";
            let one = Edit::Set("1".to_owned());
            // An autoscaler decides the number itself.
            let replicas = (!values.has(&AUTOSCALING))
                .then(|| Fix::new(Remedy::OneReplica, REPLICAS.path(), one));
            self.parser
                .problem(Some(database.line), &path, message, replicas);
        }
        env
    }

    /// What `aip` seals the database with. A Pod without it makes its own, which go with it; the
    /// database outlives the Pods, unless it is a SQLite file of the only one.
    pub(super) fn master_keys(
        &mut self,
        values: &Values,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
        replicas: u32,
    ) {
        let [json, file] = MASTER_KEYS;
        for (place, env) in [
            (env_field(values).path(), required),
            (EXTRA_ENV.path(), extra),
        ] {
            if let Some(text) = env.get(json) {
                let path = join_path(place, json);
                if let Some(Err(message)) = text.plaintext().map(checks::master_keys) {
                    let fix = Some(set_master_keys(&path));
                    self.parser.problem(Some(text.line), &path, message, fix);
                }
                self.note_plain(text, &path);
            }
        }
        let given = [json, file]
            .iter()
            .any(|name| required.contains_key(*name) || extra.contains_key(*name));
        let database = required
            .get(DATABASE_URL.name)
            .and_then(ConfigString::plaintext);
        let outlives_pods = database.is_some_and(|url| !url.starts_with("sqlite"))
            || dependencies::dependency_field(values, DATABASE_URL.name).is_some();
        if !given && (replicas > 1 || outlives_pods) {
            let path = join_path(EXTRA_ENV.path(), json);
            let why = "is missing: each Pod would encrypt the database with its own keys";
            self.parser
                .missing(values.line(), &path, why, set_master_keys(&path));
        }
    }

    /// `aip` makes the keys for apps that a set lacks, in each Pod others.
    pub(super) fn keys_towards_apps(&mut self, keys: &SecretString) {
        let set = SigningKeys::parse(keys.expose_secret(), Vec::new(), Vec::new());
        let towards_apps = |key: &KeyView| key.purpose == Purpose::Oidc;
        if set.is_ok_and(|set| !set.list().iter().any(towards_apps)) {
            self.notices.push(
                "aip_config.signing_keys_json_string has no keys for apps, so each Pod generates its own, and \
                 apps cannot verify what another Pod has signed; the `keys.json` generated by `aip` contains \
                 them"
                    .to_owned(),
            );
        }
    }

    /// The host name under which people reach AIP, as far as the stack file says it. In a Pod AIP listens
    /// on every address, which tells it nothing, so without this the Pods would be ready and of no use;
    /// and a gateway or ingress routes by it.
    pub(super) fn external_host(
        &mut self,
        values: &Values,
        required: &BTreeMap<String, ConfigString>,
        extra: &BTreeMap<String, ConfigString>,
        restricted: bool,
    ) -> Option<String> {
        let routes = is_proxy(values);
        if !restricted && !routes {
            return None;
        }
        let environments = [
            (env_field(values).path(), required),
            (EXTRA_ENV.path(), extra),
        ];
        let given = environments.into_iter().find_map(|(place, env)| {
            EXTERNAL_BASE.into_iter().find_map(|name| {
                let text = env.get(name).filter(|text| text.plaintext() != Some(""))?;
                Some((join_path(place, name), text))
            })
        });
        let Some((path, text)) = given else {
            let mut arguments = values.get(&SERVER_ARGS).into_iter();
            if routes || !arguments.any(|argument| argument.contains("external_base")) {
                let path = &join_path(EXTRA_ENV.path(), EXTERNAL_BASE[0]);
                let why = "is missing: the public host name, required for sign-in";
                let fix = Fix::new(Remedy::ExternalHost, path, Edit::Prompt);
                self.parser.missing(values.line(), path, why, fix);
            }
            return None;
        };
        let Some(value) = text.plaintext() else {
            return Some(HIDDEN_HOST.to_owned());
        };
        let development = environments.into_iter().any(|(_, env)| {
            env.get("AIP_DEVELOPMENT")
                .and_then(ConfigString::plaintext)
                .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
        });
        let host = checks::external_base(value, development).and_then(|host| match host {
            url::Host::Domain(name) => Ok(name),
            address if routes => Err(format!(
                "is the address {address}: a gateway or ingress leads to a host name"
            )),
            address => Ok(address.to_string()),
        });
        match host {
            Ok(host) => Some(host),
            Err(message) => {
                let fix = Fix::new(Remedy::ExternalHost, &path, Edit::Prompt);
                self.parser
                    .problem(Some(text.line), &path, message, Some(fix));
                None
            }
        }
    }

    /// Remembers a value that should be encrypted and is not.
    pub(super) fn note_plain(&mut self, text: &ConfigString, path: &str) {
        if !text.encrypted {
            self.plain.push((text.line, path.to_owned()));
        }
    }

    /// Says once what should be encrypted and is not.
    pub(super) fn plain_notice(&mut self) {
        self.plain.sort();
        let Some((line, first)) = self.plain.first() else {
            return;
        };
        let file = self.parser.file.display();
        let more = match self.plain.len() {
            1 => "is".to_owned(),
            count => format!("and {} more are", count - 1),
        };
        let encrypt = Fix::new(Remedy::Encrypt, first, Edit::PromptSecret);
        self.notices.push(format!(
            "{file}:{line}: {first} {more} in plain text: `{encrypt}` encrypts it"
        ));
    }

    pub(super) fn extra_env(&mut self, values: &Values) -> BTreeMap<String, ConfigString> {
        let env = values.get(&EXTRA_ENV);
        for (name, text) in &env {
            let path = join_path(EXTRA_ENV.path(), name);
            let remove = |remedy| Some(Fix::new(remedy, &path, Edit::Remove));
            if let Err(message) = checks::variable(name) {
                let fix = remove(Remedy::VariableName);
                self.parser.problem(Some(text.line), &path, message, fix);
            } else if REQUIRED_VARIABLES
                .iter()
                .any(|variable| variable.name == name)
            {
                let message = "belongs in aip_config.required_env: here it would override the validated value";
                let fix = remove(Remedy::Shadowing);
                self.parser.problem(Some(text.line), &path, message, fix);
            }
        }
        env
    }

    pub(super) fn signing_keys(
        &mut self,
        values: &Values,
        env: &BTreeMap<String, ConfigString>,
        restricted: bool,
    ) -> Option<SecretString> {
        let from_file = || {
            let edit = Edit::SecretFrom("keys.json");
            Fix::new(Remedy::SigningKeys, SIGNING_KEYS.path(), edit)
        };
        let path = SIGNING_KEYS.path();
        let text = values.get(&SIGNING_KEYS);
        let Some(text) = text.filter(|text| text.plaintext() != Some("")) else {
            self.parser
                .missing(values.line(), path, "is missing", from_file());
            return None;
        };
        if let Some(value) = text.plaintext() {
            let mut present = checks::key_set(value);
            // The original program may have had other keys, for others to verify with.
            if restricted {
                present = present.and_then(|it| checks::private_halves(value).map(|()| it));
            }
            match present {
                Err(message) => {
                    let fix = Some(from_file());
                    self.parser.problem(Some(text.line), path, message, fix);
                }
                Ok(present) => self.active_keys(values, env, &text, &present, restricted),
            }
            self.note_plain(&text, path);
        }
        Some(text.to_secret())
    }

    /// That the keys that `ACTIVE_SIGNING_KEYS` names can do what they are named for: sign towards
    /// PDSs.
    fn active_keys(
        &mut self,
        values: &Values,
        env: &BTreeMap<String, ConfigString>,
        set: &ConfigString,
        present: &[String],
        restricted: bool,
    ) {
        let Some(named) = env.get(ACTIVE_SIGNING_KEYS.name) else {
            return;
        };
        let Some(active) = named.plaintext().and_then(|value| checks::kids(value).ok()) else {
            return;
        };
        let (json, line) = (set.plaintext().unwrap_or_default(), set.line);
        let keys = SigningKeys::parse(json, Vec::new(), Vec::new()).map(|keys| keys.list());
        let keys = keys.unwrap_or_default();
        let fits = |key: &KeyView| {
            key.purpose == Purpose::Upstream
                && key.state != "retired"
                && (!restricted || matches!(key.alg, Some("ES256")))
        };
        let fitting: Vec<&str> = keys
            .iter()
            .filter(|key| fits(key))
            .map(|key| key.kid.as_str())
            .collect();
        let key_set = SIGNING_KEYS.path();
        let path = join_path(env_field(values).path(), ACTIVE_SIGNING_KEYS.name);
        for kid in &active {
            let found = keys.iter().find(|key| key.kid == *kid);
            let what = match found {
                Some(key) if fits(key) => continue,
                None => {
                    if !present.contains(kid) {
                        let message = format!(
                            "has no key `{}`, which ACTIVE_SIGNING_KEYS names",
                            checks::truncate_value(kid)
                        );
                        let fix =
                            Fix::new(Remedy::SigningKeys, key_set, Edit::SecretFrom("keys.json"));
                        self.parser.problem(Some(line), key_set, message, Some(fix));
                    }
                    continue;
                }
                Some(key) if key.purpose == Purpose::Oidc => "a key for apps",
                Some(key) if key.purpose == Purpose::ServiceAuth => {
                    "a key for service authentication"
                }
                Some(key) if key.state == "retired" => "a retired key",
                Some(_) => "a key whose algorithm PDSs do not accept",
            };
            let one_of = match fitting[..] {
                [] => "the set has no key for PDSs".to_owned(),
                [only] => format!("the key for PDSs is `{}`", checks::truncate_value(only)),
                _ => "`aip-deploy keys status` lists the keys for PDSs".to_owned(),
            };
            let message = format!("names `{}`, {what}: {one_of}", checks::truncate_value(kid));
            let fix = match fitting[..] {
                [] => Fix::new(Remedy::SigningKeys, key_set, Edit::SecretFrom("keys.json")),
                [only] => Fix::new(Remedy::ActiveKeys, &path, Edit::Set(only.to_owned())),
                _ => Fix::new(Remedy::ActiveKeys, &path, Edit::Prompt),
            };
            self.parser
                .problem(Some(named.line), &path, message, Some(fix));
            return;
        }
    }
}
