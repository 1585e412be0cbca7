//! How an upstream session lies in its row.
//!
//! A session under a lease keeps its word in `state` (`active` or `uncertain`); the lease columns
//! make it `Refreshing`. So a lease that lapses gives the state back without a write. In the row
//! of an app password the columns of OAuth are empty.

use aip_base::RowId;
use aip_keys::Sealed;
use aip_storage::StorageError;
use aip_storage::refresh::Claim;
use aip_storage::session_status::SessionStatus;
use aip_storage::upstream::{
    Credential, Email, EmailReading, Lease, OAuthCredential, Rejections, SealedTokens, SessionKind,
    StateName, UpstreamSession, UpstreamState,
};

use super::sql::{Fields, Row, Sql, sql};

const TABLE: &str = "upstream_sessions";

/// The columns of a session.
macro_rules! session_columns {
    () => {
        "id, client_id, did, issuer, pds, upstream_client_id, client_key_id, dpop_key, scope, \
         access_token, refresh_token, access_expires_at, generation, state, reason, lease_owner, \
         lease_until, fence, next_refresh_at, failures, refreshed_at, created_at, kind, password, \
         last_error, rejections, rejected_since, email, email_confirmed, email_pds, email_read_at"
    };
}
pub(super) use session_columns;

/// All columns of a session under an alias, by their names with the alias and `_` before them.
macro_rules! joined_session_columns {
    ($alias:literal) => {
        joined_session_columns!(
            $alias: "id", "client_id" "did" "issuer" "pds" "upstream_client_id" "client_key_id"
            "dpop_key" "scope" "access_token" "refresh_token" "access_expires_at" "generation"
            "state" "reason" "lease_owner" "lease_until" "fence" "next_refresh_at" "failures"
            "refreshed_at" "created_at" "kind" "password" "last_error" "rejections"
            "rejected_since" "email" "email_confirmed" "email_pds" "email_read_at"
        )
    };
    ($alias:literal : $first:literal, $($column:literal)*) => {
        concat!(
            $alias, ".", $first, " AS ", $alias, "_", $first,
            $(", ", $alias, ".", $column, " AS ", $alias, "_", $column),*
        )
    };
}
pub(super) use joined_session_columns;

/// A session in a row of several tables, by the alias that its columns were read under.
#[derive(Debug, Clone, Copy)]
pub(super) enum Joined {
    /// `s`: that of a grant or of a delegation.
    Own,
    /// `p`: that of an app password.
    AppPassword,
}

impl Joined {
    /// What the names of its columns begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Own => "s_",
            Self::AppPassword => "p_",
        }
    }

    /// The name of the column with its id.
    fn id(self) -> &'static str {
        match self {
            Self::Own => "s_id",
            Self::AppPassword => "p_id",
        }
    }
}

/// The columns of a session's status, under the alias `s`.
macro_rules! status_columns {
    () => {
        "s.id AS session_id, s.pds, s.state, s.reason, s.lease_owner, s.lease_until, s.fence, s.kind, \
         s.client_key_id, s.access_expires_at, s.refreshed_at, s.generation, s.failures, \
         s.next_refresh_at, s.created_at AS session_created_at"
    };
}
pub(super) use status_columns;

/// What a lease is taken with: the fence of a send that nobody has settled, and whether the account is
/// paused.
macro_rules! claim_columns {
    () => {
        "(SELECT j.fence FROM upstream_refresh_journal j
             WHERE j.session_id = upstream_sessions.id) AS sent_under, \
         EXISTS (SELECT 1 FROM paused_accounts p WHERE p.did = upstream_sessions.did) AS paused"
    };
}
pub(super) use claim_columns;

/// How a state lies in its columns.
struct StateColumns<'a> {
    reason: Option<&'static str>,
    lease: Option<&'a Lease>,
}

impl<'a> StateColumns<'a> {
    fn of(state: &'a UpstreamState) -> Self {
        let (reason, lease) = match state {
            UpstreamState::Active | UpstreamState::Uncertain => (None, None),
            UpstreamState::Refreshing(lease) => (None, Some(lease)),
            UpstreamState::NeedsReauth(reason) => (Some(reason.as_str()), None),
            UpstreamState::Ended(reason) => (Some(reason.as_str()), None),
        };
        Self { reason, lease }
    }
}

