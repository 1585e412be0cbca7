//! Delegations on the account page: whom an owner lets act for their account, what they did, and taking
//! that back. The owner signs in at their host for each delegation: that gives it a session of its own, and
//! nobody gives one by finding the page open.

use std::time::Duration;

use aip_atproto::{AtIdentifier, Did};
use aip_base::{RowId, Timestamp};
use aip_oauth::params::Params;
use aip_pds::{Freshness, Trace, VerifiedIdentity};
use aip_sessions::{DelegationRequest, SignInRequest};
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::browser::BrowserAccount;
use aip_storage::delegation::{
    DelegationEnd, DelegationPreset, MAX_DELEGATION_LIFE, MAX_DELEGATIONS_OF_OWNER,
};
use aip_storage::prompt::Prompt;
use aip_storage::upstream::StateName;
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use strum::IntoEnumIterator as _;
use tokio::time::timeout;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::display_text::printable_excerpt;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::pages::{DelegatedActionLine, DelegationLine, PresetLine, day, minute};
use crate::respond::see_other;
use crate::sign_in_form;
use crate::state::AppState;

/// The life of a delegation whose owner names no day.
const DEFAULT_LIFE: Duration = Duration::from_hours(90 * 24);
/// How many of what delegates did are shown.
const SHOWN_ACTS: u32 = 20;
/// How long it may take to find the delegate.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);
/// The most characters of what somebody typed that a page repeats.
const MAX_SHOWN: usize = 200;

/// Why a delegation does not begin, in words for its owner.
pub(super) struct DelegationRefusal(pub(super) String);

/// What an owner can choose.
pub(super) fn presets() -> Vec<PresetLine> {
    DelegationPreset::iter()
        .map(|preset| PresetLine {
            value: preset.as_str(),
            words: preset_description(preset),
        })
        .collect()
}

/// The live delegations of an owner.
pub(super) async fn lines(app: &AppState, owner: &Did) -> Result<Vec<DelegationLine>, ApiError> {
    let mut lines = Vec::new();
    for status in app.storage().delegations_of(owner, app.now()).await? {
        let delegation = status.delegation;
        lines.push(DelegationLine {
            id: delegation.id.to_string(),
            delegate: app.account_name(&delegation.delegate).await?,
            words: preset_description(delegation.preset),
            scopes: delegation.scope.describe(),
            until: day(delegation.ends_at),
            is_usable: status.session.is_some_and(StateName::serves_calls),
        });
    }
    Ok(lines)
}

/// What delegates did last.
pub(super) async fn delegated_actions(
    app: &AppState,
    owner: &Did,
) -> Result<Vec<DelegatedActionLine>, ApiError> {
    let mut lines = Vec::new();
    for event in app.storage().acts_of_delegates(owner, SHOWN_ACTS).await? {
        let Some(delegate) = &event.actor else {
            continue;
        };
        lines.push(DelegatedActionLine {
            at: minute(event.at),
            delegate: app.account_name(delegate).await?,
            what: match event.kind {
                AuditKind::DelegatedToken => format!("Got an access token {}", event.detail),
                _ => event.detail,
            },
            client_id: event.client_id.map(|it| it.to_string()),
        });
    }
    Ok(lines)
}

/// Sends the owner to their host, to sign in for the delegation of the form.
pub(super) async fn give(
    app: &AppState,
    incoming: &IncomingRequest,
    params: &Params,
    browser: &Browser,
    owner: &BrowserAccount,
) -> Result<Result<Response, DelegationRefusal>, ApiError> {
    let asked = match read(app, params) {
        Ok(asked) => asked,
        Err(words) => return Ok(Err(DelegationRefusal(words))),
    };
    app.count(Limit::SIGN_INS, incoming).await?;
    let live = app.storage().delegations_of(&owner.did, app.now()).await?;
    let delegate = match find(app, &asked.delegate).await {
        Ok(delegate) => delegate,
        Err(words) => return Ok(Err(DelegationRefusal(words))),
    };
    if delegate == owner.did {
        let words = "This is the account itself, which needs nobody's leave.".to_owned();
        return Ok(Err(DelegationRefusal(words)));
    }
    let replaces = live.iter().any(|it| it.delegation.delegate == delegate);
    if live.len() >= MAX_DELEGATIONS_OF_OWNER as usize && !replaces {
        return Ok(Err(DelegationRefusal(too_many_message())));
    }
    let delegation = DelegationRequest {
        delegate,
        preset: asked.preset,
        ends_at: asked.ends_at,
    };
    let subject = owner.did.as_str();
    let start = SignInRequest {
        browser: browser.session.id,
        request: None,
        delegation: Some(&delegation),
        token: None,
        own_document: None,
        subject,
        typed: false,
        prompt: Some(Prompt::Login.as_str()),
    };
    match app.parts().sign_in.begin(start).await {
        Ok(location) => Ok(Ok(see_other(&location))),
        Err(error) => {
            let failure = sign_in_form::failure(error, subject)?;
            Ok(Err(DelegationRefusal(failure.message)))
        }
    }
}

