//! Client assertions for apps that talk to PDSs themselves, and use AIP for its signing key alone (AT
//! Protocol proposal 0010, "Client assertion backend"): who may ask for one.
//!
//! An app that can keep a secret authenticates as everywhere. One in a browser cannot, and is asked for
//! by pages of its own alone, as far as browsers tell (`Origin`). Whoever asks in its name with another
//! program gets an assertion that is worth something with their own DPoP key alone.

use std::sync::Arc;

use aip_atproto::Issuer;
use aip_storage::client::{ApplicationType, Client};
use url::Url;

use crate::AuthorizationServer;
use crate::authorize::{ClientRequestError, RefusalCode};
use crate::client_auth::ClientRequest;
use crate::dpop::{ProofError, ProvenKey};
use crate::invalid_values::quoted;
use crate::params::Params;

/// What an app asks for, after every check. Made only by
/// [`AuthorizationServer::check_assertion_request`].
#[derive(Debug)]
pub struct CheckedAssertion {
    client: Arc<Client>,
    key: ProvenKey,
    audience: Issuer,
}

impl CheckedAssertion {
    /// The app.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The key of the device, which the assertion is bound to.
    pub fn key(&self) -> &ProvenKey {
        &self.key
    }

    /// The authorization server that the assertion is for.
    pub fn audience(&self) -> &Issuer {
        &self.audience
    }
}

impl AuthorizationServer {
    /// Checks a request for an assertion: client first, then its proof, then whether it may ask, from
    /// where it does (`origin`, the header of browsers), and for which authorization server.
    pub async fn check_assertion_request(
        &self,
        request: ClientRequest<'_>,
        origin: Option<&str>,
    ) -> Result<CheckedAssertion, ClientRequestError> {
        let params = Params::parse(request.body)?;
        let (client, key) = self
            .authenticate::<ClientRequestError>(request, &params)
            .await?;
        let client = client.shared();
        if !client.settings.client_assertions {
            let what = "the client is not registered for client assertions";
            return Err(refused(RefusalCode::UnauthorizedClient, what));
        }
        check_origin(&client, origin)?;
        let key = key.ok_or(ProofError::Missing)?;
        let audience = params.get("aud");
        let audience = audience.ok_or_else(|| {
            let what = "`aud` is missing: the issuer of the authorization server";
            refused(RefusalCode::InvalidRequest, what)
        })?;
        let audience = audience.parse().map_err(|_| {
            let what = format!("`aud` is {}; it must be an issuer", quoted(audience));
            refused(RefusalCode::InvalidRequest, what)
        })?;
        Ok(CheckedAssertion {
            client,
            key,
            audience,
        })
    }
}

fn refused(code: RefusalCode, what: impl Into<String>) -> ClientRequestError {
    ClientRequestError::Refused(code, what.into())
}

/// Pages of other sites must not ask (proposal 0010, "implementation details"). A native app has no pages:
/// what an `Origin` says in its name, another program made up.
fn check_origin(client: &Client, origin: Option<&str>) -> Result<(), ClientRequestError> {
    let proves_itself = client.is_confidential();
    if !proves_itself && client.settings.application_type == ApplicationType::Native {
        let what = "a native client without authentication gets no client assertions";
        return Err(refused(RefusalCode::UnauthorizedClient, what));
    }
    let Some(origin) = origin else {
        if proves_itself {
            return Ok(());
        }
        let what =
            "a client without authentication asks from a page of its own: there is no `Origin`";
        return Err(refused(RefusalCode::UnauthorizedClient, what));
    };
    let redirects = &client.settings.redirect_uris;
    let is_its_own = redirects
        .iter()
        .any(|uri| origin_of(uri.as_str()).as_deref() == Some(origin));
    if is_its_own {
        return Ok(());
    }
    let what = format!(
        "{} is the origin of none of its redirect URIs",
        quoted(origin)
    );
    Err(refused(RefusalCode::UnauthorizedClient, what))
}

/// The origin of an address of the Web, as browsers send it (RFC 6454 §6.2).
fn origin_of(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_an_app_are_where_people_come_back_to() {
        for (uri, origin) in [
            (
                "https://app.example/callback?x=1",
                Some("https://app.example"),
            ),
            ("https://APP.example:443/cb", Some("https://app.example")),
            (
                "https://app.example:8443/cb",
                Some("https://app.example:8443"),
            ),
            ("http://127.0.0.1:3000/cb", Some("http://127.0.0.1:3000")),
            ("com.example.app:/cb", None),
            ("null", None),
        ] {
            assert_eq!(origin_of(uri).as_deref(), origin, "{uri}");
        }
    }
}
