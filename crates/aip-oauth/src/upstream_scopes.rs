//! The scopes that AIP's own client document names at PDSs: everything that a registered client may ask
//! for, once. PDSs compare word for word, and refuse a client whose scopes are not all there.

use std::collections::HashSet;

use aip_atproto::{ScopeSet, for_upstream};
use aip_storage::StorageError;
use aip_storage::client::ClientId;

use crate::AuthorizationServer;
use crate::registration::RegistrationError;

/// The most bytes of scopes in the document: PDSs read at most 512 KB of it, and some may read less.
pub(crate) const MAX_UPSTREAM_SCOPES: usize = 256 * 1024;
/// The most bytes of these that a client may have which another server let register itself: so one of them
/// leaves room for the others.
pub(crate) const MAX_IMPORTED_SCOPES: usize = 4 * 1024;

/// The scopes of clients as PDSs are asked for them, each once.
#[derive(Debug, Default)]
pub struct UpstreamScopes {
    words: HashSet<String>,
    /// Of all words, each with the space after it.
    bytes: usize,
}

impl UpstreamScopes {
    /// Counts what a client may ask for.
    fn add(&mut self, scope: &ScopeSet) {
        for word in for_upstream(scope).iter().map(ToString::to_string) {
            let bytes = word.len() + 1;
            if self.words.insert(word) {
                self.bytes += bytes;
            }
        }
    }

    /// How many bytes it would add.
    fn added_by(&self, scope: &ScopeSet) -> usize {
        let words = for_upstream(scope);
        let words = words.iter().map(ToString::to_string);
        let new = words.filter(|word| !self.words.contains(word));
        new.map(|word| word.len() + 1).sum()
    }

    /// Refuses a client with which the document would be larger than PDSs read. One that adds nothing makes
    /// it no larger.
    fn check(&self, scope: &ScopeSet) -> Result<(), RegistrationError> {
        let added = self.added_by(scope);
        let bytes = (self.bytes + added).saturating_sub(1);
        if added > 0 && bytes > MAX_UPSTREAM_SCOPES {
            return Err(RegistrationError::UpstreamScopes(bytes));
        }
        Ok(())
    }

    /// Likewise for a client of another server, and counts it, so that the next one need not be compared
    /// with all clients. `there` is what it has at that server: `scope`, or less where the operator of this
    /// one has allowed it more, which is not its doing.
    pub(crate) fn take_imported(
        &mut self,
        there: &ScopeSet,
        scope: &ScopeSet,
    ) -> Result<(), RegistrationError> {
        let own = Self::default().added_by(there);
        if own > MAX_IMPORTED_SCOPES {
            return Err(RegistrationError::ImportedScopes(own));
        }
        self.check(scope)?;
        self.add(scope);
        Ok(())
    }
}

impl<'a> FromIterator<&'a ScopeSet> for UpstreamScopes {
    fn from_iter<I: IntoIterator<Item = &'a ScopeSet>>(scopes: I) -> Self {
        let mut all = Self::default();
        scopes.into_iter().for_each(|scope| all.add(scope));
        all
    }
}

impl AuthorizationServer {
    /// The scopes that AIP's own client document at PDSs must name: `always`, and everything that
    /// a registered client may ask for. However many they are: registration refuses what is too much.
    pub async fn upstream_scopes(&self, always: &ScopeSet) -> Result<ScopeSet, StorageError> {
        let clients = self.storage.list_clients().await?;
        let asked = clients.iter().map(|it| for_upstream(&it.settings.scope));
        let asked = asked.flat_map(|it| it.iter().cloned().collect::<Vec<_>>());
        Ok(always.iter().cloned().chain(asked).collect())
    }

    /// The scopes of all clients that are registered now, for [`Self::import_client`].
    pub async fn used_upstream_scopes(&self) -> Result<UpstreamScopes, StorageError> {
        let clients = self.storage.list_clients().await?;
        Ok(clients.iter().map(|it| &it.settings.scope).collect())
    }

