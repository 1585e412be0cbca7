//! Clients that nobody registered: their `client_id` is the address of a document with their metadata
//! (draft-ietf-oauth-client-id-metadata-document-02).
//!
//! The document is what counts. It is read when a request names the client and what is remembered of
//! it has become old; whoever sends the request has a share of that ([`AuthorizationServer::due_document`]),
//! as anybody could otherwise let AIP ask any site. Errors are not kept: after one a document is left
//! alone for a few seconds, and what it said before holds on if the error is one that passes.
//!
//! A row in the table of clients is made when a person first allows the client something, as grants
//! are of rows. It has what the document said last, for `aip clients`, and for a process that cannot
//! read the document; and until when that holds, for all processes: a day after the document was last
//! read, and not at all once it was withdrawn.

mod fetch;
mod lifetime;
mod persistence;
mod url;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_base::{Http, Timestamp, lock};
use aip_jose::UnverifiedJws;
use aip_jose::client_assertion::claimed_client;
use aip_storage::StorageError;
use aip_storage::client::{
    Client, ClientAuthMethod, ClientId, ClientSettings, GrantType, GrantTypes, RedirectTarget,
    RedirectUri,
};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use self::fetch::{Failure, fetch};
use self::lifetime::lifetime;
use self::url::{DocumentUrl, is_address};
use crate::AuthorizationServer;
use crate::authorize::PageError;
use crate::pairwise::PairwiseError;
use crate::params::LenientParams;

/// How long a document holds that cannot be read again.
const MAX_UNREAD_AGE: Duration = Duration::from_hours(24);

/// How long a document is left alone that could not be read.
const FAILURE_RETRY_DELAY: Duration = Duration::from_secs(10);

/// How many documents are remembered, each of 5 KiB at most.
const MAX_DOCUMENTS: usize = 1024;

/// The grants that such a client may use; a document may name more, for other servers.
const GRANTS: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

/// Reads the JSON of a document: what it says over the settings, or what is wrong, in words for its
/// developer. It makes sure that the document names the `client_id`, and holds no secret.
pub type ReadDocument = fn(&[u8], &ClientId, ClientSettings) -> Result<ClientSettings, String>;

/// Which clients with a document are taken.
#[derive(Debug, Clone, Copy)]
pub struct DocumentPolicy {
    /// How many of them are kept that somebody has allowed something.
    pub max_clients: u64,
    /// Reads a document.
    pub read: ReadDocument,
}

/// The documents of clients.
pub struct ClientDocuments {
    http: Arc<dyn Http>,
    policy: Option<DocumentPolicy>,
    documents: Cache<ClientId, Arc<Document>>,
}

/// One document.
#[derive(Default)]
struct Document {
    known: Mutex<DocumentState>,
    /// Held by the one request that reads it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct DocumentState {
    /// What it said when it was read.
    content: Option<DocumentContent>,
    /// When it could last not be read, and why; nothing once it was read again.
    failed: Option<(Timestamp, Failure)>,
    /// When it was withdrawn, as this process saw it last; nothing once it was read again.
    withdrawn_at: Option<Timestamp>,
}

#[derive(Clone)]
struct DocumentContent {
    settings: Arc<ClientSettings>,
    read_at: Timestamp,
    fresh_until: Timestamp,
}

/// A document that has to be read before a request can be answered. Made only by
/// [`AuthorizationServer::due_document`].
pub struct DueDocument {
    id: ClientId,
    url: DocumentUrl,
    /// The client as it is kept, if it is.
    kept: Option<Client>,
    is_known: bool,
}

impl DueDocument {
    /// Whether the request can be answered without it: what the document said before holds on.
    pub fn is_known(&self) -> bool {
        self.is_known
    }
}

impl fmt::Debug for ClientDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.documents.len();
        f.debug_tuple("ClientDocuments").field(&remembered).finish()
    }
}

impl ClientDocuments {
    /// Reads documents through `http`; without a policy none.
    pub fn new(http: Arc<dyn Http>, policy: Option<DocumentPolicy>) -> Self {
        Self {
            http,
            policy,
            documents: Cache::new(MAX_DOCUMENTS),
        }
    }

    /// What documents are read through that clients name.
    pub(crate) fn http(&self) -> &dyn Http {
        &*self.http
    }

