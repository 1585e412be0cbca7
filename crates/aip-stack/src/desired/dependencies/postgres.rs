//! PostgreSQL as a Cluster of `CloudNativePG`
//! (<https://cloudnative-pg.io/documentation/current/cloudnative-pg.v1/>). The operator makes Services, a user, its
//! password and certificates; the Pods of AIP are given what it made by reference, so that nobody types it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{requiring, server_metadata, storage_class};
use crate::config::fields::{
    BACKUP_ENDPOINT, BACKUP_KEEP_DAYS, BACKUP_SCHEDULE, CNPG_CPU, CNPG_IMAGE, CNPG_INSTANCES,
    CNPG_MAX_CONNECTIONS, CNPG_MEMORY, CNPG_STORAGE, CNPG_STORAGE_CLASS, DATABASE_URL, POD_MONITOR,
    POD_MONITOR_LABELS, POSTGRES,
};
use crate::config::{
    AipConfig, BackupCredentials, NEXT_DATABASE_URL, POSTGRES_NAME, PostgresBackup, PostgresKind,
    StackConfig,
};
use crate::desired::Desired;
use crate::desired::kinds::Kind;

/// The database and its owner.
const DATABASE: &str = "aip";
/// The label that the operator gives to Pods, volumes and Jobs of a Cluster.
const CLUSTER_LABEL: &str = "cnpg.io/cluster";
/// The folder in which the Pods of AIP find the authority that signed the servers' certificates.
const AUTHORITY_DIR: &str = "/etc/aip/postgres";
/// The variable with the URL as the operator wrote it, without the parameters for TLS.
const URL_VARIABLE: &str = "POSTGRES_URI";

/// The Cluster with its backups. What holds data, or goes on backing it up, is protected.
pub(super) fn objects(config: &StackConfig) -> Vec<Desired> {
    let Some(postgres) = &config.aip.postgres else {
        return Vec::new();
    };
    let backup = postgres.backup.as_ref();
    let mut objects = vec![cluster(config, backup).protected()];
    if let Some(backup) = backup {
        if let BackupCredentials::AccessKey { id, secret } = &backup.credentials {
            objects.push(access_key(config, id, secret).protected());
        }
        objects.push(scheduled_backup(config).protected());
    }
    objects.extend(pod_monitor(config));
    objects
}

/// `DATABASE_URL`, or the URL of the next database, out of the Secret that the operator makes. The kubelet expands the reference, as it stands
/// behind the variable it names. The server has a certificate for its host, of an authority of its own.
pub(in crate::desired) fn variables(aip: &AipConfig) -> Vec<Value> {
    if aip.postgres.is_none() {
        return Vec::new();
    }
    let variable = match aip.get(&POSTGRES) {
        PostgresKind::CnpgNext => NEXT_DATABASE_URL,
        PostgresKind::External | PostgresKind::Cnpg => DATABASE_URL.name,
    };
    let secret = json!({"name": format!("{POSTGRES_NAME}-app"), "key": "uri"});
    let url = format!("$({URL_VARIABLE})?sslmode=verify-full&sslrootcert={AUTHORITY_DIR}/ca.crt");
    vec![
        json!({"name": URL_VARIABLE, "valueFrom": {"secretKeyRef": secret}}),
        json!({"name": variable, "value": url}),
    ]
}

/// Where a container of AIP finds the authority.
pub(in crate::desired) fn mount(aip: &AipConfig) -> Option<Value> {
    aip.postgres.as_ref()?;
    Some(json!({"name": "postgres-ca", "mountPath": AUTHORITY_DIR, "readOnly": true}))
}

/// The authority's certificate. Its private key is in the same Secret, and not for AIP.
pub(in crate::desired) fn volume(aip: &AipConfig) -> Option<Value> {
    aip.postgres.as_ref()?;
    let secret = json!({
        "secretName": format!("{POSTGRES_NAME}-ca"),
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
        "defaultMode": 0o440,
    });
    Some(json!({"name": "postgres-ca", "secret": secret}))
}

