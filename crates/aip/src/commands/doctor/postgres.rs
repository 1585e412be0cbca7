//! What the PostgreSQL server says about itself: version, encryption, connections, replicas.

use aip_storage_sql::{Database, PgOptions, PgStorage, ReplicaFacts, ServerFacts};

use super::finding::Finding;
use super::installation::{Installation, Part};

/// `server_version_num` of the oldest release that AIP is for (docs/operators.md).
const OLDEST_VERSION: u32 = 130_000;

/// A replica that is further behind does not keep up: what a failover to it would forget.
const MAX_LAG_MILLIS: u64 = 30_000;
const MAX_LAG_BYTES: u64 = 256 * 1024 * 1024;

/// Version, encryption and connections.
pub(super) async fn server(installation: &Installation) -> Finding {
    match facts(installation).await {
        Ok(facts) => judge(&facts, connections_per_server(), installation.servers),
        Err(finding) => finding,
    }
}

/// How far its replicas are behind.
pub(super) async fn replicas(installation: &Installation) -> Finding {
    match facts(installation).await {
        Ok(facts) => judge_replicas(&facts.replicas),
        Err(finding) => finding,
    }
}

async fn facts(installation: &Installation) -> Result<ServerFacts, Finding> {
    let database = match &installation.database {
        Part::Present(Database::Postgres(database)) => database,
        Part::Present(Database::Sqlite(_)) | Part::NotYet => {
            return Err(Finding::skipped("not PostgreSQL"));
        }
        Part::Broken(_) => return Err(Finding::skipped("no usable database")),
    };
    let facts = PgStorage::server_facts(database).await;
    facts.map_err(|error| Finding::fail(error.to_string(), "see the check of the database"))
}

/// The pool, and the connection on which a process hears the others.
fn connections_per_server() -> u32 {
    PgOptions::default().pool_size + 1
}

fn judge(facts: &ServerFacts, of_one: u32, servers: u32) -> Finding {
    let ServerFacts {
        version,
        allowed_connections: allowed,
        connections_in_use: in_use,
        ..
    } = facts;
    let version_text = version_text(*version);
    let via = if facts.is_pooled {
        " from the pooler on"
    } else {
        ""
    };
    let encryption = match &facts.tls {
        Some(protocol) => format!("{protocol}{via}"),
        None => format!("not encrypted{via}"),
    };
    let needed = of_one.saturating_mul(servers);
    let found = format!(
        "PostgreSQL {version_text}, {encryption}, {allowed} connection(s) allowed, {in_use} in use, {needed} needed \
         by {servers} server(s)"
    );
    if *version < OLDEST_VERSION {
        return Finding::fail(
            found,
            "AIP needs PostgreSQL 13 or newer: upgrade the server",
        );
    }
    if facts.is_replica {
        return Finding::fail(
            format!("{found}; it is a replica, which takes no writes"),
            "name the primary in AIP_DATABASE_URL",
        );
    }
    // A pooler shares its connections among all that connect to it.
    if *allowed < needed && !facts.is_pooled {
        return Finding::fail(
            found,
            format!(
                "`ALTER SYSTEM SET max_connections = {}` and a restart of the server (limits of the database and of \
                 the user count, too: ALTER DATABASE, ALTER ROLE … CONNECTION LIMIT), or fewer servers, or a pooler",
                with_reserve(needed)
            ),
        );
    }
    if facts.tls.is_none() && !facts.is_local {
        return Finding::warn(
            found,
            "whoever is on the way reads what the database holds and is given: add `sslmode=verify-full` to \
             AIP_DATABASE_URL",
        );
    }
    Finding::ok(found)
}

/// What to allow for so many: a quarter more for rollouts, and what the server keeps for superusers and replicas.
fn with_reserve(needed: u32) -> u32 {
    needed.saturating_add(needed / 4).saturating_add(20)
}

