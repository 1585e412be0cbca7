//! From what a person typed to the authorization server that can sign them in.

use std::sync::Arc;

use aip_base::Blame;

use crate::client::PdsClient;
use crate::input::SubjectInput;
use crate::metadata::{AuthServer, MetadataError};
use crate::resolve::{Freshness, ResolveError, VerifiedIdentity};
use crate::trace::Trace;

/// Where a sign-in goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The authorization server.
    pub server: Arc<AuthServer>,
    /// The account that has to come back, when one was named.
    pub expected: Option<VerifiedIdentity>,
    /// What to tell the authorization server about the account.
    pub login_hint: Option<String>,
}

/// Why no authorization server was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// The account could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Its server, or the server that was named, is not usable.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl DiscoverError {
    /// Whether the error may pass by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_transient(),
            Self::Metadata(error) => error.is_transient(),
        }
    }

    /// Whose fault it is. What a person types may be anything: that there is no such account is
    /// nothing that an operator or a PDS could mend.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Resolve(
                ResolveError::HandleNotResolvable(_)
                | ResolveError::HandleNotFound(_)
                | ResolveError::DidNotFound(_)
                | ResolveError::DidTombstoned(_),
            ) => Blame::Caller,
            Self::Resolve(_) | Self::Metadata(_) => Blame::Upstream,
        }
    }
}

impl PdsClient {
    /// Finds the authorization server for `input`. Nothing that is found here is proof of
    /// anything: that comes after the tokens.
    pub async fn discover(
        &self,
        input: &SubjectInput,
        trace: &mut Trace,
    ) -> Result<Destination, DiscoverError> {
        match input {
            SubjectInput::Account(id) => {
                let expected = self
                    .resolver()
                    .resolve(id, Freshness::Uncached, trace)
                    .await?;
                let server = self.server_of_pds(&expected.pds, trace).await?;
                let login_hint = Some(id.as_str().to_owned());
                Ok(Destination {
                    server,
                    expected: Some(expected),
                    login_hint,
                })
            }
            SubjectInput::Server(origin) => {
                let server = self.server_of_pds(origin, trace).await?;
                Ok(Destination {
                    server,
                    expected: None,
                    login_hint: None,
                })
            }
        }
    }
}