/// Ends a delegation of the owner. It ends here at once, at other replicas within a second.
pub(super) async fn take_back(
    app: &AppState,
    params: &Params,
    owner: &Did,
) -> Result<Response, ApiError> {
    let id: Option<RowId> = params.get("delegation").and_then(|it| it.parse().ok());
    let id = id.ok_or_else(|| ApiError::request("There is no such permission."))?;
    end(app, owner, id).await?;
    Ok(see_other("/account"))
}

/// The same, for whoever knows that the owner wants it.
pub(super) async fn end(app: &AppState, owner: &Did, id: RowId) -> Result<(), ApiError> {
    let (reason, server) = (DelegationEnd::TakenBack, app.server());
    let detail = format!("delegation {id}: {}", reason.as_str());
    let kind = AuditKind::DelegationEnded;
    let event = AuditEvent::new(&*server.clock, &*server.rng, kind, &detail).of_account(owner);
    app.storage()
        .end_delegation(owner, id, reason, app.now(), event)
        .await?;
    server
        .known_tokens
        .forget_grants(|grant| grant.subject == *owner && grant.delegate().is_some());
    Ok(())
}

/// What the owner is shown who has as many delegations as one may.
pub(super) fn too_many_message() -> String {
    format!(
        "At most {MAX_DELEGATIONS_OF_OWNER} others may act for an account. Take a permission back first."
    )
}

/// What the form says.
struct DelegationForm {
    delegate: AtIdentifier,
    preset: DelegationPreset,
    ends_at: Timestamp,
}

fn read(app: &AppState, params: &Params) -> Result<DelegationForm, String> {
    let typed = params.get("delegate").unwrap_or_default().trim();
    if typed.is_empty() {
        return Err("Please enter the handle of whoever is to act for this account.".to_owned());
    }
    let delegate = AtIdentifier::from_user_input(typed).map_err(|error| {
        format!(
            "We do not understand “{}”: {error}.",
            printable_excerpt(typed, MAX_SHOWN)
        )
    })?;
    let preset = params.get("preset").and_then(|it| it.parse().ok());
    let preset = preset.ok_or("Please choose what they may do.")?;
    let now = app.now();
    let ends_at = match params.get("until").map(str::trim) {
        None | Some("") => now + DEFAULT_LIFE,
        Some(day) => end_of_day(day).ok_or_else(|| {
            let day = printable_excerpt(day, MAX_SHOWN);
            format!("“{day}” is no day. Please write it like 2030-12-31.")
        })?,
    };
    if ends_at <= now || ends_at > now + MAX_DELEGATION_LIFE {
        return Err("The last day must be one of the next 365.".to_owned());
    }
    Ok(DelegationForm {
        delegate,
        preset,
        ends_at,
    })
}

/// The end of a day, UTC.
fn end_of_day(day: &str) -> Option<Timestamp> {
    let next: Date = day.parse::<Date>().ok()?.tomorrow().ok()?;
    let midnight = next.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_secs(midnight.timestamp().as_second()))
}

/// The account of that name, which is asked for anew: the owner is about to trust it.
async fn find(app: &AppState, id: &AtIdentifier) -> Result<Did, String> {
    let name = printable_excerpt(id.as_str(), MAX_SHOWN);
    let mut trace = Trace::default();
    let resolving = app.resolver().resolve(id, Freshness::Uncached, &mut trace);
    let found: VerifiedIdentity = match timeout(LOOKUP_DEADLINE, resolving).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let error = error.to_string().replace('`', "");
            return Err(format!(
                "We did not find “{name}”: {}.",
                printable_excerpt(&error, MAX_SHOWN)
            ));
        }
        Err(_) => {
            return Err(format!(
                "It took too long to find “{name}”. Please try again later."
            ));
        }
    };
    // A handle that its document does not claim is not the account's.
    match (id, found.handle) {
        (AtIdentifier::Handle(asked), handle) if handle.as_ref() != Some(asked) => Err(format!(
            "“{name}” is not confirmed by the account that it leads to."
        )),
        _ => Ok(found.did),
    }
}

fn preset_description(preset: DelegationPreset) -> &'static str {
    match preset {
        DelegationPreset::Posts => "Write and delete posts",
        DelegationPreset::PostsWithImages => "Write and delete posts, with images and videos",
        DelegationPreset::PostsAndReactions => {
            "Write and delete posts, with images and videos, and like, repost and follow"
        }
        DelegationPreset::Everything => {
            "Everything that this account can do on the network, but nothing of the account itself: neither its password nor its e-mail address nor its handle"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_lasts_until_the_end_of_its_last_day() {
        for (day, end) in [
            ("2026-12-31", Some(1_798_761_600)),
            ("2028-02-28", Some(1_835_395_200)),
            ("1970-01-01", Some(86_400)),
            ("2026-02-30", None),
            ("31.12.2026", None),
            ("tomorrow", None),
            ("", None),
            ("9999-12-31", None),
        ] {
            assert_eq!(end_of_day(day).map(Timestamp::as_secs), end, "{day}");
        }
    }

    #[test]
    fn each_preset_has_words_of_its_own() {
        let lines = presets();
        assert_eq!(lines.len(), 4);
        for (index, line) in lines.iter().enumerate() {
            assert!(!line.words.is_empty());
            let others = lines.iter().skip(index + 1);
            assert!(others.into_iter().all(|it| it.words != line.words));
        }
    }
}
