//! PostgreSQL and Valkey, where the stack makes them: the objects, what the Pods of AIP are given, and what is
//! refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use aip_stack::desired::{Desired, NameKey, PROTECT_ANNOTATION, Phase, objects};
use common::{config, stack};
use serde_json::{Value, json};
use yaml_lossless::Tree;

const PASSWORD: &str = "correct-horse-battery-staple";

/// The lines of a text but those with a word.
fn without(word: &str, text: &str) -> String {
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains(word)).collect();
    kept.join("\n") + "\n"
}

/// A stack without the URL of a Valkey server.
fn without_valkey(more: &str) -> String {
    without("REDIS_DSN:", &stack("restricted", more))
}

/// A stack without the URL of any server.
fn without_urls(more: &str) -> String {
    without("DATABASE_URL:", &without_valkey(more))
}

fn build(text: &str) -> Vec<Desired> {
    let config = config(text).unwrap_or_else(|e| panic!("{e}"));
    objects(&config, &NameKey::public())
}

fn problems(text: &str) -> String {
    match config(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

fn find<'o>(objects: &'o [Desired], kind: &str, logical: &str) -> &'o Desired {
    let mut all = objects.iter();
    let found = all.find(|o| o.object().kind == kind && o.object().logical_name == logical);
    found.unwrap_or_else(|| panic!("no {kind} {logical}"))
}

/// The objects of a dependency as YAML.
fn yaml(objects: &[Desired], logical: &str) -> String {
    let own = objects
        .iter()
        .filter(|object| object.object().logical_name == logical);
    let documents: Vec<_> = own
        .map(|object| Tree::from(object.manifest().clone()).to_yaml())
        .collect();
    documents.join("---\n")
}

const BACKED_UP: &str = "metrics: {pod_monitor: true, labels: {release: prometheus}}\ndependencies:\n  postgres: \
                         cnpg\n  cnpg:\n    storage: 20Gi\n    storage_class: fast\n    image: \
                         ghcr.io/cloudnative-pg/postgresql:18.1\n    backup:\n      destination: s3://backups/aip\n      \
                         endpoint: https://s3.example.com\n      access_key_id: AKIA\n      secret_access_key: \
                         hunter2\n      keep_days: 14";

fn valkey() -> String {
    format!("dependencies: {{valkey: cluster, valkey_cluster: {{password: {PASSWORD}}}}}")
}

#[test]
fn postgres_is_a_cluster_with_backups() {
    insta::assert_snapshot!(yaml(&build(&without_urls(BACKED_UP)), "aip-postgres"));
}

#[test]
fn valkey_is_a_stateful_set_with_what_surrounds_it() {
    insta::assert_snapshot!(yaml(&build(&without_valkey(&valkey())), "aip-valkey"));
}

fn three_valkeys() -> String {
    valkey().replace("{password:", "{servers: 3, password:")
}

#[test]
fn three_valkey_servers_have_sentinels_that_name_the_primary() {
    let objects = build(&without_valkey(&three_valkeys()));
    insta::assert_snapshot!(yaml(&objects, "aip-valkey"));
    let secret = find(&objects, "Secret", "aip-env-main").manifest();
    let url = format!(
        "redis+sentinel://:{PASSWORD}@aip-valkey-0.aip-valkey:26379,aip-valkey-1.aip-valkey:26379,\
         aip-valkey-2.aip-valkey:26379/aip/0?sentinel_password={PASSWORD}"
    );
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, url);
    assert_eq!(secret["data"]["REDIS_DSN"], encoded);
    for object in &objects {
        let is_secret = object.object().kind == "Secret";
        let shows = object.manifest().to_string().contains(PASSWORD);
        assert!(is_secret || !shows, "{}", object.object());
    }
}

