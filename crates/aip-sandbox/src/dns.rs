//! The DNS stand-in: answers in process, for a resolver that is handed in.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use aip_atproto::{Did, Handle};
use aip_base::{DnsError, DnsTxt, lock};
use async_trait::async_trait;

/// A name server that says what the test tells it to. Clones share their answers.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    zone: Arc<Mutex<Zone>>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DnsFailure {
    /// The name, or the type asked for, does not exist.
    #[error("no such record")]
    NoRecord,
    /// No name server answered in time.
    #[error("no name server answered")]
    Timeout,
    /// The name server answered that it failed (`SERVFAIL`).
    #[error("the name server failed")]
    ServerFailure,
}

#[derive(Debug, Default)]
struct Zone {
    txt: HashMap<String, Result<Vec<String>, DnsFailure>>,
    addresses: HashMap<String, VecDeque<Vec<IpAddr>>>,
    asked: Vec<String>,
}

impl Dns {
    /// The TXT records of `name`.
    ///
    /// # Errors
    /// What [`Dns::fail`] ordered; [`DnsFailure::NoRecord`] for names nobody set.
    pub fn txt(&self, name: &str) -> Result<Vec<String>, DnsFailure> {
        let name = canonical(name);
        let mut zone = lock(&self.zone);
        let answer = zone
            .txt
            .get(&name)
            .cloned()
            .unwrap_or(Err(DnsFailure::NoRecord));
        zone.asked.push(name);
        answer
    }

    /// The addresses of `name`: each question gets the next of the answers that
    /// [`Dns::set_addresses`] gave, and the last one for ever.
    ///
    /// # Errors
    /// [`DnsFailure::NoRecord`] for names nobody set.
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsFailure> {
        let name = canonical(name);
        let mut zone = lock(&self.zone);
        let answers = zone.addresses.get_mut(&name);
        let answer = answers.and_then(|answers| {
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        });
        zone.asked.push(name);
        answer.ok_or(DnsFailure::NoRecord)
    }

    /// Publishes `_atproto.HANDLE` for an account.
    pub fn publish(&self, handle: &Handle, did: &Did) {
        self.set_txt(&handle_record(handle), [format!("did={did}")]);
    }

    /// Publishes two DIDs for one handle, which must resolve to neither.
    pub fn publish_two(&self, handle: &Handle, dids: [&Did; 2]) {
        self.set_txt(&handle_record(handle), dids.map(|did| format!("did={did}")));
    }

    /// Takes the record of a handle away.
    pub fn withdraw(&self, handle: &Handle) {
        lock(&self.zone).txt.remove(&handle_record(handle));
    }

    /// Sets the TXT records of any name.
    pub fn set_txt(&self, name: &str, records: impl IntoIterator<Item = String>) {
        let records = records.into_iter().collect();
        lock(&self.zone).txt.insert(canonical(name), Ok(records));
    }

    /// Lets TXT questions for the record of `handle` fail.
    pub fn fail(&self, handle: &Handle, failure: DnsFailure) {
        lock(&self.zone)
            .txt
            .insert(handle_record(handle), Err(failure));
    }

    /// Sets the addresses of `name`, one answer per question: a public address first and a
    /// private one next is DNS rebinding.
    pub fn set_addresses(&self, name: &str, answers: impl IntoIterator<Item = Vec<IpAddr>>) {
        lock(&self.zone)
            .addresses
            .insert(canonical(name), answers.into_iter().collect());
    }

    /// Every name that was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.zone).asked.clone()
    }
}

fn handle_record(handle: &Handle) -> String {
    canonical(&format!("_atproto.{handle}"))
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[async_trait]
impl DnsTxt for Dns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        Self::txt(self, name).map_err(|failure| match failure {
            DnsFailure::NoRecord => DnsError::NoRecord,
            DnsFailure::Timeout | DnsFailure::ServerFailure => {
                DnsError::Failed(failure.to_string())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebinding_answers_a_public_address_and_then_a_private_one() {
        let dns = Dns::default();
        let (public, private) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([10, 0, 0, 1]));
        dns.set_addresses("evil.test", [vec![public], vec![private]]);
        assert_eq!(dns.addresses("evil.test"), Ok(vec![public]));
        assert_eq!(dns.addresses("EVIL.test."), Ok(vec![private]));
        assert_eq!(dns.addresses("evil.test"), Ok(vec![private]));
        assert_eq!(dns.asked(), ["evil.test"; 3]);
    }

    #[test]
    fn a_handle_is_published_failed_and_withdrawn() {
        let dns = Dns::default();
        let handle: Handle = "alice.test".parse().unwrap();
        let did: Did = "did:web:alice.test".parse().unwrap();
        let other: Did = "did:web:mallory.test".parse().unwrap();
        assert_eq!(dns.txt("_atproto.alice.test"), Err(DnsFailure::NoRecord));
        dns.publish(&handle, &did);
        assert_eq!(
            dns.txt("_atproto.Alice.test"),
            Ok(vec!["did=did:web:alice.test".to_owned()])
        );
        dns.publish_two(&handle, [&did, &other]);
        assert_eq!(dns.txt("_atproto.alice.test").unwrap().len(), 2);
        dns.fail(&handle, DnsFailure::Timeout);
        assert_eq!(dns.txt("_atproto.alice.test"), Err(DnsFailure::Timeout));
        dns.withdraw(&handle);
        assert_eq!(dns.txt("_atproto.alice.test"), Err(DnsFailure::NoRecord));
    }
}
