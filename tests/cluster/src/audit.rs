//! The API server's audit log as an oracle: what was really asked of it, and by whom.
//! <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>

use std::path::PathBuf;

use serde::Deserialize;

/// One answered request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Path and query, for example `…?dryRun=All&fieldManager=aip-deploy`.
    #[serde(rename = "requestURI")]
    pub uri: String,
    user: Named,
    /// What the client calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// The object that was meant, for requests about objects.
    #[serde(default)]
    pub object_ref: Option<ObjectRef>,
    response_status: Option<Status>,
}

/// The object a request was about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectRef {
    /// The plural in lower case, for example `deployments`.
    pub resource: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Its name; empty for lists and for names the server makes.
    pub name: String,
    /// `status`, `binding`, …, or empty.
    pub subresource: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    username: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// Requests in the order in which they were answered.
#[derive(Debug, Clone)]
pub struct Audit {
    log: PathBuf,
    seen: usize,
}

impl AuditEvent {
    /// Who asked.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// The status code of the answer; 0 where the log has none.
    pub fn code(&self) -> u16 {
        self.response_status
            .as_ref()
            .map_or(0, |status| status.code)
    }

    /// Whether it only asked what would happen.
    pub fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }

    /// Whether it could have changed something, and was no dry run. Reviews of one's own rights
    /// are created, but nothing is stored.
    pub fn is_write(&self) -> bool {
        let reads = ["get", "list", "watch"].contains(&self.verb.as_str());
        let review = self
            .object_ref
            .as_ref()
            .is_some_and(|object| object.resource.ends_with("reviews"));
        !reads && !review && !self.is_dry_run()
    }
}

impl Audit {
    /// From this moment on.
    pub(crate) fn from_now(log: PathBuf) -> Self {
        let mut audit = Self { log, seen: 0 };
        audit.seen = audit.lines().len();
        audit
    }

    /// What `user` has asked since.
    ///
    /// # Panics
    ///
    /// If the log cannot be understood.
    pub fn by(&self, user: &str) -> Vec<AuditEvent> {
        let mut events = self.events();
        events.retain(|event| event.user() == user);
        events
    }

    /// What everybody has asked since.
    ///
    /// # Panics
    ///
    /// If the log cannot be understood.
    pub fn events(&self) -> Vec<AuditEvent> {
        let lines = self.lines();
        let new = lines.get(self.seen..).unwrap_or_default();
        new.iter()
            .map(|line| serde_json::from_str(line).expect("the audit log is JSON, a line each"))
            .collect()
    }

    /// Whole lines only: the server may be writing one.
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }
}
