//! Resource indicators (RFC 8707): an app names the resource servers that it wants an access token
//! for, among those that it is registered for. Without any the token is for AIP itself: userinfo,
//! `/api` and `/xrpc`. A token for others alone opens nothing here.

use aip_jose::Audience;
use aip_storage::client::Client;
use aip_storage::resource_uri::{ResourceList, ResourceUri, ResourceUriError};

use crate::invalid_values::quoted;
use crate::params::Params;
use crate::{AuthorizationServer, Issuer};

/// Why a resource is refused: `invalid_target` (RFC 8707 §2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// One is none, or there are too many.
    #[error("`resource`: {0}")]
    Malformed(String),
    /// Not for this client.
    #[error("the client is not registered for tokens for the resource {0}")]
    NotRegistered(String),
    /// Not what the authorization request asked for.
    #[error("the authorization request did not ask for the resource {0}")]
    NotAsked(String),
    /// Named in another way (RFC 8693 §2.1).
    #[error("`audience` is {0}, and not supported; name resource servers by `resource`")]
    Audience(String),
}

impl From<ResourceUriError> for TargetError {
    fn from(error: ResourceUriError) -> Self {
        Self::Malformed(match error {
            ResourceUriError::NotAResource(text) => format!(
                "{} is no absolute URI without fragment, user and password, or too long",
                quoted(&text)
            ),
            ResourceUriError::TooMany => error.to_string(),
        })
    }
}

impl Issuer {
    /// Whether `identifier` means AIP itself. Its own identifier is the issuer (RFC 9728); an empty
    /// path and `/` are the same (RFC 3986 §6.2.3), and libraries write either.
    pub(crate) fn is_resource(&self, identifier: &str) -> bool {
        identifier.strip_suffix('/').unwrap_or(identifier) == self.as_str()
    }

    /// Whether a token for `audience` is for AIP itself.
    pub(crate) fn is_in(&self, audience: &ResourceList) -> bool {
        audience.is_empty() || audience.contains(self.as_str())
    }

    /// The `aud` of a token for `audience` (RFC 9068 §2.2): one string for one resource server.
    pub fn audience_claim(&self, audience: &ResourceList) -> Audience {
        let mut names: Vec<String> = audience.iter().map(ToString::to_string).collect();
        match names.len() {
            0 => Audience::One(self.as_str().to_owned()),
            1 => Audience::One(names.remove(0)),
            _ => Audience::Many(names),
        }
    }
}

impl AuthorizationServer {
    /// The resources that a request names, AIP's own as its issuer.
    fn named_resources(&self, params: &Params) -> Result<ResourceList, TargetError> {
        let named = params.all("resource").map(|text| {
            let own = self.issuer.is_resource(text);
            let text = if own { self.issuer.as_str() } else { text };
            text.parse::<ResourceUri>()
        });
        let named: Result<Vec<_>, _> = named.collect();
        Ok(named?.try_into()?)
    }

    /// The resources that a client asks for, all of which it is registered for.
    pub(crate) fn requested_resources(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<ResourceList, TargetError> {
        let asked = self.named_resources(params)?;
        match self.unregistered_resource(&asked, client) {
            None => Ok(asked),
            Some(foreign) => Err(TargetError::NotRegistered(quoted(foreign.as_str()))),
        }
    }

    /// The first of these resources that a client is not registered for. Each is for AIP itself.
    pub(crate) fn unregistered_resource<'a>(
        &self,
        asked: &'a ResourceList,
        client: &Client,
    ) -> Option<&'a ResourceUri> {
        let registered = &client.settings.resources;
        let is_registered = |it: &ResourceUri| {
            registered.contains(it.as_str()) || self.issuer.is_resource(it.as_str())
        };
        asked.iter().find(|it| !is_registered(it))
    }

    /// Whether any of these is another resource server: those can be taken from a client, and AIP cannot.
    pub(crate) fn names_other_servers(&self, resources: &ResourceList) -> bool {
        let mut named = resources.iter();
        named.any(|it| !self.issuer.is_resource(it.as_str()))
    }

    /// The resources of a token request for a grant for `granted`: some or all of those; `None` if
    /// it names none, which means all.
    pub(crate) fn narrowed_audience(
        &self,
        params: &Params,
        granted: &ResourceList,
    ) -> Result<Option<ResourceList>, TargetError> {
        let asked = self.named_resources(params)?;
        let is_granted = |it: &&ResourceUri| {
            granted.contains(it.as_str())
                || (granted.is_empty() && self.issuer.is_resource(it.as_str()))
        };
        match asked.iter().find(|it| !is_granted(it)) {
            None => Ok(asked.if_any()),
            Some(foreign) => Err(TargetError::NotAsked(quoted(foreign.as_str()))),
        }
    }
}