/// Of their own servers and of those that others have.
#[test]
fn the_pods_reach_sentinels_and_primary() {
    let of_others =
        |url: &str| stack("restricted", "").replace("redis://valkey:6379/0", &format!("\"{url}\""));
    for (text, expected) in [
        (without_valkey(&valkey()), &[5432, 6379][..]),
        (without_valkey(&three_valkeys()), &[5432, 6379, 26379]),
        (
            of_others("redis+sentinel://one:5000,two/aip/0"),
            &[5000, 5432, 6379, 26379],
        ),
        (of_others("rediss+cluster://one:7000"), &[5432, 7000]),
    ] {
        let objects = build(&text);
        let policy = find(&objects, "NetworkPolicy", "aip").manifest();
        let ports = policy["spec"]["egress"][2]["ports"].as_array().unwrap();
        let ports: Vec<u64> = ports
            .iter()
            .map(|it| it["port"].as_u64().unwrap())
            .collect();
        assert_eq!(ports, expected, "{text}");
    }
}

#[test]
fn dependencies_come_after_what_they_refer_to_and_before_the_migration() {
    let both =
        format!("{BACKED_UP}\n  valkey: cluster\n  valkey_cluster: {{password: {PASSWORD}}}");
    let objects = build(&without_urls(&both));
    let phases: Vec<Phase> = objects.iter().map(Desired::phase).collect();
    assert!(phases.is_sorted());
    for (kind, name) in [
        ("Cluster", "aip-postgres"),
        ("ScheduledBackup", "aip-postgres"),
        ("StatefulSet", "aip-valkey"),
    ] {
        assert_eq!(
            find(&objects, kind, name).phase(),
            Phase::Dependency,
            "{kind}"
        );
    }
    assert_eq!(
        find(&objects, "Secret", "aip-valkey").phase(),
        Phase::Foundation
    );
    assert_eq!(
        find(&objects, "Job", "aip-migrate").phase(),
        Phase::Migration
    );
}

/// While the data is moved into the cluster, the Pods use the server of before and know the Cluster.
#[test]
fn a_cluster_to_move_to_is_the_next_database_of_the_pods() {
    let variables = |text: &str| {
        let objects = build(text);
        find(&objects, "Cluster", "aip-postgres");
        let pod = &find(&objects, "Deployment", "aip").manifest()["spec"]["template"]["spec"];
        let env = pod["containers"][0]["env"].as_array().unwrap();
        let names = env.iter().map(|it| it["name"].as_str().unwrap().to_owned());
        let given = &find(&objects, "Secret", "aip-env-main").manifest()["data"];
        (
            names.collect::<Vec<_>>(),
            given.get("DATABASE_URL").is_some(),
        )
    };
    let (names, is_given) = variables(&stack("restricted", "dependencies: {postgres: cnpg_next}"));
    assert!(names.iter().any(|name| name == "AIP_DATABASE_NEXT_URL"));
    assert!(is_given && !names.iter().any(|name| name == "DATABASE_URL"));
    let (names, is_given) = variables(&without_urls("dependencies: {postgres: cnpg}"));
    assert!(names.iter().any(|name| name == "DATABASE_URL"));
    assert!(!is_given && !names.iter().any(|name| name == "AIP_DATABASE_NEXT_URL"));
    let refused = problems(&without_urls("dependencies: {postgres: cnpg_next}"));
    assert!(refused.contains("DATABASE_URL"), "{refused}");
}

#[test]
fn what_holds_data_carries_the_mark() {
    let objects = build(&without_urls(&format!(
        "{BACKED_UP}\n  valkey: cluster\n  valkey_cluster: {{password: {PASSWORD}}}"
    )));
    let marked: Vec<String> = objects
        .iter()
        .filter(|object| object.manifest()["metadata"]["annotations"][PROTECT_ANNOTATION] == "true")
        .map(|object| object.object().to_string())
        .collect();
    assert_eq!(
        marked,
        [
            "Secret aip-main/aip-postgres",
            "Cluster aip-main/aip-postgres",
            "ScheduledBackup aip-main/aip-postgres",
        ]
    );
    let spec = &find(&objects, "StatefulSet", "aip-valkey").manifest()["spec"];
    let claim = &spec["volumeClaimTemplates"][0]["metadata"];
    assert_eq!(claim["annotations"][PROTECT_ANNOTATION], "true");
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
}