    /// Whether clients with a document are taken.
    pub fn are_taken(&self) -> bool {
        self.policy.is_some()
    }

    fn known(&self, id: &ClientId) -> DocumentState {
        let document = self.documents.get(id);
        document.map_or_else(DocumentState::default, |it| lock(&it.known).clone())
    }

    /// The client of that id as it counts now; `kept` is what the storage has. Nothing is read.
    pub(crate) fn current(
        &self,
        id: &ClientId,
        kept: Option<Client>,
        now: Timestamp,
    ) -> Option<Client> {
        if kept.as_ref().is_some_and(|it| !it.from_document) {
            return kept;
        }
        if self.policy.is_none() || DocumentUrl::parse(id).is_err() {
            return None;
        }
        let DocumentState {
            content,
            withdrawn_at,
            ..
        } = self.known(id);
        let holds = |it: &Client| it.document_holds_until.is_some_and(|until| now < until);
        if let Some(at) = withdrawn_at {
            // Another process may have read it since, which this one cannot.
            let is_read_since = |it: &Client| {
                let until = it.document_holds_until;
                until.is_some_and(|until| at + MAX_UNREAD_AGE < until)
            };
            return kept.filter(|it| holds(it) && is_read_since(it));
        }
        // Once that is old which this process has read, the row counts, which all of them write.
        let is_kept = kept.is_some();
        // What people are known by to a client that is kept stays.
        let sector = kept.as_ref().map(|it| it.settings.pairwise.clone());
        let holds_until = |content: &DocumentContent| {
            if is_kept {
                content.fresh_until
            } else {
                content.read_at + MAX_UNREAD_AGE
            }
        };
        let content = content.filter(|it| now < holds_until(it));
        if let Some(content) = content {
            return Some(Client {
                id: id.clone(),
                settings: ClientSettings {
                    pairwise: sector.unwrap_or_else(|| content.settings.pairwise.clone()),
                    ..(*content.settings).clone()
                },
                secret_hash: None,
                registered_itself: false,
                from_document: true,
                document_holds_until: Some(content.read_at + MAX_UNREAD_AGE),
                created_at: kept.as_ref().map_or(now, |it| it.created_at),
                updated_at: kept.as_ref().map_or(now, |it| it.updated_at),
            });
        }
        kept.filter(holds)
    }

    /// Whether the document of a client could not be read lately, without being withdrawn.
    pub(crate) fn is_unreachable(&self, id: &ClientId) -> bool {
        let known = self.known(id);
        self.policy.is_some() && known.failed.is_some() && known.withdrawn_at.is_none()
    }

    /// Why there is no client of an id that is meant as the address of a document.
    fn failure_of(&self, id: &ClientId) -> Option<String> {
        if self.policy.is_none() || !is_address(id) {
            return None;
        }
        if let Err(error) = DocumentUrl::parse(id) {
            return Some(format!("the `client_id` {error}"));
        }
        let (_, failure) = self.known(id).failed?;
        Some(failure.why)
    }
}

impl DocumentState {
    fn is_due(&self, now: Timestamp) -> bool {
        let is_fresh = self.content.as_ref().is_some_and(|it| now < it.fresh_until);
        let is_left_alone = self
            .failed
            .as_ref()
            .is_some_and(|(at, _)| now.since(*at) < FAILURE_RETRY_DELAY);
        !is_fresh && !is_left_alone
    }

    /// Takes what was read at `now`, and returns it if it is a document. What was withdrawn stays so
    /// until the document is there again, not until its site is down.
    fn take(
        &mut self,
        read: Result<(ClientSettings, Duration), Failure>,
        id: &ClientId,
        now: Timestamp,
    ) -> Option<Arc<ClientSettings>> {
        match read {
            Ok((settings, lives)) => {
                let settings = Arc::new(settings);
                self.failed = None;
                self.withdrawn_at = None;
                self.content = Some(DocumentContent {
                    settings: Arc::clone(&settings),
                    read_at: now,
                    fresh_until: now + lives,
                });
                Some(settings)
            }
            Err(failure) => {
                let (client, why) = (id.as_str(), &failure.why);
                tracing::info!(client, why, "the document of a client cannot be used");
                if !failure.is_transient {
                    self.content = None;
                    self.withdrawn_at = Some(now);
                }
                self.failed = Some((now, failure));
                None
            }
        }
    }
}

