//! `/oauth/authorize`: an app sends a person here (OAuth 2.1 §3.1, OpenID Connect Core §3.1.2).
//!
//! Until client and redirect URI are known good an error is a page; afterwards the app gets it by
//! redirect with `state` and `iss` (RFC 9207). Nothing is stored for a request that is refused, or
//! before the person has done something.

use aip_atproto::{AtIdentifier, Did, ScopeSet};
use aip_oauth::authorize::{AuthorizeError, RefusalCode, ValidRequest};
use aip_oauth::interaction::{
    ConsentReason, InteractionInput, NextStep, consent_reason, next_step,
};
use aip_pds::SubjectInput;
use aip_storage::StorageError;
use aip_storage::browser::{BrowserAccount, BrowserSession};
use aip_storage::prompt::Prompt;
use axum::response::Response;
use http::StatusCode;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::endpoint::Endpoint;
use crate::flow::Pending;
use crate::incoming_request::IncomingRequest;
use crate::navigation::as_navigation;
use crate::respond::{refused, request_gone, see_other};
use crate::sign_in_form::SignInForm;
use crate::sign_in_target::{SignInTarget, StoredRequest};
use crate::state::AppState;

/// Checks the request and takes the person to the next step.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let valid = match app.server().check_authorization(incoming.params()).await {
        Ok(valid) => valid,
        Err(AuthorizeError::Page(error)) => return Err(error.into()),
        Err(AuthorizeError::Storage(error)) => return Err(error.into()),
        Err(AuthorizeError::Refused(refusal)) => return Ok(refused(app, &refusal)),
    };
    if !app.brings_cookies(incoming)
        && let Some(navigation) = as_navigation(app, incoming, Endpoint::Authorize)
    {
        return Ok(navigation);
    }
    let browser = app.browser(incoming).await?;
    let session = browser.as_ref().map(|it| &it.session);
    let hint = Hint::read(app, &valid, session).await?;
    let mut accounts = match (&hint, session) {
        // The hint names somebody who is not signed in here: nobody who is can be meant.
        (Hint::Unknown, _) | (_, None) => Vec::new(),
        (_, Some(session)) => session.accounts.clone(),
    };
    let subjects = &valid.params.subjects;
    accounts.retain(|it| app.server().accepts(&valid.client, subjects, &it.did));
    let only = accounts.first().filter(|_| subjects.len() == 1);
    let only = only.map(|it| it.did.clone());
    let input = InteractionInput {
        client: &valid.client,
        delivery: &valid.params.delivery,
        scope: &valid.params.scope,
        prompts: &valid.params.prompts,
        max_age: valid.params.max_age,
        hinted: hint.account().or(only.as_ref()),
    };
    match (next_step(&input, &accounts, app.now()), &browser) {
        (NextStep::Refuse(code), _) => app.refuse_unstored(&valid, code, NO_PAGE).await,
        (NextStep::Use(account), Some(browser)) => {
            continue_as(app, incoming, &valid, &input, browser, &account).await
        }
        (NextStep::UseIfAllowed(account), Some(browser)) => {
            let taken = reuse_allowed_account(app, incoming, &valid, &input, browser, &account);
            match taken.await? {
                Some(response) => Ok(response),
                None => sign_in(app, incoming, valid, Some(browser)).await,
            }
        }
        (NextStep::SignIn | NextStep::Use(_) | NextStep::UseIfAllowed(_), browser) => {
            sign_in(app, incoming, valid, browser.as_ref()).await
        }
    }
}

/// What the app receives when it allowed no page and one is needed.
const NO_PAGE: &str = "a page would have to be shown";

/// What `login_hint` says.
enum Hint {
    /// There is none.
    Nothing,
    /// This account.
    Account(Did),
    /// Somebody whom this browser does not know.
    Unknown,
}

impl Hint {
    async fn read(
        app: &AppState,
        valid: &ValidRequest,
        session: Option<&BrowserSession>,
    ) -> Result<Self, StorageError> {
        let Some(hint) = valid.params.login_hint.as_deref() else {
            return Ok(Self::Nothing);
        };
        // Whether anybody is let in for it would tell the app whose account it is.
        if valid.client.settings.pairwise.is_some() {
            return Ok(Self::Nothing);
        }
        // As the sign-in page reads what is typed there, so that both mean the same account.
        let handle = match SubjectInput::parse(hint) {
            Ok(SubjectInput::Account(AtIdentifier::Did(did))) => return Ok(Self::Account(did)),
            Ok(SubjectInput::Account(AtIdentifier::Handle(handle))) => handle,
            Ok(SubjectInput::Server(_)) | Err(_) => return Ok(Self::Unknown),
        };
        for account in session.map_or(&[][..], |it| &it.accounts) {
            if app.account_name(&account.did).await?.handle == handle.as_str() {
                return Ok(Self::Account(account.did.clone()));
            }
        }
        Ok(Self::Unknown)
    }

