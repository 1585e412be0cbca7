//! Whether Valkey answers, where it is used, and what it says about itself.

use aip_shared_state::valkey::{Memory, ServerFacts};

use super::finding::Finding;
use super::installation::Installation;
use crate::settings;

/// From here on a server that evicts nothing is about to refuse writes.
const FULL_PERCENT: u64 = 90;

const FALLBACK_NOTE: &str = "until then the database does its work";

pub(super) async fn answers(installation: &Installation) -> Finding {
    let config = match settings::valkey(&installation.loaded.config.redis) {
        Ok(Some(config)) => config,
        Ok(None) => return Finding::skipped("not configured: the database does its work"),
        Err(error) => return Finding::fail(format!("{error:#}"), "correct the setting named"),
    };
    match config.server_facts().await {
        Ok(facts) => judge(&facts),
        // Without it everything works, slower.
        Err(error) => Finding::fail(
            error.to_string(),
            format!(
                "check AIP_REDIS_URL, that Valkey runs, and that this machine may reach it; {FALLBACK_NOTE}"
            ),
        ),
    }
}

fn judge(facts: &ServerFacts) -> Finding {
    let mut found = vec!["answers".to_owned()];
    found.extend(facts.software.clone());
    found.push(
        if facts.tls {
            "over TLS"
        } else {
            "not encrypted"
        }
        .to_owned(),
    );
    found.extend(facts.memory.as_ref().map(memory_text));
    let found = found.join(", ");
    // HELLO says `master`, whatever else the server calls it.
    if let Some(role) = facts.role.as_ref().filter(|role| *role != "master") {
        return Finding::fail(
            format!("{found}; it is a {role}, which takes no writes"),
            format!("name the primary in AIP_REDIS_URL; {FALLBACK_NOTE}"),
        );
    }
    if let Some(memory) = facts.memory.as_ref().filter(|memory| is_full(memory)) {
        return Finding::warn(
            format!("{found}; it is nearly full, and evicts nothing: it will refuse writes"),
            format!(
                "`valkey-cli CONFIG SET maxmemory-policy volatile-ttl`, or a larger maxmemory than {} bytes; \
                 {FALLBACK_NOTE}",
                memory.max_bytes
            ),
        );
    }
    if !facts.tls && !facts.is_local {
        return Finding::warn(
            found,
            "whoever is on the way reads and changes what replicas share: a `rediss://` URL in AIP_REDIS_URL \
             encrypts it, if the server has a certificate",
        );
    }
    Finding::ok(found)
}

fn memory_text(memory: &Memory) -> String {
    let Memory {
        policy,
        max_bytes,
        used_bytes,
    } = memory;
    match max_bytes {
        0 => format!("{used_bytes} bytes used, without maxmemory"),
        most => format!("{used_bytes} of {most} bytes used, maxmemory-policy {policy}"),
    }
}

fn is_full(memory: &Memory) -> bool {
    let full = u128::from(memory.max_bytes) * u128::from(FULL_PERCENT) / 100;
    memory.policy == "noeviction" && memory.max_bytes > 0 && u128::from(memory.used_bytes) >= full
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, to_value};

    use super::*;

    fn line(change: impl FnOnce(&mut ServerFacts)) -> Value {
        let mut facts = ServerFacts {
            tls: true,
            is_local: false,
            software: Some("valkey 8.1.3".to_owned()),
            role: Some("master".to_owned()),
            memory: Some(Memory {
                policy: "noeviction".to_owned(),
                max_bytes: 1000,
                used_bytes: 100,
            }),
        };
        change(&mut facts);
        to_value(judge(&facts).line("Valkey")).unwrap()
    }

    #[test]
    fn a_server_that_is_fine_tells_version_tls_and_memory() {
        let fine = line(|_| ());
        assert_eq!(fine["status"], "ok");
        let said =
            "answers, valkey 8.1.3, over TLS, 100 of 1000 bytes used, maxmemory-policy noeviction";
        assert_eq!(fine["found"], said);
        // One that does not let this user ask is fine, too.
        let silent = line(|facts| {
            facts.software = None;
            facts.role = None;
            facts.memory = None;
        });
        assert_eq!(
            (&silent["status"], &silent["found"]),
            (&"ok".into(), &"answers, over TLS".into())
        );
    }

    #[test]
    fn a_replica_fails_and_a_full_or_open_server_is_warned_of_with_the_way_out() {
        for (bad, status, words) in [
            (
                line(|facts| facts.role = Some("replica".to_owned())),
                "fail",
                "primary",
            ),
            (
                line(|facts| facts.memory.as_mut().unwrap().used_bytes = 900),
                "warn",
                "CONFIG SET",
            ),
            (line(|facts| facts.tls = false), "warn", "rediss://"),
        ] {
            assert_eq!(bad["status"], status, "{bad}");
            assert!(bad["advice"].as_str().unwrap().contains(words), "{bad}");
        }
        for fine in [
            line(|facts| (facts.tls, facts.is_local) = (false, true)),
            line(|facts| facts.memory.as_mut().unwrap().used_bytes = 899),
            line(|facts| facts.memory.as_mut().unwrap().max_bytes = 0),
        ] {
            assert_eq!(fine["status"], "ok", "{fine}");
        }
    }
}
