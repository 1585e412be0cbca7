//! What is known of an account, where it was read and how long ago: for those who ask who somebody is.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, DidDocument, Handle, Origin};

use super::{Freshness, HandleMethod, ResolveError, Resolver};
use crate::trace::Trace;

/// An account, as it was read at most a day ago.
#[derive(Debug, Clone)]
pub struct KnownIdentity {
    /// The account.
    pub did: Did,
    /// Its handle, if the handle resolves back to the account.
    pub handle: Option<KnownHandle>,
    /// Why the handle that the document claims could not be checked now, if that may pass. Then `handle`
    /// is none, which says nothing about the handle.
    pub handle_error: Option<ResolveError>,
    /// Its server, if the document names one that may be used.
    pub pds: Option<Origin>,
    /// The document.
    pub document: Arc<DidDocument>,
    /// How long ago the document was read.
    pub document_age: Duration,
}

/// A handle that was checked in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHandle {
    /// The handle.
    pub handle: Handle,
    /// Where its DID was read.
    pub method: HandleMethod,
    /// How long ago that was.
    pub age: Duration,
}

impl Resolver {
    /// The account that `id` names, from the cache if it is there, whether it has a PDS or not.
    pub async fn known(&self, id: &AtIdentifier) -> Result<KnownIdentity, ResolveError> {
        let mut trace = Trace::default();
        let (did, asked) = match id {
            AtIdentifier::Did(did) => (did.clone(), None),
            AtIdentifier::Handle(handle) => {
                let (did, known) = self.known_handle(handle, &mut trace).await?;
                (did, Some(known))
            }
        };
        let read = self.document_and_age(&did, Freshness::Cached, &mut trace);
        let (document, document_age) = read.await?;
        let mut handle_error = None;
        let handle = match (document.handle(), asked) {
            (None, _) => None,
            // The other direction was just walked.
            (Some(claimed), Some(asked)) if asked.handle == *claimed => Some(asked),
            (Some(claimed), _) => match self.known_handle(claimed, &mut trace).await {
                Ok((leads_to, known)) => (leads_to == did).then_some(known),
                Err(error) => {
                    handle_error = Some(error).filter(ResolveError::is_transient);
                    None
                }
            },
        };
        Ok(KnownIdentity {
            pds: self.pds_of(&document).ok(),
            did,
            handle,
            handle_error,
            document,
            document_age,
        })
    }

    /// Whether nobody needs to be asked for what [`Self::known`] tells of `id` now.
    pub fn remembers(&self, id: &AtIdentifier) -> bool {
        let did = match id {
            AtIdentifier::Did(did) => did.clone(),
            AtIdentifier::Handle(handle) => match self.handles.peek(handle) {
                None => return false,
                Some(Err(_)) => return true,
                Some(Ok(answer)) => answer.did,
            },
        };
        match self.documents.peek(&did) {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(read)) => read
                .document
                .handle()
                .is_none_or(|claimed| self.remembers_handle(claimed)),
        }
    }

    /// Whether nobody needs to be asked for the DID of `handle` now.
    pub fn remembers_handle(&self, handle: &Handle) -> bool {
        self.handles.peek(handle).is_some()
    }

    /// Whether nobody needs to be asked for the document of `did` now.
    pub fn remembers_document(&self, did: &Did) -> bool {
        self.documents.peek(did).is_some()
    }

    /// The DID that `handle` leads to.
    async fn known_handle(
        &self,
        handle: &Handle,
        trace: &mut Trace,
    ) -> Result<(Did, KnownHandle), ResolveError> {
        let (answer, age) = self
            .answer_and_age(handle, Freshness::Cached, trace)
            .await?;
        let known = KnownHandle {
            handle: handle.clone(),
            method: answer.method,
            age,
        };
        Ok((answer.did, known))
    }
}
