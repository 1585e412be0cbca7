//! What lies between a pushed request and a session: requests, codes, devices and consents.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aip_base::Timestamp;

use super::par::{Parameters, Pending};

/// A code that waits for the client.
#[derive(Debug, Clone)]
pub(crate) struct CodeGrant {
    pub(crate) parameters: Parameters,
    pub(crate) did: String,
    /// What the person granted.
    pub(crate) scope: String,
    pub(crate) expires: Timestamp,
}

/// The state of the authorization endpoint.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) requests: HashMap<String, Pending>,
    pub(crate) codes: HashMap<String, CodeGrant>,
    /// By device cookie: who is remembered there, since when.
    pub(crate) devices: HashMap<String, BTreeMap<String, Timestamp>>,
    consents: HashMap<(String, String), BTreeSet<String>>,
}

impl Grants {
    /// Whether the account has granted the client all of `scope` before.
    pub(crate) fn has_consent(&self, client_id: &str, did: &str, scope: &[String]) -> bool {
        let key = (client_id.to_owned(), did.to_owned());
        self.consents
            .get(&key)
            .is_some_and(|granted| scope.iter().all(|word| granted.contains(word)))
    }

    pub(crate) fn add_consent(&mut self, client_id: &str, did: &str, scope: &[String]) {
        let key = (client_id.to_owned(), did.to_owned());
        self.consents
            .entry(key)
            .or_default()
            .extend(scope.iter().cloned());
    }

    pub(crate) fn forget_consent(&mut self, did: &str) {
        self.consents.retain(|(_, owner), _| owner != did);
    }
}
