//! The sign-in page and its form, which `/login`, `/oauth/authorize` and `/account` show.

use aip_oauth::authorize::RefusalCode;
use aip_pds::{DiscoverError, ExchangeError, ResolveError, SubjectInput, Trace};
use aip_sessions::{BeginError, SignInRequest};
use aip_storage::prompt::Prompt;
use axum::response::Response;
use http::StatusCode;

use crate::api_error::{ApiError, ErrorReport};
use crate::browser::Browser;
use crate::csrf::Purpose;
use crate::display_text::printable_excerpt;
use crate::flow::Pending;
use crate::flow_cookie::FlowCookie;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::pages::{Failure, LoginPage, html};
use crate::respond::{request_gone, see_other};
use crate::sign_in_target::{SignInTarget, StoredRequest};
use crate::state::AppState;

/// The most characters that a page repeats of what somebody typed or a server said.
const MAX_SHOWN: usize = 200;

/// The sign-in page for a browser and, if there is one, an app's request.
pub(crate) struct SignInForm<'a> {
    /// The browser, if somebody is signed in at it.
    pub(crate) browser: Option<&'a Browser>,
    /// What the sign-in is bound to until somebody is.
    pub(crate) flow: &'a FlowCookie,
    pub(crate) target: &'a SignInTarget,
    /// What is in the input.
    pub(crate) subject: &'a str,
    /// Whether somebody wrote the subject, the person or the app: another account may be meant.
    /// Otherwise it was chosen from the accounts of this browser.
    pub(crate) typed: bool,
}

impl SignInForm<'_> {
    /// Sends the person to the PDS of the subject, or shows the page again with the reason.
    pub(crate) async fn submit(
        &self,
        app: &AppState,
        incoming: &IncomingRequest,
    ) -> Result<Response, ApiError> {
        // What does not parse asks nobody anything, and nothing is stored for it. The rest is
        // counted before anything is stored.
        if let Err(error) = SubjectInput::parse(self.subject) {
            return self.show_again(app, incoming, error.into()).await;
        }
        app.count(Limit::SIGN_INS, incoming).await?;
        let browser = match self.browser {
            Some(browser) => browser.session.id,
            None => app.flow_session(self.flow).await?,
        };
        let pending = match self.target.store(app, browser, self.flow).await? {
            None => None,
            Some(StoredRequest::Live(pending)) => Some(pending),
            Some(StoredRequest::Done(_)) => return Err(request_gone()),
        };
        let prompt = pending.as_deref().and_then(Pending::prompt_for_pds);
        let own_document = pending
            .as_deref()
            .and_then(|it| app.own_document(&it.client));
        let start = SignInRequest {
            browser,
            request: pending.as_deref().map(|it| &it.request),
            delegation: None,
            token: None,
            own_document: own_document.as_deref(),
            subject: self.subject,
            typed: self.typed,
            prompt: prompt.map(Prompt::as_str),
        };
        match app.parts().sign_in.begin(start).await {
            Ok(location) => Ok(self.flow.set_cookie_on(app, incoming, see_other(&location))),
            Err(error) => self.show_again(app, incoming, error).await,
        }
    }

    /// The page again, with the reason.
    async fn show_again(
        &self,
        app: &AppState,
        incoming: &IncomingRequest,
        error: BeginError,
    ) -> Result<Response, ApiError> {
        let (blame, detail) = (error.blame(), error.to_string());
        let failure = failure(error, self.subject)?;
        let page = self.show(app, incoming, StatusCode::BAD_REQUEST, Some(&failure));
        Ok(ErrorReport::of(blame, None, detail, page.await?))
    }

    /// The page.
    pub(crate) async fn show(
        &self,
        app: &AppState,
        incoming: &IncomingRequest,
        status: StatusCode,
        failure: Option<&Failure>,
    ) -> Result<Response, ApiError> {
        let mut accounts = Vec::new();
        for account in self.browser.iter().flat_map(|it| &it.session.accounts) {
            accounts.push(app.account_name(&account.did).await?);
        }
        let request = self.target.field();
        let purpose = Purpose::Login(request.as_deref());
        let page = LoginPage {
            brand: app.brand(),
            app: self.target.app(),
            request: request.as_deref(),
            csrf: &app.csrf(&self.flow.csrf_binding(app), purpose),
            subject: self.subject,
            accounts: &accounts,
            failure,
        };
        Ok(self.flow.set_cookie_on(app, incoming, html(status, &page)))
    }
}

/// What the person is shown; our own faults are a page of their own.
pub(crate) fn failure(error: BeginError, subject: &str) -> Result<Failure, ApiError> {
    let subject = printable_excerpt(subject, MAX_SHOWN);
    let words = match &error {
        BeginError::Input(_) if subject.trim().is_empty() => "Please enter your handle.".to_owned(),
        BeginError::Input(_) if looks_like_email(&subject) => format!(
            "“{subject}” looks like an e-mail address. Please enter your handle instead, such as \
             alice.bsky.social, or the address of your host."
        ),
        BeginError::Input(error) => format!("We do not understand “{subject}”: {error}."),
        BeginError::Discover {
            error: DiscoverError::Resolve(ResolveError::HandleNotFound(handle)),
            ..
        } => format!("There is no account “{handle}”. Is it spelled right?"),
        BeginError::Discover { error, .. } => format!("{error}."),
        BeginError::Subject(error) => format!("This account cannot sign in here: {error}."),
        BeginError::Push(_) => format!("The host of “{subject}” did not let us begin."),
        BeginError::Storage(_) | BeginError::Key(_) | BeginError::Sealer(_) => String::new(),
    };
    let mut theirs = None;
    let mut back = None;
    let tried = match error {
        BeginError::Discover { trace, .. } => trace,
        BeginError::Input(_) | BeginError::Subject(_) => Trace::default(),
        BeginError::Push(error) => {
            theirs = Some(printable_excerpt(&error.to_string(), MAX_SHOWN));
            back = Some(code_for_app(&error).as_str());
            Trace::default()
        }
        BeginError::Storage(error) => return Err(error.into()),
        BeginError::Key(_) | BeginError::Sealer(_) => {
            return Err(ApiError::internal(error.to_string()));
        }
    };
    // Error messages mark names as code is marked; on a page that is noise.
    let words = words.replace('`', "");
    Ok(Failure {
        message: printable_excerpt(&words, 2 * MAX_SHOWN),
        theirs,
        back,
        tried: tried
            .steps
            .iter()
            .map(crate::pages::SearchStep::of)
            .collect(),
    })
}

/// `name@host`, as no handle and no DID is written.
fn looks_like_email(text: &str) -> bool {
    let text = text.trim();
    text.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

/// What the app receives when the host did not take the pushed request.
fn code_for_app(error: &ExchangeError) -> RefusalCode {
    match error {
        ExchangeError::Refused { error, .. } => match RefusalCode::from_wire(error) {
            Some(code @ (RefusalCode::InvalidScope | RefusalCode::AccessDenied)) => code,
            _ => RefusalCode::ServerError,
        },
        _ => RefusalCode::TemporarilyUnavailable,
    }
}
