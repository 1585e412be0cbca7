//! What to ask the person: a pure decision over what the app wants and what this browser has.
//!
//! AIP may be let in at a PDS without any page there (silent sign-in of a confidential client), so
//! its own consent is what keeps one app from riding on another app's grant. It is skipped only
//! for the same client, account and scopes in the same browser, or for the operator's own apps, unless
//! they want the credentials of the session; never for an app on the person's device that any other
//! program there could pretend to be.

use aip_atproto::{AccountAttr, Did, OpenIdScope, Scope, ScopeSet};
use aip_base::Timestamp;
use aip_storage::browser::BrowserAccount;
use aip_storage::client::{Client, RedirectTarget};
use aip_storage::prompt::{Prompt, Prompts};
use aip_storage::request::Delivery;

use crate::authorize::RefusalCode;

/// What an app's request asks of a person.
#[derive(Debug)]
pub struct InteractionInput<'a> {
    /// The app.
    pub client: &'a Client,
    /// How it gets the answer.
    pub delivery: &'a Delivery,
    /// What it wants to do; once somebody has signed in, what of that their PDS granted.
    pub scope: &'a ScopeSet,
    /// What it wants the person to be asked.
    pub prompts: &'a Prompts,
    /// How old the sign-in may be, in seconds.
    pub max_age: Option<u64>,
    /// The account it means, when one is named for certain.
    pub hinted: Option<&'a Did>,
}

/// The next thing to happen before anybody has signed in for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Show the sign-in page.
    SignIn,
    /// Go on with this account of the browser, without signing in again.
    Use(BrowserAccount),
    /// Go on with this account, the only one of the browser, if the person allowed the app before
    /// and no page is needed; otherwise show the sign-in page.
    UseIfAllowed(BrowserAccount),
    /// The app allowed no page, and one is needed.
    Refuse(RefusalCode),
}

/// Why the consent page is shown. The page and the `prompt=none` error come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentReason {
    /// This person never allowed this app in this browser.
    FirstTime,
    /// The app wants more than was allowed.
    NewScopes,
    /// The app wants the person asked.
    RequestedByApp,
    /// The app is a program that cannot prove which one it is (RFC 8252 §8.6).
    UnverifiedApp,
    /// The request came from another device, perhaps one of somebody else (RFC 8628 §5.4).
    OtherDevice,
}

/// Decides how a request begins, given the accounts signed in at this browser.
pub fn next_step(
    input: &InteractionInput<'_>,
    accounts: &[BrowserAccount],
    now: Timestamp,
) -> NextStep {
    let silent = input.prompts.has(Prompt::None);
    let page = |code| {
        if silent {
            NextStep::Refuse(code)
        } else {
            NextStep::SignIn
        }
    };
    if [Prompt::Login, Prompt::SelectAccount, Prompt::Create]
        .into_iter()
        .any(|it| input.prompts.has(it))
    {
        return NextStep::SignIn;
    }
    let candidates: Vec<&BrowserAccount> = accounts
        .iter()
        .filter(|account| input.hinted.is_none_or(|did| *did == account.did))
        .collect();
    match candidates.as_slice() {
        // Nobody is signed in here, or nobody who is meant.
        [] => page(RefusalCode::LoginRequired),
        [account] if !is_fresh(account, input.max_age, now) => page(RefusalCode::LoginRequired),
        // With no page allowed, a single account is the only possible meaning.
        [account] if silent || input.hinted.is_some() => NextStep::Use((*account).clone()),
        // Without a hint a single account is taken only for an app that it was chosen for before:
        // the person may want to sign in to another one as somebody else.
        [account] if accounts.len() == 1 && !input.prompts.has(Prompt::Consent) => {
            NextStep::UseIfAllowed((*account).clone())
        }
        [_] => NextStep::SignIn,
        _ => page(RefusalCode::AccountSelectionRequired),
    }
}

/// Whether the person authenticated recently enough for the app (OpenID Connect Core §3.1.2.1). A
/// PDS that may have remembered them proves no time.
pub fn is_fresh(account: &BrowserAccount, max_age: Option<u64>, now: Timestamp) -> bool {
    max_age.is_none_or(|seconds| {
        account
            .auth_time
            .is_some_and(|time| now.since(time).as_secs() < seconds)
    })
}

/// Why this person must be asked, if they must.
pub fn consent_reason(
    input: &InteractionInput<'_>,
    allowed_here: Option<&ScopeSet>,
) -> Option<ConsentReason> {
    if input.prompts.has(Prompt::Consent) {
        return Some(ConsentReason::RequestedByApp);
    }
    // Before anything that skips the page: an app that any program can pretend to be, as neither a
    // secret nor a claimed https address ties it to its id, needs a click every time, the operator's
    // own app too.
    match input.delivery {
        Delivery::Device(_) => return Some(ConsentReason::OtherDevice),
        Delivery::Redirect(redirect)
            if !input.client.is_confidential()
                && redirect.redirect_uri.target() != RedirectTarget::Https =>
        {
            return Some(ConsentReason::UnverifiedApp);
        }
        Delivery::Redirect(_) => {}
    }
    // The operator answers for what its own app does here. A token and a key that were handed out work
    // without AIP: that is for the person to allow.
    if input.client.settings.first_party && !input.scope.contains(&Scope::Credentials) {
        return None;
    }
    match allowed_here {
        None => Some(ConsentReason::FirstTime),
        Some(allowed) if !allowed.covers_all(input.scope) => Some(ConsentReason::NewScopes),
        Some(_) => None,
    }
}

/// What an app gets of what it asked for: what the person left ticked at their PDS, which says
/// about `email` too, whose answer comes from there. The other scopes of OpenID Connect and
/// `aip:credentials` are AIP's to give.
pub fn granted_scope(requested: &ScopeSet, upstream: &ScopeSet) -> ScopeSet {
    let openid = requested.iter().filter(|scope| match scope {
        Scope::OpenId(OpenIdScope::Email) => upstream.allows_account(AccountAttr::Email, false),
        Scope::OpenId(_) | Scope::Credentials => true,
        _ => false,
    });
    openid
        .cloned()
        .chain(requested.intersect(upstream).iter().cloned())
        .collect()
}