/// 150013 is 15.13 (<https://www.postgresql.org/docs/current/runtime-config-preset.html>).
fn version_text(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

fn judge_replicas(replicas: &[ReplicaFacts]) -> Finding {
    if replicas.is_empty() {
        return Finding::ok("the server names none");
    }
    if replicas.iter().all(|replica| replica.state.is_none()) {
        return Finding::ok(format!(
            "{} that this user may not see the lag of (`GRANT pg_monitor TO` it shows it)",
            replicas.len()
        ));
    }
    let found: Vec<String> = replicas.iter().map(replica_text).collect();
    let found = found.join("\n");
    if replicas.iter().any(is_behind) {
        return Finding::warn(
            found,
            "a failover to one that is behind forgets which codes and refresh tokens were used, and sessions \
             end: look at `SELECT * FROM pg_stat_replication`, its network and its disk; a synchronous one \
             (synchronous_standby_names) forgets nothing",
        );
    }
    Finding::ok(found)
}

fn is_behind(replica: &ReplicaFacts) -> bool {
    let is_more = |lag: Option<u64>, most: u64| lag.is_some_and(|lag| lag > most);
    let streams = replica.state.as_deref() == Some("streaming");
    // What only receives the log, such as `pg_receivewal`, replays nothing.
    let lag_millis = replica.lag_bytes.and(replica.lag_millis);
    !streams || is_more(lag_millis, MAX_LAG_MILLIS) || is_more(replica.lag_bytes, MAX_LAG_BYTES)
}

fn replica_text(replica: &ReplicaFacts) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let bytes = replica.lag_bytes.map(|bytes| format!("{bytes} bytes"));
    let time = replica.lag_millis.map(|millis| format!("{millis} ms"));
    let lag: Vec<String> = bytes.into_iter().chain(time).collect();
    format!(
        "{}: {}, {}, behind by {}",
        text(&replica.name),
        text(&replica.state),
        text(&replica.sync_state),
        if lag.is_empty() {
            "?".to_owned()
        } else {
            lag.join(" and ")
        }
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, to_value};

    use super::*;

    fn line(servers: u32, change: impl FnOnce(&mut ServerFacts)) -> Value {
        let mut facts = ServerFacts {
            version: 150_013,
            tls: Some("TLSv1.3".to_owned()),
            is_local: false,
            is_pooled: false,
            is_replica: false,
            allowed_connections: 97,
            connections_in_use: 5,
            replicas: Vec::new(),
        };
        change(&mut facts);
        to_value(judge(&facts, 17, servers).line("PostgreSQL")).unwrap()
    }

    #[test]
    fn a_server_that_is_fine_tells_version_encryption_and_connections() {
        let fine = line(5, |_| ());
        assert_eq!(fine["status"], "ok");
        assert_eq!(
            fine["found"],
            "PostgreSQL 15.13, TLSv1.3, 97 connection(s) allowed, 5 in use, 85 needed by 5 server(s)"
        );
        let local = line(1, |facts| (facts.tls, facts.is_local) = (None, true));
        assert_eq!(local["status"], "ok");
        let pooled = line(50, |facts| facts.is_pooled = true);
        assert_eq!(pooled["status"], "ok");
        assert!(
            pooled["found"]
                .as_str()
                .unwrap()
                .contains("TLSv1.3 from the pooler on")
        );
    }

    #[test]
    fn what_is_wrong_has_a_value_and_a_way_out() {
        for (bad, status, found, advice) in [
            (
                line(1, |facts| facts.version = 120_022),
                "fail",
                "PostgreSQL 12.22",
                "upgrade",
            ),
            (
                line(1, |facts| facts.is_replica = true),
                "fail",
                "takes no writes",
                "primary",
            ),
            (
                line(6, |_| ()),
                "fail",
                "102 needed by 6",
                "max_connections = 147",
            ),
            (
                line(1, |facts| facts.tls = None),
                "warn",
                "not encrypted",
                "sslmode=verify-full",
            ),
        ] {
            assert_eq!(bad["status"], status, "{bad}");
            assert!(bad["found"].as_str().unwrap().contains(found), "{bad}");
            assert!(bad["advice"].as_str().unwrap().contains(advice), "{bad}");
        }
    }

    #[test]
    fn a_replica_that_does_not_keep_up_is_warned_of() {
        let replica = |state: &str, lag_millis, lag_bytes| ReplicaFacts {
            name: Some("standby1".to_owned()),
            state: Some(state.to_owned()),
            sync_state: Some("async".to_owned()),
            lag_millis,
            lag_bytes,
        };
        let line = |replicas: &[ReplicaFacts]| {
            to_value(judge_replicas(replicas).line("replicas")).unwrap()
        };
        assert_eq!(line(&[])["status"], "ok");
        let fine = replica("streaming", None, Some(0));
        let said = line(std::slice::from_ref(&fine));
        assert_eq!(said["status"], "ok");
        assert_eq!(
            said["found"],
            "standby1: streaming, async, behind by 0 bytes"
        );
        for behind in [
            replica("catchup", None, Some(0)),
            replica("streaming", Some(MAX_LAG_MILLIS + 1), Some(0)),
            replica("streaming", None, Some(MAX_LAG_BYTES + 1)),
        ] {
            let said = line(&[fine.clone(), behind]);
            assert_eq!(said["status"], "warn", "{said}");
        }
        let receiver = replica("streaming", Some(MAX_LAG_MILLIS + 1), None);
        assert_eq!(line(&[receiver])["status"], "ok");
        let hidden = ReplicaFacts {
            name: None,
            state: None,
            sync_state: None,
            lag_millis: None,
            lag_bytes: None,
        };
        let said = line(&[hidden]);
        assert_eq!(said["status"], "ok");
        assert!(
            said["found"].as_str().unwrap().contains("pg_monitor"),
            "{said}"
        );
    }
}
