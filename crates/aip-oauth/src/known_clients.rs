//! Clients that were read a moment ago, so that an app that calls often is not read at every call.
//!
//! What is remembered can only let a client in, never turn it away: whoever is not let in by it
//! is checked against the database. So a new secret works at once, and an old one for at most
//! a second after another process replaced it. Codes and tokens of a client that was deleted are
//! dead at once all the same, as each is looked up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aip_storage::client::{Client, ClientId};
use quick_cache::sync::Cache;
use tokio::time::Instant;

/// How long a client is taken to be as it was read.
const MAX_READ_AGE: Duration = Duration::from_secs(1);

/// How many clients are remembered.
const MAX_CLIENTS: usize = 1024;

/// The clients, shared by clones.
#[derive(Clone)]
pub struct KnownClients(Arc<Cache<ClientId, CachedClient>>);

#[derive(Clone)]
struct CachedClient {
    client: Arc<Client>,
    /// Not of the wall clock, which may jump back.
    read_at: Instant,
}

impl Default for KnownClients {
    fn default() -> Self {
        Self(Arc::new(Cache::new(MAX_CLIENTS)))
    }
}

impl fmt::Debug for KnownClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownClients").field(&self.0.len()).finish()
    }
}

impl KnownClients {
    /// The client, if it was read a moment ago.
    pub(crate) fn get(&self, id: &ClientId) -> Option<Arc<Client>> {
        let known = self.0.get(id)?;
        (known.read_at.elapsed() < MAX_READ_AGE).then_some(known.client)
    }

    /// Remembers a client that was read at `read_at` or later.
    pub(crate) fn remember(&self, client: &Arc<Client>, read_at: Instant) {
        let known = CachedClient {
            client: Arc::clone(client),
            read_at,
        };
        self.0.insert(client.id.clone(), known);
    }

    /// Forgets a client that changes.
    pub(crate) fn forget(&self, id: &ClientId) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use aip_base::Timestamp;
    use aip_storage::client::{ClientAuthMethod, ClientSettings};

    use super::*;

    fn client() -> Arc<Client> {
        let then = Timestamp::from_secs(1_800_000_000);
        Arc::new(Client {
            id: "app".parse().unwrap(),
            settings: ClientSettings {
                name: "App".to_owned(),
                auth_method: ClientAuthMethod::None,
                scope: "atproto".parse().unwrap(),
                refresh_token_ttl: Duration::from_hours(24),
                ..ClientSettings::default()
            },
            secret_hash: None,
            registered_itself: false,
            from_document: false,
            document_holds_until: None,
            created_at: then,
            updated_at: then,
        })
    }

    #[test]
    fn a_client_is_known_for_a_moment_after_it_was_read() {
        let known = KnownClients::default();
        let client = client();
        assert!(known.get(&client.id).is_none());

        known.remember(&client, Instant::now());
        assert!(known.get(&client.id).is_some());

        let long_ago = Instant::now().checked_sub(MAX_READ_AGE).unwrap();
        known.remember(&client, long_ago);
        assert!(known.get(&client.id).is_none());
    }

    #[test]
    fn a_client_that_changes_here_is_forgotten_at_once() {
        let known = KnownClients::default();
        let client = client();
        known.remember(&client, Instant::now());
        known.clone().forget(&client.id);
        assert!(known.get(&client.id).is_none());
    }
}
