//! `/account`: which apps may use the accounts of this browser, and who may act for them; taking that
//! back; app passwords; developer tokens; signing out.

use std::collections::BTreeMap;

use aip_atproto::{Did, ScopeLine};
use aip_base::Timestamp;
use aip_oauth::params::Params;
use aip_sessions::AppPasswordError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::browser::BrowserAccount;
use aip_storage::client::ClientId;
use aip_storage::grant::RevokeReason;
use axum::response::Response;
use http::StatusCode;

use super::app_password;
use super::delegations::{self, DelegationRefusal};
use super::developer_tokens::{self, TokenRefusal};
use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::csrf::{Purpose, no_cookie};
use crate::sign_in_target::SignInTarget;

use crate::display_text::printable_excerpt;
use crate::incoming_request::IncomingRequest;
use crate::pages::{AccountPage, AccountSection, GrantLine, day, html};
use crate::respond::see_other;
use crate::sign_in_form::SignInForm;
use crate::sign_out::{SIGNED_OUT, after_sign_out, deliver_in_background};
use crate::state::AppState;

/// Shows the page (the sign-in page if nobody is signed in), or takes one of its forms.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    if incoming.is_post() {
        return submit(app, incoming).await;
    }
    let browser = app.browser(incoming).await?;
    if let Some(browser) = browser.filter(|it| !it.session.accounts.is_empty()) {
        return show(app, incoming, &browser, None).await;
    }
    let form = SignInForm {
        browser: None,
        flow: &app.flow(incoming),
        target: &SignInTarget::Nothing,
        subject: "",
        typed: true,
    };
    form.show(app, incoming, StatusCode::OK, None).await
}

/// Why the page comes again.
struct Failure {
    status: StatusCode,
    words: String,
}

impl From<&AppPasswordError> for Failure {
    fn from(error: &AppPasswordError) -> Self {
        match error {
            AppPasswordError::Unavailable(_) => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                words: "Your host cannot be asked at present. Please try again later.".to_owned(),
            },
            error => Self {
                status: StatusCode::BAD_REQUEST,
                words: sentence(&error.to_string()),
            },
        }
    }
}

async fn show(
    app: &AppState,
    incoming: &IncomingRequest,
    browser: &Browser,
    failure: Option<Failure>,
) -> Result<Response, ApiError> {
    let mut accounts = Vec::new();
    for account in &browser.session.accounts {
        accounts.push(AccountSection {
            name: app.account_name(&account.did).await?,
            grants: grants(app, account).await?,
            delegations: delegations::lines(app, &account.did).await?,
            acts: delegations::delegated_actions(app, &account.did).await?,
            tokens: developer_tokens::lines(app, &account.did).await?,
        });
    }
    let params = Params::parse(incoming.query()).unwrap_or_default();
    let instead_of = params.get("instead_of").and_then(|it| Did::parse(it).ok());
    let status = failure.as_ref().map_or(StatusCode::OK, |it| it.status);
    let page = AccountPage {
        brand: app.brand(),
        instead_of: instead_of.as_ref().map(Did::as_str),
        accounts: &accounts,
        presets: &delegations::presets(),
        failure: failure.as_ref().map(|it| it.words.as_str()),
        csrf: &app.csrf(&browser.csrf_binding(), Purpose::Account),
    };
    Ok(html(status, &page))
}