impl AuthorizationServer {
    /// The document that has to be read, if any, for the client that the parameters of a request name.
    pub async fn due_document(&self, encoded: &[u8]) -> Result<Option<DueDocument>, StorageError> {
        if !self.client_documents.are_taken() {
            return Ok(None);
        }
        let Some(id) = named_client(encoded) else {
            return Ok(None);
        };
        let now = self.clock.now();
        if !is_address(&id) || !self.client_documents.known(&id).is_due(now) {
            return Ok(None);
        }
        // A client of the operator's has no document that could be known.
        let known = self.known_clients.get(&id);
        if known.is_some_and(|it| !it.from_document) {
            return Ok(None);
        }
        let read_at = Instant::now();
        let kept = self.storage.client(&id).await?;
        match kept {
            Some(client) if !client.from_document => {
                self.known_clients.remember(&Arc::new(client), read_at);
                Ok(None)
            }
            kept => Ok(self.due(id, kept, now)),
        }
    }

    fn due(&self, id: ClientId, kept: Option<Client>, now: Timestamp) -> Option<DueDocument> {
        let documents = &self.client_documents;
        let is_operators = kept.as_ref().is_some_and(|it| !it.from_document);
        let is_due = documents.are_taken() && !is_operators && documents.known(&id).is_due(now);
        let url = DocumentUrl::parse(&id).ok().filter(|_| is_due)?;
        Some(DueDocument {
            is_known: documents.current(&id, kept.clone(), now).is_some(),
            id,
            url,
            kept,
        })
    }

    /// Reads a document, unless somebody else just did, and keeps what it says of a client that is
    /// kept.
    pub async fn read_document(&self, due: DueDocument) -> Result<(), StorageError> {
        let documents = &self.client_documents;
        let Some(policy) = documents.policy else {
            return Ok(());
        };
        let Ok(document) = documents
            .documents
            .get_or_insert_with(&due.id, || Ok::<_, Infallible>(Arc::default()));
        let _reading = document.reading.lock().await;
        let now = self.clock.now();
        if !lock(&document.known).is_due(now) {
            return Ok(());
        }
        let read = self.read_settings(policy.read, &due).await;
        let was_withdrawn = read.as_ref().is_err_and(|failure| !failure.is_transient);
        let settings = lock(&document.known).take(read, &due.id, now);
        // Only now: whoever reads the client in between would remember what it was before.
        self.known_clients.forget(&due.id);
        match (due.kept, settings) {
            (Some(kept), Some(settings)) => self.note_document(kept, &settings, now).await,
            (Some(kept), None) if was_withdrawn => self.note_withdrawal(&kept, now).await,
            _ => Ok(()),
        }
    }

    async fn read_settings(
        &self,
        read: ReadDocument,
        due: &DueDocument,
    ) -> Result<(ClientSettings, Duration), Failure> {
        let fetched = fetch(&*self.client_documents.http, &due.url).await?;
        let base = ClientSettings {
            auth_method: ClientAuthMethod::None,
            require_pkce: true,
            ..self.registration.new_client()
        };
        let content = read(&fetched.body, &due.id, base).map_err(Failure::permanent)?;
        let mut settings = self.enforce_document_rules(&due.url, content)?;
        // Whoever knows people by one identifier must not know them by another one tomorrow.
        let kept = due.kept.as_ref().map(|it| &it.settings.pairwise);
        if kept.is_some_and(|sector| *sector != settings.pairwise) {
            return Err(Failure::permanent(PairwiseError::Fixed.to_string()));
        }
        self.check_settings(&mut settings)
            .map_err(|error| Failure::permanent(error.to_string()))?;
        Ok((settings, lifetime(&fetched.headers)))
    }