/// The statement that inserts a session.
pub(super) fn insert_session(session: &UpstreamSession) -> Sql {
    let state = StateColumns::of(&session.state);
    let email = session.email.as_ref().and_then(|it| it.email.as_ref());
    let (oauth, password) = match &session.credential {
        Credential::OAuth(oauth) => (Some(oauth), None),
        Credential::AppPassword(password) => (None, Some(password.clone())),
    };
    sql(concat!(
        "INSERT INTO upstream_sessions (",
        session_columns!(),
        ", revoke_attempts)
         VALUES ($1, $2, $3, COALESCE($4, ''), $5, COALESCE($6, ''), $7, COALESCE($8, ''), $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, 0)"
    ))
    .bind(&session.id)
    .bind(&session.client_id)
    .bind(&session.did)
    .bind(&oauth.map(|it| it.issuer.clone()))
    .bind(&session.pds)
    .bind(&oauth.map(|it| it.upstream_client_id.clone()))
    .bind(&oauth.and_then(|it| it.client_key_id.clone()))
    .bind(&oauth.map(|it| it.dpop_key.clone()))
    .bind(&session.scope)
    .bind(&session.tokens.access)
    .bind(&session.tokens.refresh)
    .bind(&session.tokens.access_expires_at)
    .bind(&session.generation)
    .bind(&session.state.name())
    .bind(&state.reason.map(str::to_owned))
    .bind(&state.lease.map(|lease| lease.owner.clone()))
    .bind(&state.lease.map(|lease| lease.until))
    .bind(&state.lease.map_or(0, |lease| lease.fence))
    .bind(&session.next_refresh_at)
    .bind(&session.failures)
    .bind(&session.refreshed_at)
    .bind(&session.created_at)
    .bind(&session.credential.kind())
    .bind(&password)
    .bind(&session.last_error)
    .bind(&session.rejected.map_or(0, |it| it.times))
    .bind(&session.rejected.map(|it| it.since))
    .bind(&email.map(|it| it.address.clone()))
    .bind(&email.map(|it| it.confirmed))
    .bind(&session.email.as_ref().map(|it| it.pds.clone()))
    .bind(&session.email.as_ref().map(|it| it.read_at))
}

fn read_state(fields: &Fields<'_>) -> Result<UpstreamState, StorageError> {
    let name: StateName = fields.get("state")?;
    let lease = match (fields.get("lease_owner")?, fields.get("lease_until")?) {
        (Some(owner), Some(until)) => Some(Lease {
            owner,
            fence: fields.get("fence")?,
            until,
        }),
        (None, None) => None,
        _ => return Err(fields.inconsistent("owner and end of a lease come together")),
    };
    match (name, lease) {
        (StateName::Active | StateName::Uncertain, Some(lease)) => {
            Ok(UpstreamState::Refreshing(lease))
        }
        (StateName::Active, None) => Ok(UpstreamState::Active),
        (StateName::Uncertain, None) => Ok(UpstreamState::Uncertain),
        (StateName::NeedsReauth, None) => Ok(UpstreamState::NeedsReauth(fields.get("reason")?)),
        (StateName::Ended, None) => Ok(UpstreamState::Ended(fields.get("reason")?)),
        (_, Some(_)) => Err(fields.inconsistent("only a live session is leased")),
    }
}

fn read_rejections(fields: &Fields<'_>) -> Result<Option<Rejections>, StorageError> {
    match (fields.get("rejections")?, fields.get("rejected_since")?) {
        (0, None) => Ok(None),
        (times, Some(since)) => Ok(Some(Rejections { times, since })),
        _ => Err(fields.inconsistent("refusals in a row have a first one")),
    }
}

fn read_credential(fields: &Fields<'_>) -> Result<Credential, StorageError> {
    let password: Option<Sealed> = fields.get("password")?;
    match (fields.get("kind")?, password) {
        (SessionKind::OAuth, None) => Ok(Credential::OAuth(OAuthCredential {
            issuer: fields.get("issuer")?,
            upstream_client_id: fields.get("upstream_client_id")?,
            client_key_id: fields.get("client_key_id")?,
            dpop_key: fields.get("dpop_key")?,
        })),
        (SessionKind::AppPassword, Some(password)) => Ok(Credential::AppPassword(password)),
        _ => Err(fields.inconsistent("sessions of app passwords have one, others have none")),
    }
}