/// One line for each app, however many grants it has.
async fn grants(app: &AppState, account: &BrowserAccount) -> Result<Vec<GrantLine>, ApiError> {
    let mut apps: BTreeMap<ClientId, (Vec<ScopeLine>, Timestamp)> = BTreeMap::new();
    for grant in app.storage().grants_of(&account.did).await? {
        let (lines, since) = apps
            .entry(grant.client_id)
            .or_insert_with(|| (Vec::new(), grant.created_at));
        for line in grant.scope.describe() {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        *since = (*since).min(grant.created_at);
    }
    let mut lines = Vec::new();
    for (client_id, (scopes, since)) in apps {
        let client = app.storage().client(&client_id).await?;
        let takes_app_password = client
            .as_ref()
            .is_none_or(|it| app_password::may_be_used_by(&it.settings));
        let has_app_password = app_password::is_given(app, &client_id, &account.did).await?;
        lines.push(GrantLine {
            has_app_password,
            takes_app_password,
            app: client.map_or_else(|| client_id.to_string(), |client| client.settings.name),
            client_id: client_id.to_string(),
            since: day(since),
            scopes,
        });
    }
    Ok(lines)
}

async fn submit(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let params = Params::parse(&incoming.form).map_err(|e| ApiError::request(e.to_string()))?;
    let Some(browser) = app.browser(incoming).await? else {
        // The first of two clicks has signed out already, or another tab has.
        return match params.get("action") {
            Some("sign-out") => Ok(see_other(&format!("/?{SIGNED_OUT}"))),
            _ if app.brings_cookies(incoming) => Ok(see_other("/account")),
            _ => Err(no_cookie()),
        };
    };
    app.check_csrf(incoming, &params, &browser, Purpose::Account)?;
    match params.get("action") {
        Some("sign-out") => {
            let id = browser.session.id;
            let ended = app.storage().delete_browser_session(id, app.now()).await?;
            Ok(app.forget_browser(after_sign_out(app, ended, None).await))
        }
        Some("revoke") => {
            let (account, client) = named(&params, &browser)?;
            take_back(app, &account.did, &client).await?;
            Ok(see_other("/account"))
        }
        Some("give-app-password") => {
            let (account, client) = named(&params, &browser)?;
            give_app_password(app, incoming, &params, &browser, account, &client).await
        }
        Some("remove-app-password") => {
            let (account, client) = named(&params, &browser)?;
            app_password::remove(app, &client, &account.did).await?;
            Ok(see_other("/account"))
        }
        Some("delegate") => {
            let owner = signed_in(&params, &browser)?;
            let given = delegations::give(app, incoming, &params, &browser, owner).await?;
            match given {
                Ok(to_host) => Ok(to_host),
                Err(DelegationRefusal(words)) => {
                    let status = StatusCode::BAD_REQUEST;
                    let failure = Failure { status, words };
                    show(app, incoming, &browser, Some(failure)).await
                }
            }
        }
        Some("make-token") => {
            let owner = signed_in(&params, &browser)?;
            let begun = developer_tokens::make(app, incoming, &params, &browser, owner).await?;
            match begun {
                Ok(to_host) => Ok(to_host),
                Err(TokenRefusal(words)) => {
                    let status = StatusCode::BAD_REQUEST;
                    let failure = Failure { status, words };
                    show(app, incoming, &browser, Some(failure)).await
                }
            }
        }
        Some("revoke-token") => {
            let owner = signed_in(&params, &browser)?;
            developer_tokens::revoke(app, &params, &owner.did).await
        }
        Some("take-back") => {
            let owner = signed_in(&params, &browser)?;
            delegations::take_back(app, &params, &owner.did).await
        }
        _ => Err(ApiError::request("There is nothing to do.")),
    }
}

/// The account of this browser that a form is about.
fn signed_in<'a>(params: &Params, browser: &'a Browser) -> Result<&'a BrowserAccount, ApiError> {
    let account = params.get("did").and_then(|did| browser.account(did));
    account.ok_or_else(not_signed_in)
}

fn not_signed_in() -> ApiError {
    ApiError::request("You are not signed in as the account that you want to change.")
}

/// The account of this browser and the app that a form is about.
fn named<'a>(
    params: &Params,
    browser: &'a Browser,
) -> Result<(&'a BrowserAccount, ClientId), ApiError> {
    let account = params.get("did").and_then(|did| browser.account(did));
    let client = params.get("client_id").and_then(|id| id.parse().ok());
    account.zip(client).ok_or_else(not_signed_in)
}

async fn give_app_password(
    app: &AppState,
    incoming: &IncomingRequest,
    params: &Params,
    browser: &Browser,
    account: &BrowserAccount,
    client: &ClientId,
) -> Result<Response, ApiError> {
    let password = params
        .get(app_password::FIELD)
        .ok_or_else(|| ApiError::request("The app password is missing."))?;
    if !app_password::has_grant(app, client, &account.did).await? {
        return Err(app_password::no_grant());
    }
    let set = app_password::set(app, incoming, client, &account.did, password).await?;
    match set {
        Ok(()) => Ok(see_other("/account")),
        Err(
            error @ (AppPasswordError::Form(_)
            | AppPasswordError::Refused(_)
            | AppPasswordError::Unavailable(_)),
        ) => show(app, incoming, browser, Some((&error).into())).await,
        Err(error) => Err(error.into()),
    }
}

/// Words of an error as a sentence. A host wrote some of them.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let sentence: String = first.chain(letters).collect();
    format!("{}.", printable_excerpt(&sentence, 300))
}

/// Ends all that the app may do with the account, its app password, too.
async fn take_back(app: &AppState, did: &Did, client: &ClientId) -> Result<(), ApiError> {
    let reason = RevokeReason::ByPerson;
    let (clock, rng) = (&*app.server().clock, &*app.server().rng);
    let event = AuditEvent::new(clock, rng, AuditKind::GrantRevoked, reason.as_str());
    let event = event.of_account(did).of_client(client);
    let count = app
        .storage()
        .revoke_client_grants(client, did, reason, app.now(), event)
        .await?;
    app.server()
        .known_tokens
        .forget_grants(|grant| grant.client_id == *client && grant.subject == *did);
    if count > 0 {
        deliver_in_background(app);
    }
    app_password::remove(app, client, did).await?;
    Ok(())
}