    /// What holds for every client with a document, whatever it says. Grants and scopes that there are
    /// not for such a client are left out: the document is the same for all servers.
    fn enforce_document_rules(
        &self,
        url: &DocumentUrl,
        mut settings: ClientSettings,
    ) -> Result<ClientSettings, Failure> {
        let method = settings.auth_method;
        // §4.1: a document that everybody can read holds no secret.
        if method.uses_secret() {
            let method = method.as_str();
            return Err(Failure::permanent(format!(
                "`token_endpoint_auth_method` is {method}; it must be `none` or `private_key_jwt`"
            )));
        }
        let grants: Vec<GrantType> = settings.grant_types.iter().collect();
        let grants = grants.into_iter().filter(|it| GRANTS.contains(it));
        settings.grant_types = GrantTypes::try_from(grants.collect::<Vec<_>>())
            .ok()
            .filter(|it| it.allows(GrantType::AuthorizationCode))
            .ok_or_else(|| Failure::permanent("`grant_types` lacks `authorization_code`"))?;
        let uris = [&settings.redirect_uris, &settings.post_logout_redirect_uris];
        if let Some(foreign) = uris.into_iter().flatten().find(|uri| !is_own(url, uri)) {
            return Err(Failure::permanent(format!(
                "{foreign} does not belong to {}: https redirect URIs are of the origin of the `client_id`, private-use schemes are its host in reverse order",
                url.host()
            )));
        }
        // AIP posts there in the name of the person, and nobody vouches for the app.
        let told_at = settings.backchannel_logout.as_ref().map(|it| &it.uri);
        if let Some(foreign) = told_at.filter(|uri| !url.is_same_origin(uri.as_str())) {
            return Err(Failure::permanent(format!(
                "{foreign} does not belong to {}: `backchannel_logout_uri` is of the origin of the `client_id`",
                url.host()
            )));
        }
        let open = &self.registration.open_scopes;
        let scope = settings.scope.iter().filter(|it| open.contains(it));
        settings.scope = scope.cloned().collect();
        if settings.scope.is_empty() {
            return Err(Failure::permanent(
                "`scope` names nothing that an app without registration may have here",
            ));
        }
        settings.require_pkce = true;
        settings.first_party = false;
        Ok(settings)
    }

    /// The client of a request that was stored, as it counts now. Its document was read when the
    /// request was checked, perhaps by another process.
    pub async fn client_of_request(
        &self,
        id: &ClientId,
        kept: Option<Client>,
    ) -> Result<Option<Arc<Client>>, StorageError> {
        let now = self.clock.now();
        let current = |kept| self.client_documents.current(id, kept, now).map(Arc::new);
        if let Some(client) = current(kept.clone()) {
            return Ok(Some(client));
        }
        if let Some(due) = self.due(id.clone(), kept.clone(), now) {
            self.read_document(due).await?;
        }
        Ok(current(kept))
    }

    /// Whether the client of a token may use it: not while its document is withdrawn or was not read for a
    /// day, as it gets no further token meanwhile. Clients that are registered cost nothing here.
    pub(crate) async fn may_use_tokens(&self, id: &ClientId) -> Result<bool, StorageError> {
        if !is_address(id) || self.known_client(id).await?.is_some() {
            return Ok(true);
        }
        let kept = self.storage.client(id).await?;
        Ok(self.client_of_request(id, kept).await?.is_some())
    }

    /// What a person is shown when there is no client of that id.
    pub(crate) fn unknown_client(&self, id: &ClientId) -> PageError {
        let why = self.client_documents.failure_of(id);
        why.map_or(PageError::UnknownClient, PageError::ClientDocument)
    }
}

/// Whether people may be sent there in the name of the document at `url`. A program on the person's
/// device proves nothing by its address: of an app without a key of its own they are asked each time.
fn is_own(url: &DocumentUrl, uri: &RedirectUri) -> bool {
    match uri.target() {
        RedirectTarget::Https => url.is_same_origin(uri.as_str()),
        RedirectTarget::Loopback => true,
        RedirectTarget::Program => url.owns_scheme_of(uri.as_str()),
    }
}

/// The client that the parameters of a request name, itself or by an assertion, nothing of which is
/// verified.
fn named_client(encoded: &[u8]) -> Option<ClientId> {
    let params = LenientParams::parse(encoded);
    if let Some(named) = params.get("client_id") {
        return named.parse().ok();
    }
    let assertion = UnverifiedJws::parse(params.get("client_assertion")?).ok()?;
    claimed_client(&assertion).ok()?.parse().ok()
}

/// The host that vouches for a client with a document.
pub fn document_host(client: &Client) -> Option<String> {
    let url = DocumentUrl::parse(&client.id).ok();
    url.filter(|_| client.from_document)
        .map(|it| it.host().to_owned())
}

#[cfg(test)]
mod tests;