/// What both containers of AIP have: the migration, and the server.
fn containers(objects: &[Desired]) -> Vec<Value> {
    let pods = [("Job", "aip-migrate"), ("Deployment", "aip")];
    pods.map(|(kind, name)| {
        find(objects, kind, name).manifest()["spec"]["template"]["spec"]["containers"][0].clone()
    })
    .into()
}

#[test]
fn the_url_of_postgres_is_the_operators_with_a_verified_certificate() {
    let objects = build(&without_urls("dependencies: {postgres: cnpg}"));
    for container in containers(&objects) {
        let variables = container["env"].as_array().unwrap();
        let place = |name: &str| {
            let mut all = variables.iter();
            all.position(|variable| variable["name"] == name).unwrap()
        };
        let (uri, url) = (place("POSTGRES_URI"), place("DATABASE_URL"));
        assert!(
            uri < url,
            "a reference is expanded only behind what it names"
        );
        assert_eq!(
            variables[uri]["valueFrom"],
            json!({"secretKeyRef": {"name": "aip-postgres-app", "key": "uri"}})
        );
        assert_eq!(
            variables[url]["value"],
            "$(POSTGRES_URI)?sslmode=verify-full&sslrootcert=/etc/aip/postgres/ca.crt"
        );
        let mounts = container["volumeMounts"].to_string();
        assert!(mounts.contains("/etc/aip/postgres"), "{mounts}");
    }
    let pod = &find(&objects, "Deployment", "aip").manifest()["spec"]["template"]["spec"];
    let volume = json!({"name": "postgres-ca", "secret": {"secretName": "aip-postgres-ca",
        "items": [{"key": "ca.crt", "path": "ca.crt"}], "defaultMode": 0o440}});
    assert!(pod["volumes"].as_array().unwrap().contains(&volume));
    let secret = find(&objects, "Secret", "aip-env-main").manifest();
    assert!(secret["data"].get("DATABASE_URL").is_none());
    let egress = find(&objects, "NetworkPolicy", "aip").manifest()["spec"]["egress"].to_string();
    assert!(egress.contains("5432"), "{egress}");
    // Without a cluster of its own a stack has none of it.
    let server = containers(&build(&stack("restricted", ""))).remove(1);
    assert!(!server.to_string().contains("POSTGRES_URI"));
}

#[test]
fn the_url_of_valkey_is_made_from_its_password() {
    let text = without_valkey(&valkey());
    let objects = build(&text);
    let secret = find(&objects, "Secret", "aip-env-main").manifest();
    let url = format!("redis://:{PASSWORD}@aip-valkey:6379/0");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, url);
    assert_eq!(secret["data"]["REDIS_DSN"], encoded);
    for object in &objects {
        let is_secret = object.object().kind == "Secret";
        let shows = object.manifest().to_string().contains(PASSWORD);
        assert!(is_secret || !shows, "{}", object.object());
    }
    // Another password: another Secret, and so the server and the Pods are made anew.
    let name = |objects: &[Desired]| find(objects, "Secret", "aip-valkey").object().name.clone();
    let changed = build(&text.replace(PASSWORD, "another-horse-battery-staple"));
    assert_ne!(name(&objects), name(&changed));
    let set = find(&changed, "StatefulSet", "aip-valkey")
        .manifest()
        .to_string();
    assert!(set.contains(&name(&changed)));
}