fn cluster(config: &StackConfig, backup: Option<&PostgresBackup>) -> Desired {
    let aip = &config.aip;
    let instances = aip.get(&CNPG_INSTANCES);
    let memory = aip.get(&CNPG_MEMORY);
    let class = storage_class(aip, &CNPG_STORAGE_CLASS);
    let mut storage = json!({"size": aip.get(&CNPG_STORAGE)});
    if let Some(class) = &class {
        storage["storageClass"] = class.object.name.clone().into();
    }
    let mut spec = json!({
        "instances": instances,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE}},
        "storage": storage,
        "resources": {
            "requests": {"cpu": aip.get(&CNPG_CPU), "memory": memory},
            "limits": {"memory": memory},
        },
        "affinity": {
            "enablePodAntiAffinity": true,
            "podAntiAffinityType": "preferred",
            "topologyKey": "kubernetes.io/hostname",
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {CLUSTER_LABEL: POSTGRES_NAME}},
        }],
        "postgresql": {
            "parameters": {"max_connections": aip.get(&CNPG_MAX_CONNECTIONS).to_string()},
        },
    });
    // What may be used once is spent in the database: a failover may not forget it.
    if instances > 1 {
        // With one replica the primary must go on while that one restarts.
        let durability = if instances > 2 {
            "required"
        } else {
            "preferred"
        };
        spec["postgresql"]["synchronous"] =
            json!({"method": "any", "number": 1, "dataDurability": durability});
    }
    if let Some(image) = aip.get(&CNPG_IMAGE) {
        spec["imageName"] = image.into();
    }
    if let Some(backup) = backup {
        add_backup(&mut spec, aip, backup);
    }
    let metadata = server_metadata(config, POSTGRES_NAME, POSTGRES_NAME);
    let cluster = Kind::PostgresCluster.object(POSTGRES_NAME, metadata, [("spec", spec)]);
    requiring(cluster, class)
}

/// Base backups and the write-ahead log in object storage
/// (<https://cloudnative-pg.io/documentation/current/appendixes/backup_barmanobjectstore/>).
fn add_backup(spec: &mut Value, aip: &AipConfig, backup: &PostgresBackup) {
    let key = |key: &str| json!({"name": POSTGRES_NAME, "key": key});
    let credentials = match &backup.credentials {
        BackupCredentials::Role(arn) => {
            let annotations = json!({"eks.amazonaws.com/role-arn": arn});
            spec["serviceAccountTemplate"] = json!({"metadata": {"annotations": annotations}});
            json!({"inheritFromIAMRole": true})
        }
        BackupCredentials::AccessKey { .. } => json!({
            "accessKeyId": key("access_key_id"),
            "secretAccessKey": key("secret_access_key"),
        }),
    };
    let mut store = json!({
        "destinationPath": backup.destination,
        "s3Credentials": credentials,
        "wal": {"compression": "gzip"},
        "data": {"compression": "gzip"},
    });
    if let Some(endpoint) = aip.get(&BACKUP_ENDPOINT) {
        store["endpointURL"] = endpoint.into();
    }
    spec["backup"] = json!({
        "barmanObjectStore": store,
        "retentionPolicy": format!("{}d", aip.get(&BACKUP_KEEP_DAYS)),
    });
}

/// The access key for the object storage. Its name stays, as a Cluster that is kept goes on using it, and
/// the operator reads it again by its label.
fn access_key(config: &StackConfig, id: &SecretString, secret: &SecretString) -> Desired {
    let encoded = |text: &SecretString| STANDARD.encode(text.expose_secret());
    let data = json!({"access_key_id": encoded(id), "secret_access_key": encoded(secret)});
    let mut metadata = server_metadata(config, POSTGRES_NAME, POSTGRES_NAME);
    let reload = ("cnpg.io/reload".to_owned(), "true".to_owned());
    metadata.labels.extend([reload]);
    let fields = [("type", json!("Opaque")), ("data", data)];
    Kind::Secret.object(POSTGRES_NAME, metadata, fields)
}

fn scheduled_backup(config: &StackConfig) -> Desired {
    let spec = json!({
        "schedule": config.aip.get(&BACKUP_SCHEDULE),
        "cluster": {"name": POSTGRES_NAME},
        "method": "barmanObjectStore",
        // The write-ahead log is of use only with a base backup before it.
        "immediate": true,
        "backupOwnerReference": "cluster",
    });
    let metadata = server_metadata(config, POSTGRES_NAME, POSTGRES_NAME);
    Kind::ScheduledBackup.object(POSTGRES_NAME, metadata, [("spec", spec)])
}

fn pod_monitor(config: &StackConfig) -> Option<Desired> {
    let aip = &config.aip;
    if !aip.get(&POD_MONITOR) {
        return None;
    }
    let mut metadata = server_metadata(config, POSTGRES_NAME, POSTGRES_NAME);
    metadata.labels.extend(aip.get(&POD_MONITOR_LABELS));
    let spec = json!({
        "selector": {"matchLabels": {CLUSTER_LABEL: POSTGRES_NAME}},
        "podMetricsEndpoints": [{"port": "metrics"}],
    });
    Some(Kind::PodMonitor.object(POSTGRES_NAME, metadata, [("spec", spec)]))
}
