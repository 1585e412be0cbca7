//! How an app knows people (OpenID Connect Core §8): said when it is registered, and never changed.

use std::sync::Arc;

use aip_base::Http;
use aip_config::LoadedConfig;
use aip_oauth::pairwise::sector_of_host;
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_oauth::{AuthorizationServer, ClientDocuments};
use aip_storage::sector::{Sector, SectorUri};
use anyhow::anyhow;
use clap::ValueEnum;

use crate::failure::Failure;
use crate::runtime::Network;

/// What an app with pairwise subjects may ask for unless the operator says otherwise.
const DEFAULT_SCOPE: &str = "openid";

/// How an app knows people.
#[derive(clap::Args)]
pub(super) struct Subjects {
    /// How the app knows people: `public`, by their DIDs, or `pairwise`, by identifiers that lead to no
    /// account; such an app has no scopes but `openid`, `email` and `offline_access`. `public` by
    /// default; it cannot be changed later
    #[arg(long, value_name = "TYPE")]
    subject_type: Option<SubjectType>,
    /// An https URL with a JSON list of the redirect URIs of all apps that know people by the same
    /// pairwise identifiers; without one those are the apps with redirect URIs at the same host
    #[arg(long, value_name = "URL")]
    sector_identifier_uri: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SubjectType {
    Public,
    Pairwise,
}

impl Subjects {
    fn are_pairwise(&self) -> bool {
        self.subject_type == Some(SubjectType::Pairwise) || self.sector_identifier_uri.is_some()
    }

    /// A client of which no more is said than how it knows people.
    pub(super) fn base(&self, new: ClientSettings) -> ClientSettings {
        if !self.are_pairwise() {
            return new;
        }
        ClientSettings {
            scope: DEFAULT_SCOPE.parse().unwrap_or_default(),
            ..new
        }
    }

    /// The client with its sector, which may follow from its redirect URIs.
    pub(super) fn apply_to(self, settings: ClientSettings) -> Result<ClientSettings, Failure> {
        if !self.are_pairwise() {
            return Ok(settings);
        }
        if self.subject_type == Some(SubjectType::Public) {
            return Err(Failure::usage(anyhow!(
                "--sector-identifier-uri is for --subject-type pairwise"
            )));
        }
        let sector = match self.sector_identifier_uri {
            Some(uri) => Sector::Document(uri.parse::<SectorUri>().map_err(Failure::usage)?),
            None => sector_of_host(&settings.redirect_uris)
                .map_err(|error| Failure::usage(RegistrationError::from(error)))?,
        };
        Ok(ClientSettings {
            pairwise: Some(sector),
            ..settings
        })
    }
}

/// The server for a client with these settings: with a way out, if the document of its sector may have to
/// be read.
pub(super) fn server_with_network(
    server: &AuthorizationServer,
    settings: &ClientSettings,
    loaded: &LoadedConfig,
) -> anyhow::Result<AuthorizationServer> {
    let mut server = server.clone();
    let sector = settings.pairwise.as_ref();
    if sector.and_then(Sector::document).is_some() {
        let http: Arc<dyn Http> = Network::new(loaded)?.http;
        server.client_documents = Arc::new(ClientDocuments::new(http, None));
    }
    Ok(server)
}
