//! What a Valkey server says about itself, for `aip doctor`. `HELLO` is a command of `@connection`, which a user of
//! AIP has; `INFO` is one of `@dangerous`, which it need not have.

use std::sync::Arc;

use redis::Value;
use tokio::time::timeout;

use super::connect::{self, ConnectError, Connection};
use super::{CONNECT_TIMEOUT, Servers, ValkeyConfig, notices};

/// A server, as far as it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the URL names this machine: a Unix socket, or a loopback address.
    pub is_local: bool,
    /// Name and version, such as `valkey 8.1.3`. None of a cluster, which is several servers.
    pub software: Option<String>,
    /// `master` or `replica`.
    pub role: Option<String>,
    /// None if the user may not ask.
    pub memory: Option<Memory>,
}

/// The memory of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// `maxmemory-policy`: what it does when memory is full.
    pub policy: String,
    /// `maxmemory` in bytes; 0 is no limit.
    pub max_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
}

impl ValkeyConfig {
    /// Connects once, and asks the server about itself.
    pub async fn server_facts(&self) -> Result<ServerFacts, ConnectError> {
        let asked = timeout(CONNECT_TIMEOUT, self.ask());
        asked.await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn ask(&self) -> Result<ServerFacts, ConnectError> {
        let nobody: connect::PushHandler = Arc::new(drop);
        let mut connection = Connection::connect(self, notices::CHANNEL, &nobody).await?;
        let mut facts = ServerFacts {
            tls: self.url.tls,
            is_local: is_local(&self.url.servers),
            ..ServerFacts::default()
        };
        if matches!(connection, Connection::Cluster(_)) {
            return Ok(facts);
        }
        // Old servers and proxies know neither; that is no reason not to use them.
        if let Ok(hello) = connection.query(redis::cmd("HELLO")).await {
            facts.software = software(&hello);
            facts.role = member(&hello, "role");
        }
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        if let Ok(info) = connection.query(info).await {
            facts.memory = text(&info).as_deref().and_then(memory);
        }
        Ok(facts)
    }
}

fn is_local(servers: &Servers) -> bool {
    match servers {
        Servers::Socket(_) => true,
        Servers::One(at) => {
            let address = at.host.parse::<std::net::IpAddr>();
            at.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        Servers::Sentinel(_) | Servers::Cluster(_) => false,
    }
}

fn software(hello: &Value) -> Option<String> {
    Some(format!(
        "{} {}",
        member(hello, "server")?,
        member(hello, "version")?
    ))
}

/// A member of an answer that is a map.
fn member(answer: &Value, name: &str) -> Option<String> {
    let Value::Map(members) = answer else {
        return None;
    };
    let mut members = members.iter();
    let (_, value) = members.find(|(key, _)| text(key).as_deref() == Some(name))?;
    text(value)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// The section `memory` of `INFO`: lines of `name:value`.
fn memory(info: &str) -> Option<Memory> {
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    Some(Memory {
        policy: field("maxmemory_policy")?.trim().to_owned(),
        max_bytes: field("maxmemory")?.trim().parse().ok()?,
        used_bytes: field("used_memory")?.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_does_not_say_is_not_known() {
        let info =
            "# Memory\r\nused_memory:900\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n";
        let read = memory(info).unwrap();
        assert_eq!((read.used_bytes, read.max_bytes), (900, 1000));
        assert_eq!(read.policy, "noeviction");
        for bad in [
            "",
            "used_memory:x",
            "maxmemory_policy:noeviction\r\nmaxmemory:1",
        ] {
            assert_eq!(memory(bad), None, "{bad}");
        }
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let hello = Value::Map(vec![
            (bulk("server"), bulk("valkey")),
            (bulk("version"), Value::SimpleString("8.1.3".to_owned())),
            (bulk("proto"), Value::Int(3)),
        ]);
        assert_eq!(software(&hello).unwrap(), "valkey 8.1.3");
        assert_eq!(member(&hello, "role"), None);
        assert_eq!(member(&hello, "proto"), None);
        assert_eq!(software(&Value::Nil), None);
    }
}