fn read_email(fields: &Fields<'_>) -> Result<Option<EmailReading>, StorageError> {
    let email = match (fields.get("email")?, fields.get("email_confirmed")?) {
        (Some(address), Some(confirmed)) => Some(Email { address, confirmed }),
        (None, None) => None,
        _ => {
            return Err(fields.inconsistent("an e-mail address and its confirmation come together"));
        }
    };
    match (fields.get("email_pds")?, fields.get("email_read_at")?) {
        (Some(pds), Some(read_at)) => Ok(Some(EmailReading {
            email,
            pds,
            read_at,
        })),
        (None, None) if email.is_none() => Ok(None),
        _ => Err(fields.inconsistent("an e-mail address was told by a PDS at some time")),
    }
}

pub(super) fn read_session(row: &Row) -> Result<UpstreamSession, StorageError> {
    read_fields(&Fields::of(TABLE, "id", row)?)
}

/// Reads a session from a row of several tables; `None` if the row of a left join has none.
pub(super) fn read_joined_session(
    row: &Row,
    joined: Joined,
) -> Result<Option<UpstreamSession>, StorageError> {
    let of_grant = Fields::of("grants", "id", row)?;
    let id: Option<RowId> = of_grant.get(joined.id())?;
    if id.is_none() {
        return Ok(None);
    }
    read_fields(&Fields::prefixed(joined.prefix(), TABLE, "id", row)?).map(Some)
}

fn read_fields(fields: &Fields<'_>) -> Result<UpstreamSession, StorageError> {
    Ok(UpstreamSession {
        id: fields.get("id")?,
        client_id: fields.get("client_id")?,
        did: fields.get("did")?,
        pds: fields.get("pds")?,
        credential: read_credential(fields)?,
        scope: fields.get("scope")?,
        email: read_email(fields)?,
        tokens: SealedTokens {
            access: fields.get("access_token")?,
            refresh: fields.get("refresh_token")?,
            access_expires_at: fields.get("access_expires_at")?,
        },
        generation: fields.get("generation")?,
        state: read_state(fields)?,
        next_refresh_at: fields.get("next_refresh_at")?,
        failures: fields.get("failures")?,
        rejected: read_rejections(fields)?,
        last_error: fields.get("last_error")?,
        refreshed_at: fields.get("refreshed_at")?,
        created_at: fields.get("created_at")?,
    })
}

/// Reads a status; `None` if the row of a left join has no session.
pub(super) fn read_status(row: &Row) -> Result<Option<SessionStatus>, StorageError> {
    let fields = Fields::of("grants", "id", row)?;
    let Some(id) = fields.get("session_id")? else {
        return Ok(None);
    };
    let fields = Fields::of("upstream_sessions", "session_id", row)?;
    let key: Option<String> = fields.get("client_key_id")?;
    let kind: SessionKind = fields.get("kind")?;
    Ok(Some(SessionStatus {
        id,
        pds: fields.get("pds")?,
        state: read_state(&fields)?,
        is_public_client: kind == SessionKind::OAuth && key.is_none(),
        access_expires_at: fields.get("access_expires_at")?,
        refreshed_at: fields.get("refreshed_at")?,
        generation: fields.get("generation")?,
        failures: fields.get("failures")?,
        next_refresh_at: fields.get("next_refresh_at")?,
        created_at: fields.get("session_created_at")?,
    }))
}

/// Reads what a lease was taken with.
pub(super) fn read_claim(row: &Row) -> Result<Claim, StorageError> {
    let fields = Fields::of("upstream_sessions", "id", row)?;
    let state: StateName = fields.get("state")?;
    Ok(Claim {
        lease: Lease {
            owner: fields.get("lease_owner")?,
            fence: fields.get("fence")?,
            until: fields.get("lease_until")?,
        },
        uncertain: state == StateName::Uncertain,
        sent_under: fields.get("sent_under")?,
        paused: fields.get("paused")?,
    })
}
