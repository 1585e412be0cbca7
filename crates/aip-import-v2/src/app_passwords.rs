//! An app password of v2 with its session, as AIP keeps it.

use aip_atproto::{Did, ScopeSet};
use aip_base::Timestamp;
use aip_pds::AppPassword;
use aip_storage::imports::HeldSession;
use aip_storage::operations::SealedColumn;
use aip_storage::upstream::{Credential, UpstreamSession, UpstreamState};
use secrecy::ExposeSecret as _;

use crate::report::Reason;
use crate::rows::AppPasswordRow;
use crate::sessions::{Converter, IdentifiedRow, RowError, row_error};

/// The table of app passwords at v2.
pub(crate) const TABLE: &str = "app_passwords";
/// What a session of an app password may do, until a refresh tells.
const APP_PASSWORD_SCOPE: &str = "atproto transition:generic";

impl Converter {
    pub(crate) fn identify_app_password(
        &self,
        row: AppPasswordRow,
    ) -> IdentifiedRow<AppPasswordRow> {
        IdentifiedRow {
            id: self.id(&app_password_name(&row), row.created_at),
            // Whoever has signed out of the app since is not held any more.
            content: self.content(&format!("{} {}", row.content, row.in_use), false),
            row,
        }
    }

    /// The session of an app password. Where v2 has no tokens of it, it is begun at its first use.
    pub(crate) async fn app_password(
        &mut self,
        identified: IdentifiedRow<AppPasswordRow>,
    ) -> Result<HeldSession, RowError> {
        let IdentifiedRow { row, id, content } = identified;
        let Ok(did) = Did::parse(&row.did) else {
            return row_error(Reason::BadDid, format!("`{}` is not a DID", row.did));
        };
        let client_id = self.client(&row.client_id)?;
        if !row.in_use {
            let detail = "the app has no live token of the account";
            return row_error(Reason::NoAppToken, detail);
        }
        let Ok(password) = AppPassword::parse(row.password.expose_secret()) else {
            let detail = "it has not the form xxxx-xxxx-xxxx-xxxx";
            return row_error(Reason::BadAppPassword, detail);
        };
        let Ok(scope) = ScopeSet::parse(APP_PASSWORD_SCOPE) else {
            return row_error(Reason::BadScope, "the scope of app passwords");
        };
        let pds = self.server_lookup.pds(&did, row.document.as_deref()).await;
        let pds = pds.map_err(|error| RowError::Row(Reason::NotNow, error))?;
        let created_at = Timestamp::from_micros(row.created_at);
        let at = |micros: Option<i64>| micros.map_or(created_at, Timestamp::from_micros);
        let session = UpstreamSession {
            id,
            client_id,
            did,
            pds,
            credential: Credential::AppPassword(self.seal(
                password.secret().expose_secret(),
                SealedColumn::AppPassword,
                id,
            )?),
            scope,
            email: None,
            tokens: self.seal_tokens(
                id,
                row.access_token.as_ref(),
                row.refresh_token.as_ref(),
                at(row.access_expires_at),
            )?,
            generation: row.iteration,
            state: UpstreamState::Active,
            next_refresh_at: at(row.access_expires_at),
            failures: 0,
            rejected: None,
            last_error: None,
            refreshed_at: at(row.refreshed_at),
            created_at,
        };
        Ok(HeldSession {
            session,
            grant: None,
            content,
        })
    }
}

/// How the report names a row.
pub(crate) fn app_password_name(row: &AppPasswordRow) -> String {
    format!("app password of {} for {}", row.did, row.client_id)
}
