//! DNS TXT look-ups as a value, beside [`Http`](crate::Http): the only other question that this
//! program puts to the network on behalf of a handle.

use async_trait::async_trait;

/// Why a name gave no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name or the record type does not exist: a definite answer.
    #[error("no such record")]
    NoRecord,
    /// No answer, or one that is not usable: asking again later may help.
    #[error("the look-up failed: {0}")]
    Failed(String),
}

/// Looks up TXT records.
#[async_trait]
pub trait DnsTxt: Send + Sync + 'static {
    /// The TXT records of `name`, each with its character strings joined (RFC 1035 §3.3.14).
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError>;
}