#[test]
fn one_server_has_no_synchronous_replica_and_two_prefer_to_go_on() {
    for (instances, synchronous) in [
        (1, Value::Null),
        (
            2,
            json!({"method": "any", "number": 1, "dataDurability": "preferred"}),
        ),
        (
            5,
            json!({"method": "any", "number": 1, "dataDurability": "required"}),
        ),
    ] {
        let more = format!("dependencies: {{postgres: cnpg, cnpg: {{instances: {instances}}}}}");
        let objects = build(&without_urls(&more));
        let spec = &find(&objects, "Cluster", "aip-postgres").manifest()["spec"];
        assert_eq!(
            spec["postgresql"]["synchronous"], synchronous,
            "{instances}"
        );
    }
}

#[test]
fn a_role_takes_the_place_of_an_access_key() {
    let arn = "arn:aws:iam::000000000000:role/backup";
    let more = format!(
        "dependencies: {{postgres: cnpg, cnpg: {{backup: {{destination: \"s3://b/aip\", role_arn: \"{arn}\"}}}}}}"
    );
    let objects = build(&without_urls(&more));
    let spec = &find(&objects, "Cluster", "aip-postgres").manifest()["spec"];
    let store = &spec["backup"]["barmanObjectStore"];
    assert_eq!(store["s3Credentials"], json!({"inheritFromIAMRole": true}));
    let annotations = &spec["serviceAccountTemplate"]["metadata"]["annotations"];
    assert_eq!(annotations["eks.amazonaws.com/role-arn"], arn);
    assert!(!objects.iter().any(|object| {
        object.object().kind == "Secret" && object.object().name == "aip-postgres"
    }));
}

