//! PostgreSQL and Valkey, where the stack makes them: what they need, and what conflicts with them.

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::checks;
use crate::config::choices::{PostgresKind, ValkeyKind};
use crate::config::field::{AnyField, Field};
use crate::config::fields::{
    BACKUP_ACCESS_KEY_ID, BACKUP_DESTINATION, BACKUP_ENDPOINT, BACKUP_ROLE_ARN, BACKUP_SCHEDULE,
    BACKUP_SECRET_ACCESS_KEY, CNPG, CNPG_BACKUP, CNPG_CPU, CNPG_IMAGE, CNPG_INSTANCES,
    CNPG_MAX_CONNECTIONS, CNPG_MEMORY, CNPG_STORAGE, CNPG_STORAGE_CLASS, DATABASE_URL, POSTGRES,
    REDIS_DSN, VALKEY, VALKEY_CLUSTER, VALKEY_IMAGE, VALKEY_MEMORY, VALKEY_PASSWORD,
    VALKEY_SERVERS, VALKEY_STORAGE, VALKEY_STORAGE_CLASS,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::value::ConfigString;
use crate::config::values::Values;
use crate::config::{BackupCredentials, Postgres, PostgresBackup, Valkey};

use super::Resolver;

/// The name of the PostgreSQL cluster and of what belongs to it.
pub(crate) const POSTGRES_NAME: &str = "aip-postgres";
/// The name of the Valkey servers and of what belongs to them.
pub(crate) const VALKEY_NAME: &str = "aip-valkey";
/// The port of a Valkey server.
pub(crate) const VALKEY_PORT: u16 = 6379;
/// The port of a Sentinel.
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// What a process of AIP holds at most (docs/operators.md, "PostgreSQL, and more than one process").
const CONNECTIONS_PER_POD: u32 = 17;
/// What PostgreSQL keeps for superusers, and the operator and the replicas use.
const RESERVED_CONNECTIONS: u32 = 20;

/// `max_connections` for so many Pods. During a rollout a quarter of them is made anew before the old ones go.
pub fn connections_needed(pods: u32) -> u32 {
    let most = pods.saturating_add(pods.div_ceil(4));
    most.saturating_mul(CONNECTIONS_PER_POD)
        .saturating_add(RESERVED_CONNECTIONS)
}

/// The ports that the servers of the stack have.
pub(super) fn valkey_ports(values: &Values) -> Vec<u16> {
    match values.get(&VALKEY_SERVERS) {
        1 => vec![VALKEY_PORT],
        _ => vec![VALKEY_PORT, SENTINEL_PORT],
    }
}

/// `aip_config.dependencies.postgres: cnpg`, if the stack makes the server that this variable leads to.
pub(super) fn dependency_field(values: &Values, variable: &str) -> Option<String> {
    let (field, kind): (&dyn AnyField, &str) = match variable {
        name if name == DATABASE_URL.name && values.get(&POSTGRES) == PostgresKind::Cnpg => {
            (&POSTGRES, PostgresKind::Cnpg.into())
        }
        name if name == REDIS_DSN.name && values.get(&VALKEY) == ValkeyKind::Cluster => {
            (&VALKEY, ValkeyKind::Cluster.into())
        }
        _ => return None,
    };
    Some(format!("{}: {kind}", field.path()))
}

/// `REDIS_DSN` of the servers that the stack makes. In the cluster the Service of one has the server's name; of
/// three the Sentinels name the primary, of the group `aip`.
pub(super) fn valkey_variable(valkey: &Valkey) -> (String, SecretString) {
    let password = valkey.password.expose_secret();
    let url = if valkey.has_sentinels() {
        let hosts = valkey.hosts().into_iter();
        let sentinels: Vec<String> = hosts
            .map(|host| format!("{host}:{SENTINEL_PORT}"))
            .collect();
        let sentinels = sentinels.join(",");
        format!("redis+sentinel://:{password}@{sentinels}/aip/0?sentinel_password={password}")
    } else {
        format!("redis://:{password}@{VALKEY_NAME}:{VALKEY_PORT}/0")
    };
    (REDIS_DSN.name.to_owned(), SecretString::from(url))
}

/// Of a quantity in billionths.
fn three_quarters_in_bytes(quantity: u128) -> u64 {
    let bytes = quantity / 1_000_000_000 / 4 * 3;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Resolver<'_> {
    /// That no URL of another server is given beside the server that the stack makes.
    pub(super) fn no_second_url(&mut self, given: Option<&ConfigString>, path: &str, maker: &str) {
        if let Some(text) = given {
            let message =
                format!("conflicts with {maker}: the stack makes that server, and knows its URL");
            let fix = Fix::new(Remedy::SecondUrl, path, Edit::Remove);
            self.parser
                .problem(Some(text.line), path, message, Some(fix));
        }
    }

    /// The PostgreSQL cluster of the stack; none if there is to be none or something is wrong. `pods` is
    /// the largest number of Pods.
    pub(super) fn postgres(
        &mut self,
        values: &Values,
        restricted: bool,
        pods: u32,
    ) -> Option<Postgres> {
        if !values.get(&POSTGRES).makes_cluster()
            || !self.is_restricted(values, &POSTGRES, restricted)
        {
            return None;
        }
        self.optional_image(values);
        for field in [&CNPG_STORAGE, &CNPG_CPU, &CNPG_MEMORY] {
            self.quantity(values, field);
        }
        self.storage_class(values, &CNPG_STORAGE_CLASS);
        self.connections(values, pods);
        let instances = values.get(&CNPG_INSTANCES);
        if instances == 1 {
            self.notices.push(format!(
                "{} is 1: while that server restarts, nobody can sign in, and there is no replica of its data",
                CNPG_INSTANCES.path()
            ));
        }
        Some(Postgres {
            backup: self.backup(values),
        })
    }

    /// The Valkey servers of the stack; none if there is to be none or something is wrong.
    pub(super) fn valkey(&mut self, values: &Values, restricted: bool) -> Option<Valkey> {
        if values.get(&VALKEY) != ValkeyKind::Cluster
            || !self.is_restricted(values, &VALKEY, restricted)
        {
            return None;
        }
        self.checked(
            values,
            &VALKEY_IMAGE,
            checks::image(&values.get(&VALKEY_IMAGE)),
        );
        self.quantity(values, &VALKEY_STORAGE);
        let memory = self.quantity(values, &VALKEY_MEMORY);
        let servers = values.get(&VALKEY_SERVERS);
        if servers == 2 {
            let path = VALKEY_SERVERS.path();
            let message = "is 2: of two servers none can tell whether the other one is gone; there are one, or three, \
                           of which two elect another primary";
            let fix = Fix::new(Remedy::ValkeyServers, path, Edit::Set("3".to_owned()));
            let line = values.line_of(&VALKEY_SERVERS);
            self.parser.problem(line, path, message, Some(fix));
        }
        self.storage_class(values, &VALKEY_STORAGE_CLASS);
        let path = VALKEY_PASSWORD.path();
        let fix = Fix::new(Remedy::ValkeyPassword, path, Edit::PromptSecret);
        let password = values.get(&VALKEY_PASSWORD);
        let Some(password) = password.filter(|text| text.plaintext() != Some("")) else {
            let why = "is missing: the password that the server of the stack is to have, 16 to 128 characters of \
                       A-Z, a-z, 0-9 and `._~-`";
            let line = values.line_of(&VALKEY).or(values.line());
            self.parser.missing(line, path, why, fix);
            return None;
        };
        if let Some(Err(message)) = password.plaintext().map(checks::url_safe_password) {
            self.parser
                .problem(Some(password.line), path, message, Some(fix));
        }
        self.note_plain(&password, path);
        Some(Valkey {
            password: password.to_secret(),
            max_memory_bytes: three_quarters_in_bytes(memory?),
            servers,
        })
    }

    /// Settings of a server that the stack does not make.
    pub(super) fn unused_dependencies(&mut self, values: &Values) {
        for (group, field, is_used) in [
            (
                &CNPG,
                POSTGRES.path(),
                values.get(&POSTGRES).makes_cluster(),
            ),
            (
                &VALKEY_CLUSTER,
                VALKEY.path(),
                values.get(&VALKEY) == ValkeyKind::Cluster,
            ),
        ] {
            if values.has(group) && !is_used {
                let path = group.path();
                self.notices
                    .push(format!("{path} is not used: {field} is external"));
            }
        }
    }

    /// The image of the original program takes its database from one variable of its own form.
    fn is_restricted(&mut self, values: &Values, field: &dyn AnyField, restricted: bool) -> bool {
        if !restricted {
            let message = "needs the profile `restricted`: the objects of `compat` are those of the original \
                           program, which made no servers";
            let external = Edit::Set("external".to_owned());
            let fix = Fix::new(Remedy::ExternalDependency, field.path(), external);
            let line = values.line_of(field);
            self.parser.problem(line, field.path(), message, Some(fix));
        }
        restricted
    }

    fn optional_image(&mut self, values: &Values) {
        if let Some(image) = values.get(&CNPG_IMAGE) {
            self.checked(values, &CNPG_IMAGE, checks::image(&image));
        }
    }

    fn storage_class(&mut self, values: &Values, field: &Field<Option<String>>) {
        if let Some(name) = values.get(field) {
            self.checked(values, field, checks::object_name(&name));
        }
    }

    /// That every Pod finds its connections.
    fn connections(&mut self, values: &Values, pods: u32) {
        let needed = connections_needed(pods);
        let allowed = values.get(&CNPG_MAX_CONNECTIONS);
        if allowed >= needed {
            return;
        }
        let path = CNPG_MAX_CONNECTIONS.path();
        let message = format!(
            "is {allowed}, and {needed} are needed: {CONNECTIONS_PER_POD} for each of {pods} Pods and of those \
             that a rollout adds, and {RESERVED_CONNECTIONS} for the operator and the replicas"
        );
        let fix = Fix::new(Remedy::Connections, path, Edit::Set(needed.to_string()));
        let line = values.line_of(&CNPG_MAX_CONNECTIONS);
        let line = line.or(values.line_of(&POSTGRES));
        self.parser.problem(line, path, message, Some(fix));
    }

    fn backup(&mut self, values: &Values) -> Option<PostgresBackup> {
        if !values.has(&CNPG_BACKUP) {
            self.notices.push(format!(
                "{} is not set: the database has replicas and no backup",
                BACKUP_DESTINATION.path()
            ));
            return None;
        }
        let Some(destination) = values.get(&BACKUP_DESTINATION) else {
            let why = "is missing: s3://BUCKET/PREFIX, where the backups are kept";
            self.missing_backup_field(values, &BACKUP_DESTINATION, why, Edit::Prompt);
            return None;
        };
        self.checked(values, &BACKUP_DESTINATION, checks::bucket(&destination));
        if let Some(endpoint) = values.get(&BACKUP_ENDPOINT) {
            let outcome = checks::url(&endpoint, &["https://", "http://"]);
            self.checked(values, &BACKUP_ENDPOINT, outcome);
        }
        let outcome = checks::schedule(&values.get(&BACKUP_SCHEDULE));
        self.checked(values, &BACKUP_SCHEDULE, outcome);
        Some(PostgresBackup {
            destination,
            credentials: self.backup_credentials(values)?,
        })
    }

    fn backup_credentials(&mut self, values: &Values) -> Option<BackupCredentials> {
        let given = |field: &Field<Option<ConfigString>>| {
            let text = values.get(field);
            text.filter(|text| text.plaintext() != Some(""))
        };
        let id = given(&BACKUP_ACCESS_KEY_ID);
        let secret = given(&BACKUP_SECRET_ACCESS_KEY);
        match (values.get(&BACKUP_ROLE_ARN), id, secret) {
            (Some(arn), None, None) => {
                let outcome = checks::arn(&arn, "iam", "role/");
                self.checked(values, &BACKUP_ROLE_ARN, outcome);
                Some(BackupCredentials::Role(arn))
            }
            (None, Some(id), Some(secret)) => {
                self.note_plain(&secret, BACKUP_SECRET_ACCESS_KEY.path());
                Some(BackupCredentials::AccessKey {
                    id: id.to_secret(),
                    secret: secret.to_secret(),
                })
            }
            (Some(_), _, _) => {
                let path = BACKUP_ROLE_ARN.path();
                let message =
                    "conflicts with the access key beside it: the servers use one of them";
                let fix = Fix::new(Remedy::Backup, path, Edit::Remove);
                let line = values.line_of(&BACKUP_ROLE_ARN);
                self.parser.problem(line, path, message, Some(fix));
                None
            }
            (None, id, _) => {
                let field = if id.is_none() {
                    &BACKUP_ACCESS_KEY_ID
                } else {
                    &BACKUP_SECRET_ACCESS_KEY
                };
                let why = "is missing: the servers need an access key, or a role in role_arn";
                self.missing_backup_field(values, field, why, Edit::PromptSecret);
                None
            }
        }
    }

    fn missing_backup_field(
        &mut self,
        values: &Values,
        field: &dyn AnyField,
        why: &str,
        edit: Edit,
    ) {
        let fix = Fix::new(Remedy::Backup, field.path(), edit);
        let line = values.line_of_group(&CNPG_BACKUP);
        self.parser.missing(line, field.path(), why, fix);
    }
}
