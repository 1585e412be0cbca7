//! The DNS stand-in: answers in process, for a resolver that is handed in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aip_atproto::{Did, Handle};
use aip_base::{DnsError, DnsTxt, lock};
use async_trait::async_trait;

/// A name server that says what the test tells it to. Clones share their answers.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    texts: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Dns {
    /// Publishes `_atproto.HANDLE` for an account.
    pub fn publish(&self, handle: &Handle, did: &Did) {
        self.set_txt(&format!("_atproto.{handle}"), [format!("did={did}")]);
    }

    /// Sets the TXT records of any name.
    pub fn set_txt(&self, name: &str, records: impl IntoIterator<Item = String>) {
        let records = records.into_iter().collect();
        lock(&self.texts).insert(canonical(name), records);
    }

    /// The TXT records of `name`; `None` for names nobody set.
    pub(crate) fn records(&self, name: &str) -> Option<Vec<String>> {
        lock(&self.texts).get(&canonical(name)).cloned()
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[async_trait]
impl DnsTxt for Dns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        self.records(name).ok_or(DnsError::NoRecord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_was_published_is_found_however_its_name_is_written() {
        let dns = Dns::default();
        let handle: Handle = "alice.test".parse().unwrap();
        let did: Did = "did:web:alice.test".parse().unwrap();
        assert_eq!(dns.records("_atproto.alice.test"), None);
        dns.publish(&handle, &did);
        let published = Some(vec!["did=did:web:alice.test".to_owned()]);
        assert_eq!(dns.records("_atproto.Alice.test."), published);
    }
}
