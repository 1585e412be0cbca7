//! `/oauth/authorize`: an app sends a person here (OAuth 2.1 §3.1, OpenID Connect Core §3.1.2).
//!
//! Until client and redirect URI are known good an error is a page; afterwards the app is told by
//! redirect with `state` and `iss` (RFC 9207). Nothing is stored for a request that is refused.

use aip_atproto::{AtIdentifier, Did};
use aip_base::Blame;
use aip_oauth::authorize::{AuthorizeError, Prompt, Refusal, RefusalCode, ValidRequest};
use aip_oauth::interaction::{ConsentReason, Entry, Wish, consent_reason, entry};
use aip_pds::SubjectInput;
use aip_storage::StorageError;
use aip_storage::browser::{BrowserAccount, BrowserSession};
use axum::response::Response;
use secrecy::ExposeSecret as _;

use crate::browser::Browser;
use crate::call::Call;
use crate::endpoints::{Endpoint, LoginForm};
use crate::flow::{Pending, see_other, to_app};
use crate::problem::{Incident, Problem};
use crate::state::App;

/// Checks the request and takes the person to the next step.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let valid = match app.server().check_authorization(call.params()).await {
        Ok(valid) => valid,
        Err(AuthorizeError::Page(error)) => return Err(Problem::request(error.to_string())),
        Err(AuthorizeError::Storage(error)) => return Err(error.into()),
        Err(AuthorizeError::Refused(refusal)) => return Ok(refused(app, &refusal)),
    };
    let known = app.browser(call).await?;
    if known.is_none()
        && let Some(navigation) = call.as_navigation(Endpoint::Authorize)
    {
        return Ok(navigation);
    }
    let session = known.as_ref().map(|it| &it.session);
    let hint = Hint::read(app, &valid, session).await?;
    let wish = Wish {
        client: &valid.client,
        redirect_uri: &valid.redirect_uri,
        scope: &valid.scope,
        prompts: &valid.prompts,
        max_age: valid.max_age,
        hinted: hint.account(),
    };
    let accounts = match (&hint, session) {
        // The hint names somebody who is not signed in here: nobody who is can be meant.
        (Hint::Somebody, _) | (_, None) => &[],
        (_, Some(session)) => session.accounts.as_slice(),
    };
    match entry(&wish, accounts, app.now()) {
        Entry::Refuse(code) => Ok(refuse(app, &valid, code)),
        Entry::SignIn => {
            let browser = app.browser_or_new(call).await?;
            sign_in(app, call, &valid, browser).await
        }
        Entry::Use(account) => {
            let browser = app.browser_or_new(call).await?;
            go_on_as(app, call, &valid, &wish, browser, &account).await
        }
    }
}

/// What `login_hint` says.
enum Hint {
    /// There is none.
    Nothing,
    /// This account.
    Account(Did),
    /// Somebody whom this browser does not know.
    Somebody,
}

impl Hint {
    async fn read(
        app: &App,
        valid: &ValidRequest,
        session: Option<&BrowserSession>,
    ) -> Result<Self, StorageError> {
        let Some(hint) = valid.login_hint.as_deref() else {
            return Ok(Self::Nothing);
        };
        // As the sign-in page reads what is typed there, so that both mean the same account.
        let handle = match SubjectInput::parse(hint) {
            Ok(SubjectInput::Account(AtIdentifier::Did(did))) => return Ok(Self::Account(did)),
            Ok(SubjectInput::Account(AtIdentifier::Handle(handle))) => handle,
            Ok(SubjectInput::Server(_)) | Err(_) => return Ok(Self::Somebody),
        };
        for account in session.map_or(&[][..], |it| &it.accounts) {
            if app.account_name(&account.did).await?.handle == handle.as_str() {
                return Ok(Self::Account(account.did.clone()));
            }
        }
        Ok(Self::Somebody)
    }

    fn account(&self) -> Option<&Did> {
        match self {
            Self::Account(did) => Some(did),
            Self::Nothing | Self::Somebody => None,
        }
    }
}

/// Stores the request for this browser.
async fn begin(app: &App, valid: &ValidRequest, browser: &Browser) -> Result<Pending, Problem> {
    let token = app.server().begin(valid, browser.session.id).await?;
    let token = app.server().hasher.hash(token.expose_secret());
    app.pending(browser.session.id, &token).await
}

/// To the sign-in page, or straight to the PDS if the app said whose.
async fn sign_in(
    app: &App,
    call: &Call,
    valid: &ValidRequest,
    browser: Browser,
) -> Result<Response, Problem> {
    let pending = begin(app, valid, &browser).await?;
    let choose = [Prompt::SelectAccount, Prompt::Create]
        .into_iter()
        .any(|it| valid.prompts.has(it));
    let response = match valid.login_hint.as_deref() {
        // What nobody can be found by is shown on the page, where it can be corrected.
        Some(hint) if !choose && SubjectInput::parse(hint).is_ok() => {
            let form = LoginForm {
                browser: &browser,
                pending: Some(&pending),
                subject: hint,
            };
            form.submit(app, call).await?
        }
        _ => see_other(&format!("/login?request={}", pending.name())),
    };
    Ok(browser.remember(app, response))
}

/// Goes on with an account of this browser, asking its PDS only if there is no session to use.
async fn go_on_as(
    app: &App,
    call: &Call,
    valid: &ValidRequest,
    wish: &Wish<'_>,
    browser: Browser,
    account: &BrowserAccount,
) -> Result<Response, Problem> {
    let pending = begin(app, valid, &browser).await?;
    if let Some(response) = app.resume(&pending, account).await? {
        return Ok(response);
    }
    if wish.prompts.has(Prompt::None) {
        let (id, did) = (&valid.client.id, &account.did);
        let allowed = app.storage().consent(browser.session.id, id, did).await?;
        let reason: Option<ConsentReason> = consent_reason(wish, allowed.as_ref());
        let (code, detail) = match reason {
            Some(_) => (
                RefusalCode::ConsentRequired,
                "the person must allow the app",
            ),
            None => (RefusalCode::LoginRequired, "the person must sign in again"),
        };
        return app.refuse(&pending, code, detail).await;
    }
    let form = LoginForm {
        browser: &browser,
        pending: Some(&pending),
        subject: account.did.as_str(),
    };
    form.submit(app, call).await
}

/// Tells the app that no page may be shown and one is needed.
fn refuse(app: &App, valid: &ValidRequest, code: RefusalCode) -> Response {
    let refusal = Refusal {
        client_id: valid.client.id.clone(),
        redirect_uri: valid.redirect_uri.clone(),
        state: valid.state.clone(),
        code,
        detail: "a page would have to be shown".to_owned(),
    };
    refused(app, &refusal)
}

/// Tells the app what is wrong with its request.
fn refused(app: &App, refusal: &Refusal) -> Response {
    let code = refusal.code.as_str();
    let response = to_app(&app.server().refuse(refusal));
    Incident::of(Blame::Caller, Some(code), &refusal.detail, response)
}