    fn account(&self) -> Option<&Did> {
        match self {
            Self::Account(did) => Some(did),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

/// To the sign-in page, or straight to the PDS if the app said whose.
async fn sign_in(
    app: &AppState,
    incoming: &IncomingRequest,
    valid: ValidRequest,
    browser: Option<&Browser>,
) -> Result<Response, ApiError> {
    let choose = [Prompt::SelectAccount, Prompt::Create]
        .into_iter()
        .any(|it| valid.params.prompts.has(it));
    let is_pairwise = valid.client.settings.pairwise.is_some();
    let target = SignInTarget::new(app, incoming.params(), valid);
    if !target.fits_form() {
        return Err(ApiError::request(
            "The app sent a request that is too long.",
        ));
    }
    let flow = app.flow(incoming);
    let form = SignInForm {
        browser,
        flow: &flow,
        target: &target,
        subject: target.subject().unwrap_or_default(),
        typed: true,
    };
    match (target.subject(), target.field()) {
        // A link of anybody's can hint at anybody, whose server leads the browser anywhere: what
        // another site says is first shown (RFC 9700 §4.11).
        // What nobody can be found by is shown as well, where it can be corrected.
        (Some(hint), _)
            if !choose
                && !is_pairwise
                && !incoming.is_cross_site()
                && SubjectInput::parse(hint).is_ok() =>
        {
            form.submit(app, incoming).await
        }
        (_, Some(field)) if target.fits_url() => Ok(see_other(&format!("/login?request={field}"))),
        _ => form.show(app, incoming, StatusCode::OK, None).await,
    }
}

/// Goes on with the only account of this browser if the person allowed the app before, for this
/// account, and nothing has to be asked. `None`: the sign-in page must be shown.
async fn reuse_allowed_account(
    app: &AppState,
    incoming: &IncomingRequest,
    valid: &ValidRequest,
    input: &InteractionInput<'_>,
    browser: &Browser,
    account: &BrowserAccount,
) -> Result<Option<Response>, ApiError> {
    let (id, client) = (browser.session.id, &valid.client.id);
    let allowed = app.storage().consent(id, client, &account.did).await?;
    let who = app.signed_in_as(&valid.client, &valid.params.scope, account);
    let Some((who, granted)) = who.await?.filter(|_| allowed.is_some()) else {
        return Ok(None);
    };
    if consent_reason(&of_scope(input, &granted), allowed.as_ref()).is_some() {
        return Ok(None);
    }
    let pending = begin(app, incoming, valid, browser).await?;
    app.continue_request(&pending, who).await.map(Some)
}

/// The same wish for another scope.
fn of_scope<'a>(input: &InteractionInput<'a>, scope: &'a ScopeSet) -> InteractionInput<'a> {
    InteractionInput {
        client: input.client,
        delivery: input.delivery,
        scope,
        prompts: input.prompts,
        max_age: input.max_age,
        hinted: input.hinted,
    }
}

/// Stores the request for this browser.
async fn begin(
    app: &AppState,
    incoming: &IncomingRequest,
    valid: &ValidRequest,
    browser: &Browser,
) -> Result<Pending, ApiError> {
    let target = SignInTarget::new(app, incoming.params(), valid.clone());
    match target
        .store(app, browser.session.id, &app.flow(incoming))
        .await?
    {
        Some(StoredRequest::Live(pending)) => Ok(*pending),
        Some(StoredRequest::Done(_)) | None => Err(request_gone()),
    }
}

/// Goes on with an account of this browser, asking its PDS only if there is no session to use.
/// Without pages nothing is stored unless the answer is a code.
async fn continue_as(
    app: &AppState,
    incoming: &IncomingRequest,
    valid: &ValidRequest,
    input: &InteractionInput<'_>,
    browser: &Browser,
    account: &BrowserAccount,
) -> Result<Response, ApiError> {
    let who = app.signed_in_as(&valid.client, &valid.params.scope, account);
    let who = who.await?;
    if input.prompts.has(Prompt::None) {
        let (id, did) = (&valid.client.id, &account.did);
        let allowed = app.storage().consent(browser.session.id, id, did).await?;
        // What was granted is what is asked about, once there is a session that says so.
        let scope = who.as_ref().map_or(input.scope, |(_, granted)| granted);
        let reason: Option<ConsentReason> =
            consent_reason(&of_scope(input, scope), allowed.as_ref());
        let missing = match (reason, &who) {
            (Some(_), _) => Some((
                RefusalCode::ConsentRequired,
                "the person must allow the app",
            )),
            (None, None) => Some((RefusalCode::LoginRequired, "session needs reauthentication")),
            (None, Some(_)) => None,
        };
        if let Some((code, detail)) = missing {
            return app.refuse_unstored(valid, code, detail).await;
        }
    }
    if let Some((who, _)) = who {
        let pending = begin(app, incoming, valid, browser).await?;
        return app.continue_request(&pending, who).await;
    }
    let flow = app.flow(incoming);
    let target = SignInTarget::new(app, incoming.params(), valid.clone());
    let form = SignInForm {
        browser: Some(browser),
        flow: &flow,
        target: &target,
        subject: account.did.as_str(),
        typed: false,
    };
    form.submit(app, incoming).await
}
