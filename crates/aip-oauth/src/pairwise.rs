//! Pairwise subjects (OpenID Connect Core §8.1): clients that know people by identifiers of their
//! sector, and not by their accounts.
//!
//! What such a client gets must not lead to the account: it has no scope of the AT Protocol, and the
//! only claim about the person that it may be told is the e-mail address. An identifier cannot be
//! turned back, so whom a client means is found by making those of the accounts in question.

use std::time::Duration;

use aip_atproto::{Did, OpenIdScope, Scope};
use aip_base::{Http, Limits};
use aip_storage::client::{Client, ClientSettings, GrantType, RedirectUri};
use aip_storage::grant::Grant;
use aip_storage::sector::{Sector, SectorId, SectorUri};
use aip_storage::subject::Subject;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};

use crate::AuthorizationServer;
use crate::registration::RegistrationError;

/// What reading the redirect URIs of a sector may cost.
const READ_LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(5),
};

/// Why a client cannot have pairwise subjects.
#[derive(Debug, thiserror::Error)]
pub enum PairwiseError {
    /// It would lead to the account.
    #[error(
        "a client with pairwise subjects has the scopes openid, email and offline_access; `{0}` tells it the account"
    )]
    Scope(String),
    /// It acts for an account that it knows, or for none.
    #[error(
        "a client with pairwise subjects uses authorization_code, refresh_token and device codes; `{0}` is of no use to it"
    )]
    Grant(&'static str),
    /// Anybody could take part in a sector of others.
    #[error(
        "a client with pairwise subjects has a redirect URI, which shows that it is of its sector"
    )]
    NoRedirect,
    /// OpenID Connect Core §8.1.
    #[error(
        "the redirect URIs are not all https and of one host, which would be the sector: name the sector by a sector identifier URI, whose document lists them"
    )]
    NoHost,
    /// A change to another host.
    #[error(
        "the redirect URIs of a client with pairwise subjects stay at its sector, the host {0}: at another one every person would be somebody else to it"
    )]
    OtherHost(SectorId),
    /// OpenID Connect Registration §5.
    #[error("the sector identifier URI {0} cannot be used: {1}")]
    Document(SectorUri, String),
    /// Likewise.
    #[error("the redirect URI {1} is not in the list at the sector identifier URI {0}")]
    NotListed(SectorUri, RedirectUri),
    /// Every `sub` would be another one.
    #[error("the subject type and the sector of a client stay as they were when it was registered")]
    Fixed,
}

impl AuthorizationServer {
    /// The `sub` of a grant: in its tokens, and wherever its client or a resource server is told of it.
    pub fn subject_of(&self, grant: &Grant) -> Subject {
        self.subject_in(grant.sector.as_ref(), &grant.subject)
    }

    /// What a client of that sector, or of none, knows an account by.
    pub(crate) fn subject_in(&self, sector: Option<&SectorId>, did: &Did) -> Subject {
        match sector {
            None => Subject::Account(did.clone()),
            Some(sector) => {
                let (sector, did) = (sector.as_str(), did.as_str());
                Subject::Pairwise(self.hasher.pairwise_subject(sector, did))
            }
        }
    }

    /// Whether the client means that account by `subject`. One with pairwise subjects never does by a
    /// DID: it would learn whose account it is.
    pub fn identifies(&self, client: &Client, subject: &Subject, did: &Did) -> bool {
        let sector = client.settings.pairwise.as_ref().map(Sector::id);
        self.subject_in(sector, did) == *subject
    }

    /// Whether the client accepts that account; `subjects` are those that it accepts, none being any.
    pub fn accepts(&self, client: &Client, subjects: &[Subject], did: &Did) -> bool {
        subjects.is_empty() || subjects.iter().any(|it| self.identifies(client, it, did))
    }

    /// Checks that a client is of its sector. Of the redirect URIs `known` that is known already.
    pub(crate) async fn check_sector(
        &self,
        settings: &ClientSettings,
        known: &[RedirectUri],
    ) -> Result<(), PairwiseError> {
        let Some(sector) = &settings.pairwise else {
            return Ok(());
        };
        let uris = &settings.redirect_uris;
        if uris.is_empty() {
            return Err(PairwiseError::NoRedirect);
        }
        match sector {
            Sector::Host(host) => match Sector::of_redirects(uris) {
                Some(found) if found == *sector => Ok(()),
                _ => Err(PairwiseError::OtherHost(host.clone())),
            },
            Sector::Document(_) if uris.iter().all(|it| known.contains(it)) => Ok(()),
            Sector::Document(document) => {
                let listed = read_list(self.client_documents.http(), document).await;
                let listed =
                    listed.map_err(|why| PairwiseError::Document(document.clone(), why))?;
                let is_listed = |uri: &&RedirectUri| listed.iter().any(|it| it == uri.as_str());
                match uris.iter().find(|uri| !is_listed(uri)) {
                    None => Ok(()),
                    Some(uri) => Err(PairwiseError::NotListed(document.clone(), uri.clone())),
                }
            }
        }
    }
}

/// The sector of a client that asks for pairwise subjects and says no more.
pub fn sector_of_host(redirect_uris: &[RedirectUri]) -> Result<Sector, PairwiseError> {
    Sector::of_redirects(redirect_uris).ok_or(if redirect_uris.is_empty() {
        PairwiseError::NoRedirect
    } else {
        PairwiseError::NoHost
    })
}

/// What holds for every client with pairwise subjects, however it is known.
pub(crate) fn check_pairwise(settings: &ClientSettings) -> Result<(), RegistrationError> {
    if settings.pairwise.is_none() {
        return Ok(());
    }
    let is_blind = |scope: &&Scope| {
        matches!(
            scope,
            Scope::OpenId(OpenIdScope::OpenId | OpenIdScope::Email | OpenIdScope::OfflineAccess)
        )
    };
    if let Some(scope) = settings.scope.iter().find(|it| !is_blind(it)) {
        return Err(PairwiseError::Scope(scope.to_string()).into());
    }
    let is_of_people = |it: &GrantType| it.signs_people_in() || *it == GrantType::RefreshToken;
    match settings.grant_types.iter().find(|it| !is_of_people(it)) {
        Some(grant) => Err(PairwiseError::Grant(grant.as_str()).into()),
        None => Ok(()),
    }
}

/// Reads the redirect URIs of a sector: a JSON array of strings (OpenID Connect Registration §5).
async fn read_list(http: &dyn Http, uri: &SectorUri) -> Result<Vec<String>, String> {
    let request = Request::get(uri.as_str())
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let fetched = http
        .fetch(request, READ_LIMITS)
        .await
        .map_err(|error| error.to_string())?;
    if fetched.status != StatusCode::OK {
        return Err(format!("the answer has status {}", fetched.status.as_u16()));
    }
    serde_json::from_slice(&fetched.body).map_err(|error| {
        format!(
            "it is no JSON array of redirect URIs (line {}, column {})",
            error.line(),
            error.column()
        )
    })
}
