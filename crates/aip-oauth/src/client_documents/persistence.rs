//! What is kept of clients with a document, for all processes: a row from the first approval on, with
//! what the document said last, and until when that holds.

use std::time::Duration;

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::client::{Client, ClientSettings};
use aip_storage::grant::DocumentClient;

use super::url::DocumentUrl;
use super::{ClientDocuments, MAX_UNREAD_AGE};
use crate::AuthorizationServer;
use crate::registration::is_another_app;

/// A document that says what it said is noted as read again after this time only: a busy one is read
/// each minute, by each process.
const REREAD_NOTE_INTERVAL: Duration = Duration::from_hours(1);

/// Of the clients that may be kept, the share of one host, which can answer with any number of documents.
const SITE_SHARE_DIVISOR: u64 = 50;
/// A host has room for so many in any case.
const MIN_CLIENTS_PER_SITE: u64 = 20;
/// The share of one account, which may have any number of hosts.
const ACCOUNT_SHARE_DIVISOR: u64 = 20;
/// An account has room for so many in any case.
const MIN_CLIENTS_PER_ACCOUNT: u64 = 50;
/// An account has room for so many of one host, on which people who do not know each other may have their
/// apps: so it takes several accounts to use up the share of a host.
const MAX_CLIENTS_PER_ACCOUNT_AND_SITE: u64 = 5;

impl ClientDocuments {
    /// A client with a document, as it is kept with an approval at `now`; `None` for every other one.
    pub(crate) fn document_client(
        &self,
        client: &Client,
        now: Timestamp,
    ) -> Option<DocumentClient> {
        let url = DocumentUrl::parse(&client.id).ok()?;
        let max_clients = self.policy?.max_clients;
        client.from_document.then(|| DocumentClient {
            client: Client {
                created_at: now,
                updated_at: now,
                ..client.clone()
            },
            max_clients,
            site: url.site(),
            max_clients_of_site: (max_clients / SITE_SHARE_DIVISOR).max(MIN_CLIENTS_PER_SITE),
            max_clients_of_account: (max_clients / ACCOUNT_SHARE_DIVISOR)
                .max(MIN_CLIENTS_PER_ACCOUNT),
            max_clients_of_account_at_site: MAX_CLIENTS_PER_ACCOUNT_AND_SITE,
        })
    }
}

impl AuthorizationServer {
    /// Notes what the document of a client says that was read at `now`.
    pub(super) async fn note_document(
        &self,
        kept: Client,
        settings: &ClientSettings,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let holds_until = now + MAX_UNREAD_AGE;
        if kept.settings == *settings {
            let noted = kept.document_holds_until;
            if noted.is_some_and(|noted| holds_until < noted + REREAD_NOTE_INTERVAL) {
                return Ok(());
            }
            return self.storage.hold_document(&kept.id, holds_until).await;
        }
        // Whoever writes the document now must not get codes without a page from people who allowed
        // another app.
        let forgets_consents = is_another_app(&kept.settings, settings);
        let client = Client {
            settings: settings.clone(),
            document_holds_until: Some(holds_until),
            updated_at: now,
            ..kept
        };
        // Where nothing changes, the operator has registered a client of that id meanwhile.
        self.storage
            .change_document_client(&client, forgets_consents)
            .await
            .map(drop)
    }

    /// Notes that the document of a client was withdrawn: nothing holds until it is read again, by
    /// whatever process, and whether or not its site is there meanwhile.
    pub(super) async fn note_withdrawal(
        &self,
        kept: &Client,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        if kept.document_holds_until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        self.storage.hold_document(&kept.id, now).await
    }
}
