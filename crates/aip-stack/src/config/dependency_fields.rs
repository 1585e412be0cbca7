//! The fields of the stack file below `aip_config.dependencies`: PostgreSQL and Valkey, where the stack makes
//! them itself.

use super::choices::{PostgresKind, ValkeyKind};
use super::field::{Field, FieldType, Group, Shape, fields};
use super::value::ConfigString;

/// What `CloudNativePG` is asked for at most.
const INSTANCES: Shape = Shape::Int { min: 1, max: 9 };
/// Two are refused by [`resolve`](super::resolve): one of two is no majority.
const SERVERS: Shape = Shape::Int { min: 1, max: 3 };
const CONNECTIONS: Shape = Shape::Int {
    min: 50,
    max: 10_000,
};
const DAYS: Shape = Shape::Int { min: 1, max: 3650 };

fields! {
    /// PostgreSQL and Valkey
    DEPENDENCIES at "aip_config.dependencies" {
        /// `external`: a server of yours, named by `required_env.DATABASE_URL`; `cnpg`: a Cluster of
        /// `CloudNativePG`, which the stack makes (restricted profile); `cnpg_next`: the server of yours, until
        /// `aip-deploy deps migrate postgres --to cnpg` has moved its data to the Cluster
        POSTGRES: PostgresKind = "postgres" => |_| PostgresKind::External;
        /// `external`: a server of yours, named by `required_env.REDIS_DSN`, or none; `cluster`: one server in
        /// the cluster, or three, which the stack makes (restricted profile)
        VALKEY: ValkeyKind = "valkey" => |_| ValkeyKind::External;
    }
    with [CNPG, VALKEY_CLUSTER]
}

fields! {
    /// The PostgreSQL cluster, with `dependencies.postgres: cnpg`
    CNPG at "aip_config.dependencies.cnpg" {
        /// The number of servers: one primary, the others replicas, of which one is synchronous
        CNPG_INSTANCES: u32 = "instances" as INSTANCES => |_| 3;
        /// The image of the servers; if not set, the one that the operator chooses
        CNPG_IMAGE: Option<String> = "image" => |_| None;
        /// Size of each server's volume, as a Kubernetes quantity
        CNPG_STORAGE: String = "storage" as Shape::Quantity => |_| "10Gi".to_owned();
        /// `StorageClass` of the volumes; if not set, the default of the cluster
        CNPG_STORAGE_CLASS: Option<String> = "storage_class" => |_| None;
        /// CPU that each server requests, as a Kubernetes quantity
        CNPG_CPU: String = "cpu" as Shape::Quantity => |_| "500m".to_owned();
        /// Memory that each server requests and is limited to, as a Kubernetes quantity
        CNPG_MEMORY: String = "memory" as Shape::Quantity => |_| "1Gi".to_owned();
        /// `max_connections` of the servers
        CNPG_MAX_CONNECTIONS: u32 = "max_connections" as CONNECTIONS => |_| 200;
    }
    with [CNPG_BACKUP]
}

fields! {
    /// Backups and write-ahead log of the PostgreSQL cluster in object storage
    CNPG_BACKUP at "aip_config.dependencies.cnpg.backup" {
        /// Where they are kept: `s3://BUCKET/PREFIX`
        BACKUP_DESTINATION: Option<String> = "destination" => |_| None;
        /// URL of an object storage that speaks S3 and is not AWS
        BACKUP_ENDPOINT: Option<String> = "endpoint" => |_| None;
        /// Access key id, in place of `role_arn`
        BACKUP_ACCESS_KEY_ID: Option<ConfigString> = "access_key_id" => |_| None;
        /// Secret access key, encrypted
        BACKUP_SECRET_ACCESS_KEY: Option<ConfigString> = "secret_access_key" => |_| None;
        /// ARN of a role for the servers (IAM roles for service accounts), in place of an access key
        BACKUP_ROLE_ARN: Option<String> = "role_arn" => |_| None;
        /// When a base backup is made: a cron expression with six fields, of which the first is seconds
        BACKUP_SCHEDULE: String = "schedule" => |_| "0 0 3 * * *".to_owned();
        /// How many days back the cluster can be restored to
        BACKUP_KEEP_DAYS: u32 = "keep_days" as DAYS => |_| 30;
    }
}

fields! {
    /// The Valkey servers, with `dependencies.valkey: cluster`
    VALKEY_CLUSTER at "aip_config.dependencies.valkey_cluster" {
        /// The number of servers: 1, or 3 with a Sentinel beside each
        VALKEY_SERVERS: u32 = "servers" as SERVERS => |_| 1;
        /// Their password, encrypted: 16 to 128 characters of A-Z, a-z, 0-9 and `._~-`
        VALKEY_PASSWORD: Option<ConfigString> = "password" => |_| None;
        /// Their image
        VALKEY_IMAGE: String = "image" => |_| "valkey/valkey:8.1.4".to_owned();
        /// Size of each server's volume, as a Kubernetes quantity
        VALKEY_STORAGE: String = "storage" as Shape::Quantity => |_| "1Gi".to_owned();
        /// `StorageClass` of the volumes; if not set, the default of the cluster
        VALKEY_STORAGE_CLASS: Option<String> = "storage_class" => |_| None;
        /// Memory that each server requests and is limited to, as a Kubernetes quantity
        VALKEY_MEMORY: String = "memory" as Shape::Quantity => |_| "256Mi".to_owned();
    }
}