/// That each stack is refused with these words, and without the values that it should keep secret.
fn assert_refused<const N: usize>(cases: [(String, &str); N]) {
    for (text, words) in cases {
        let said = problems(&text);
        assert!(said.contains(words), "{words}\n--\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_postgres_that_cannot_work_is_refused_with_the_command_that_fixes_it() {
    let cnpg = |settings: &str| {
        without_urls(&format!(
            "dependencies: {{postgres: cnpg, cnpg: {{{settings}}}}}"
        ))
    };
    assert_refused([
        (
            stack("restricted", "dependencies: {postgres: cnpg}"),
            "required_env.DATABASE_URL: conflicts with aip_config.dependencies.postgres: cnpg: the stack makes that \
             server, and knows its URL\n    fix: aip-deploy config rm --path aip_config.required_env.DATABASE_URL",
        ),
        (
            stack("compat", "dependencies: {postgres: cnpg}"),
            "dependencies.postgres: needs the profile `restricted`",
        ),
        (
            without_urls("dependencies: {postgres: rds}"),
            "dependencies.postgres: must be external or cnpg",
        ),
        (
            cnpg("instances: 0"),
            "cnpg.instances: must be an integer from 1 to 9",
        ),
        (
            cnpg("storage: big"),
            "cnpg.storage: is not a Kubernetes quantity",
        ),
        (
            cnpg("storage_class: A_b"),
            "cnpg.storage_class: is not a valid RFC 1123",
        ),
        (
            cnpg("max_connections: 60"),
            "cnpg.max_connections: is 60, and 88 are needed: 17 for each of 3 Pods and of those that a rollout adds, \
             and 20 for the operator and the replicas\n    fix: aip-deploy config set --path \
             aip_config.dependencies.cnpg.max_connections 88",
        ),
        (
            cnpg("backup: {keep_days: 3}"),
            "backup.destination: is missing: s3://BUCKET/PREFIX",
        ),
        (
            cnpg(
                "backup: {destination: \"/backups\", role_arn: \"arn:aws:iam::000000000000:role/b\"}",
            ),
            "backup.destination: is not s3://BUCKET/PREFIX",
        ),
        (
            cnpg("backup: {destination: \"s3://b/p\"}"),
            "backup.access_key_id: is missing: the servers need an access key, or a role in role_arn",
        ),
        (
            cnpg("backup: {destination: \"s3://b/p\", access_key_id: a}"),
            "backup.secret_access_key: is missing",
        ),
        (
            cnpg(
                "backup: {destination: \"s3://b/p\", access_key_id: a, secret_access_key: b, role_arn: \"arn:aws:iam::000000000000:role/b\"}",
            ),
            "backup.role_arn: conflicts with the access key beside it",
        ),
        (
            cnpg(
                "backup: {destination: \"s3://b/p\", role_arn: \"arn:aws:iam::000000000000:role/b\", schedule: \"0 3 * * *\"}",
            ),
            "backup.schedule: is not a cron expression with six fields",
        ),
    ]);
}

#[test]
fn a_valkey_that_cannot_work_is_refused_with_the_command_that_fixes_it() {
    let server = |settings: &str| {
        without_valkey(&format!(
            "dependencies: {{valkey: cluster, valkey_cluster: {{{settings}}}}}"
        ))
    };
    assert_refused([
        (
            stack("restricted", &valkey()),
            "required_env.REDIS_DSN: conflicts with aip_config.dependencies.valkey: cluster",
        ),
        (
            stack("compat", &valkey()),
            "dependencies.valkey: needs the profile `restricted`",
        ),
        (
            server(""),
            "valkey_cluster.password: is missing: the password that the server of the stack is to have, 16 to 128 \
             characters of A-Z, a-z, 0-9 and `._~-`\n    fix: aip-deploy config set --path --secret \
             aip_config.dependencies.valkey_cluster.password",
        ),
        (
            server(&format!("password: {PASSWORD}, servers: 2")),
            "valkey_cluster.servers: is 2: of two servers none can tell whether the other one is gone; there are one, \
             or three, of which two elect another primary\n    fix: aip-deploy config set --path \
             aip_config.dependencies.valkey_cluster.servers 3",
        ),
        (
            server(&format!("password: {PASSWORD}, servers: 4")),
            "valkey_cluster.servers: must be an integer from 1 to 3",
        ),
        (
            server("password: hunter2"),
            "valkey_cluster.password: must have 16 to 128 characters",
        ),
        (
            server("password: \"hunter2 with a blank\""),
            "valkey_cluster.password: must have 16 to 128 characters",
        ),
        (
            server(&format!("password: {PASSWORD}, memory: much")),
            "valkey_cluster.memory: is not a Kubernetes quantity",
        ),
        (
            server(&format!("password: {PASSWORD}, image: \"a b\"")),
            "valkey_cluster.image: is not a valid image repository",
        ),
    ]);
}

#[test]
fn the_database_of_the_stack_needs_master_keys_even_for_one_pod() {
    let text = without_urls("replicas: 1\ndependencies: {postgres: cnpg}");
    let said = problems(&without("AIP_MASTER_KEYS", &text));
    assert!(said.contains("AIP_MASTER_KEYS: is missing"), "{said}");
}

#[test]
fn what_is_not_used_or_not_safe_is_mentioned() {
    let notices = |text: &str| config(text).unwrap_or_else(|e| panic!("{e}")).notices;
    for (text, words) in [
        (
            stack("restricted", "dependencies: {cnpg: {instances: 5}}"),
            "aip_config.dependencies.cnpg is not used: aip_config.dependencies.postgres is external",
        ),
        (
            stack(
                "restricted",
                "dependencies: {valkey_cluster: {storage: 1Gi}}",
            ),
            "aip_config.dependencies.valkey_cluster is not used",
        ),
        (
            without_urls("dependencies: {postgres: cnpg}"),
            "aip_config.dependencies.cnpg.backup.destination is not set: the database has replicas and no backup",
        ),
        (
            without_urls("dependencies: {postgres: cnpg, cnpg: {instances: 1}}"),
            "aip_config.dependencies.cnpg.instances is 1",
        ),
    ] {
        let notices = notices(&text);
        assert!(
            notices.iter().any(|notice| notice.contains(words)),
            "{words}\n{notices:?}"
        );
    }
}
