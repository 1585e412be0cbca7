//! `/login`: who are you? For an app's request, or for AIP's own account page.

use aip_oauth::authorize::Prompt;
use aip_oauth::interaction::is_fresh;
use aip_oauth::params::Params;
use aip_pds::{SubjectInput, Trace};
use aip_sessions::{BeginError, Start};
use axum::response::Response;
use http::StatusCode;

use crate::browser::Browser;
use crate::call::Call;
use crate::csrf::Purpose;
use crate::flow::{Pending, see_other};
use crate::limits::Limit;
use crate::pages::{Failure, FormTargets, LoginPage, html};
use crate::problem::{Incident, Problem};
use crate::state::App;

/// The sign-in page for a browser and, if there is one, an app's request.
pub(crate) struct LoginForm<'a> {
    /// The browser.
    pub(crate) browser: &'a Browser,
    /// The app's request.
    pub(crate) pending: Option<&'a Pending>,
    /// What is in the input.
    pub(crate) subject: &'a str,
}

/// Shows the page, or takes its form.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let params = Params::parse(call.params()).map_err(|e| Problem::request(e.to_string()))?;
    let browser = if call.is_post() {
        app.browser(call).await?.ok_or_else(no_cookie)?
    } else {
        app.browser_or_new(call).await?
    };
    let name = params.get("request");
    let pending = match name {
        Some(name) => Some(app.pending_by_name(&browser, name).await?),
        None => None,
    };
    if !call.is_post() {
        let hint = pending
            .as_ref()
            .and_then(|it| it.request.login_hint.as_deref());
        let form = LoginForm {
            browser: &browser,
            pending: pending.as_ref(),
            subject: hint.unwrap_or_default(),
        };
        let page = form.show(app, StatusCode::OK, None).await?;
        return Ok(browser.remember(app, page));
    }
    app.check_csrf(call, &params, &browser.session, Purpose::Login(name))?;
    if let Some(chosen) = params.get("account").and_then(|did| browser.account(did)) {
        let Some(pending) = &pending else {
            return Ok(see_other("/account"));
        };
        let afresh = pending.wants(Prompt::Login);
        if !afresh
            && is_fresh(chosen, pending.request.max_age, app.now())
            && let Some(response) = app.resume(pending, chosen).await?
        {
            return Ok(response);
        }
    }
    // An account that was signed in when the page was made, and is no more, signs in again.
    let subject = params.get("account").or(params.get("subject"));
    LoginForm {
        browser: &browser,
        pending: pending.as_ref(),
        subject: subject.unwrap_or_default(),
    }
    .submit(app, call)
    .await
}

impl LoginForm<'_> {
    /// Sends the person to the PDS of the subject, or shows the page again with the reason.
    pub(crate) async fn submit(self, app: &App, call: &Call) -> Result<Response, Problem> {
        // What does not parse asks nobody anything.
        if SubjectInput::parse(self.subject).is_ok() {
            app.count(Limit::SignIns, call).await?;
        }
        let prompt = self.pending.and_then(Pending::prompt_for_pds);
        let start = Start {
            browser: self.browser.session.id,
            request: self.pending.map(|it| &it.request),
            subject: self.subject,
            prompt: prompt.map(Prompt::as_str),
        };
        let error = match app.parts().sign_in.begin(start).await {
            Ok(location) => return Ok(see_other(&location)),
            Err(error) => error,
        };
        let (blame, detail) = (error.blame(), error.to_string());
        let failure = failure(error, self.subject)?;
        let page = self.show(app, StatusCode::BAD_REQUEST, Some(&failure));
        Ok(Incident::of(blame, None, detail, page.await?))
    }

    /// The page.
    pub(crate) async fn show(
        &self,
        app: &App,
        status: StatusCode,
        failure: Option<&Failure>,
    ) -> Result<Response, Problem> {
        let mut accounts = Vec::new();
        for account in &self.browser.session.accounts {
            accounts.push(app.account_name(&account.did).await?);
        }
        let name = self.pending.map(Pending::name);
        let csrf = app.csrf(&self.browser.session, Purpose::Login(name.as_deref()));
        let page = LoginPage {
            brand: app.brand(),
            app: self.pending.map(|it| it.client.name.as_str()),
            request: name.as_deref(),
            csrf: &csrf,
            subject: self.subject,
            accounts: &accounts,
            failure,
        };
        let targets = FormTargets {
            loopback: app.issuer().is_loopback(),
            app: self.pending.map(|it| it.request.redirect_uri.as_str()),
        };
        Ok(html(status, &page, Some(targets)))
    }
}

/// What the person is told; our own faults are a page of their own.
fn failure(error: BeginError, subject: &str) -> Result<Failure, Problem> {
    let words = match &error {
        BeginError::Input(error) if subject.trim().is_empty() => {
            format!("Please enter your handle: {error}.")
        }
        BeginError::Input(error) => format!("We do not understand “{subject}”: {error}."),
        BeginError::Discover { error, .. } => format!("{error}."),
        BeginError::Push(error) => {
            format!("The host of “{subject}” did not let us begin: {error}.")
        }
        BeginError::Storage(_) | BeginError::Key(_) | BeginError::Vault(_) => String::new(),
    };
    let tried = match error {
        BeginError::Discover { trace, .. } => trace,
        BeginError::Input(_) | BeginError::Push(_) => Trace::default(),
        BeginError::Storage(error) => return Err(error.into()),
        BeginError::Key(_) | BeginError::Vault(_) => return Err(Problem::ours(error.to_string())),
    };
    // Error messages mark names as code is marked; on a page that is noise.
    let words = words.replace('`', "");
    Ok(Failure { words, tried })
}

/// A form without the cookie of the page that it was on.
pub(super) fn no_cookie() -> Problem {
    Problem::caller(
        StatusCode::FORBIDDEN,
        "access_denied",
        "Your browser did not send our cookie. Allow cookies for this site, go back and reload the page.",
    )
}
