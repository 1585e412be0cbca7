//! What an app holds of a session: its tokens, and the grant that they hang from.

use std::time::Duration;

use aip_atproto::{OpenIdScope, Scope, ScopeSet};
use aip_base::Timestamp;
use aip_keys::has_v2_form;
use aip_storage::imports::{HeldGrant, HeldToken, HeldTokenKind};

use crate::clients::without_credentials;
use crate::instant;
use crate::report::{Reason, Report};
use crate::rows::{AppToken, SessionRow};
use crate::sessions::{Converter, RowError, row_error};

/// How long a refresh token lives that v2 gave no end: the default of v2's clients.
const REFRESH_LIFETIME: Duration = Duration::from_hours(14 * 24);

impl Converter {
    pub(crate) fn grant(
        &self,
        name: &str,
        access: &[AppToken],
        refresh: &[AppToken],
        newest: &AppToken,
        upstream: &ScopeSet,
    ) -> Result<HeldGrant, RowError> {
        // v2 gave every app the tokens of its people; here the operator says which app gets them on.
        let credentials = self.may_have_credentials(&newest.client_id);
        let scope_of = |token: &AppToken| {
            let scope = without_credentials(&scope_of(token, upstream)?);
            // v2 answered userinfo to every token, whatever its scope.
            let more = [
                Some(Scope::OpenId(OpenIdScope::OpenId)),
                credentials.then_some(Scope::Credentials),
            ];
            let scopes = scope.iter().cloned().chain(more.into_iter().flatten());
            Ok::<ScopeSet, RowError>(scopes.collect())
        };
        let scope = scope_of(newest)?;
        let mut tokens = Vec::with_capacity(access.len() + refresh.len() + 1);
        for token in access {
            let own = scope_of(token)?;
            let narrower = (own != scope).then(|| own.intersect(&scope));
            tokens.push(self.token(
                token,
                HeldTokenKind::Access {
                    scope: narrower,
                    dpop_jkt: token.dpop_jkt.clone(),
                },
            ));
        }
        for token in refresh {
            tokens.push(self.token(token, HeldTokenKind::Refresh));
        }
        if refresh.is_empty() {
            // What ends a grant is the end of its last refresh token. Nobody has this one.
            let ends = tokens.iter().map(|it| it.expires_at).max();
            tokens.push(HeldToken {
                hash: self
                    .hasher
                    .hash(&format!("aip-v2 no refresh token of {name}")),
                kind: HeldTokenKind::Refresh,
                issued_at: self.now,
                expires_at: ends.unwrap_or(self.now),
            });
        }
        let created_at = tokens.iter().map(|it| it.issued_at).min();
        Ok(HeldGrant {
            scope,
            dpop_jkt: newest.dpop_jkt.clone(),
            created_at: created_at.unwrap_or(self.now),
            tokens,
        })
    }

    fn token(&self, token: &AppToken, kind: HeldTokenKind) -> HeldToken {
        let expires_at = token.expires_at.map(Timestamp::from_micros);
        HeldToken {
            hash: self.hasher.hash(&token.token),
            kind,
            issued_at: Timestamp::from_micros(token.created_at),
            expires_at: expires_at.unwrap_or(self.now + REFRESH_LIFETIME),
        }
    }
}

/// The tokens that AIP recognises; the others are left out, each by itself.
pub(crate) fn well_formed(
    tokens: Vec<AppToken>,
    table: &'static str,
    name: &str,
    report: &mut Report,
) -> Vec<AppToken> {
    let (good, bad): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|it| has_v2_form(&it.token));
    for token in bad {
        let given = instant(Timestamp::from_micros(token.created_at));
        let row = format!("token of {name}, given at {given}");
        let detail = "it is not 32 bytes in base64url without padding";
        report.skip_row(table, row, Reason::BadToken, detail);
    }
    good
}

/// Tells of the tokens of a session that are not read, as there are enough newer ones.
pub(crate) fn report_older_tokens(row: &SessionRow, name: &str, report: &mut Report) {
    for (table, read, total) in [
        ("access_tokens", row.access.len(), row.access_total),
        ("refresh_tokens", row.refresh.len(), row.refresh_total),
    ] {
        let read = i64::try_from(read).unwrap_or(i64::MAX);
        let older = total.saturating_sub(read);
        if older > 0 {
            let detail = format!("{older} tokens are older than the newest {read}, which are read");
            let row = format!("tokens of {name}");
            report.skip_row(table, row, Reason::OlderTokens, detail);
        }
    }
}

fn scope_of(token: &AppToken, upstream: &ScopeSet) -> Result<ScopeSet, RowError> {
    let Some(scope) = token.scope.as_deref().filter(|it| !it.trim().is_empty()) else {
        return Ok(upstream.clone());
    };
    ScopeSet::parse(scope).or_else(|error| {
        row_error(
            Reason::BadScope,
            format!("the scope of a token of it: {error}"),
        )
    })
}