    /// Refuses a client with which the document would be larger than PDSs read.
    pub(crate) async fn check_upstream_scopes(
        &self,
        id: &ClientId,
        scope: &ScopeSet,
    ) -> Result<(), RegistrationError> {
        let clients = self.storage.list_clients().await?;
        let others = clients.iter().filter(|it| it.id != *id);
        let others: UpstreamScopes = others.map(|it| &it.settings.scope).collect();
        others.check(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(scope: &str) -> ScopeSet {
        ScopeSet::parse(scope).unwrap()
    }

    /// So many scopes, of some 40 bytes each, that no other number has.
    fn many(count: usize, client: usize) -> ScopeSet {
        let words = (0..count).map(|n| format!("repo:com.example.app{client}.recordNumber{n:03}"));
        set(&words.collect::<Vec<_>>().join(" "))
    }

    fn take(used: &mut UpstreamScopes, scope: &ScopeSet) -> Result<(), RegistrationError> {
        used.take_imported(scope, scope)
    }

    #[test]
    fn what_is_counted_is_the_text_of_the_document() {
        let scopes = [
            set("atproto repo:app.bsky.feed.post"),
            set("openid email atproto transition:generic"),
            set("atproto blob:image/* repo:app.bsky.feed.post"),
        ];
        let all: UpstreamScopes = scopes.iter().collect();
        let document: ScopeSet = scopes
            .iter()
            .flat_map(|it| for_upstream(it).iter().cloned().collect::<Vec<_>>())
            .collect();
        assert_eq!(all.bytes - 1, document.to_string().len());
        for scope in &scopes {
            assert_eq!(all.added_by(scope), 0, "{scope}");
        }
        assert_eq!(all.added_by(&set("blob:*/*")), "blob:*/* ".len());
    }

    #[test]
    fn of_ten_thousand_imported_clients_each_is_counted_once_and_junk_leaves_room() {
        let ordinary = set("atproto transition:generic");
        let mut used = UpstreamScopes::default();
        let (mut taken, mut junk, mut full) = (0, 0, 0);
        for client in 0..10_000 {
            let outcome = match client % 10 {
                0 => take(&mut used, &many(120, client)),
                1 => take(&mut used, &many(50, client)),
                _ => take(&mut used, &ordinary),
            };
            match outcome {
                Ok(()) => taken += 1,
                Err(RegistrationError::ImportedScopes(_)) => junk += 1,
                Err(RegistrationError::UpstreamScopes(_)) => full += 1,
                Err(other) => panic!("{other}"),
            }
            assert!(used.bytes <= MAX_UPSTREAM_SCOPES + 1);
        }
        assert_eq!(junk, 1000, "one that takes too much is told alone");
        assert!(taken >= 8000, "{taken}: those that add nothing are taken");
        assert_eq!(taken + junk + full, 10_000);
    }

    #[test]
    fn a_document_that_is_full_takes_who_adds_nothing() {
        let mut used = UpstreamScopes::default();
        for client in 0.. {
            if take(&mut used, &many(90, client)).is_err() {
                break;
            }
        }
        assert!(used.bytes > MAX_UPSTREAM_SCOPES * 9 / 10);
        assert!(take(&mut used, &many(90, 0)).is_ok());
        assert!(take(&mut used, &many(90, 9999)).is_err());
    }

    #[test]
    fn what_the_operator_allows_besides_does_not_count_against_an_imported_client() {
        let (there, both) = (many(50, 1), many(120, 1));
        let mut used = UpstreamScopes::default();
        let refused = used.take_imported(&both, &both);
        assert!(matches!(refused, Err(RegistrationError::ImportedScopes(_))));
        assert!(used.take_imported(&there, &both).is_ok());
        assert_eq!(used.added_by(&both), 0, "all of it is counted");
    }
}
