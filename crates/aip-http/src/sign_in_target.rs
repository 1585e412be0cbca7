//! What the sign-in page is for, as its URL and its form say it in `request`.
//!
//! An app's request is stored when the form is sent, and not before: until then the page carries it,
//! as the app sent it, and it is checked anew. Its token follows from what was carried, so that a
//! form that is sent twice makes one request.

use std::sync::Arc;

use aip_base::{RowId, random_token};
use aip_keys::{TokenHash, secrets_equal};
use aip_oauth::authorize::{AuthorizeError, ValidRequest};
use aip_storage::subject::Subject;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::csrf::Purpose;
use crate::flow::Pending;
use crate::flow_cookie::FlowCookie;
use crate::hash_text::{encode, request_name};
use crate::incoming_request::IncomingRequest;
use crate::respond::{refused, request_gone};
use crate::state::AppState;

/// How a request that is carried begins. Names of stored ones have no dot.
const UNSTORED_PREFIX: &str = "new.";
/// How the request of another device begins: its name and what binds it to this browser follow.
const DEVICE_PREFIX: &str = "device.";
/// The longest request that a URL of ours carries: longer ones do not survive every proxy.
const MAX_URL_FIELD_BYTES: usize = 4 * 1024;
/// The longest request that a form carries: a form has at most 64 KiB.
const MAX_FORM_FIELD_BYTES: usize = 56 * 1024;

/// What the sign-in page is for.
pub(crate) enum SignInTarget {
    /// The account page.
    Nothing,
    /// An app's request that is not stored yet.
    UnstoredRequest(Box<UnstoredRequest>),
    /// An app's request that is stored.
    Stored(Box<Pending>),
}

/// An app's request that the page carries. One that was pushed is carried as its `request_uri`,
/// which is spent when the form is sent; that of another device by the name of its code.
pub(crate) struct UnstoredRequest {
    field: String,
    pub(crate) valid: ValidRequest,
}

/// The request behind a form.
pub(crate) enum StoredRequest {
    /// It waits for the person.
    Live(Box<Pending>),
    /// It was there before, and is answered or over.
    Done(TokenHash),
}

impl SignInTarget {
    /// A request that an app sends, as it was sent.
    pub(crate) fn new(app: &AppState, sent: &[u8], valid: ValidRequest) -> Self {
        let random = random_token::<12>(&*app.server().rng);
        let field = format!("{UNSTORED_PREFIX}{random}.{}", URL_SAFE_NO_PAD.encode(sent));
        Self::UnstoredRequest(Box::new(UnstoredRequest { field, valid }))
    }

    /// What URLs and forms say of the device whose code was entered in this browser. In another one it
    /// is worth nothing: whoever is to allow a device must have entered its code.
    pub(crate) fn device_field(app: &AppState, flow: &FlowCookie, code: &TokenHash) -> String {
        let name = encode(code);
        let binding = app.csrf(&flow.csrf_binding(app), Purpose::Device(&name));
        format!("{DEVICE_PREFIX}{name}.{binding}")
    }

    /// Reads the request of another device.
    async fn read_device(
        app: &AppState,
        incoming: &IncomingRequest,
        field: &str,
    ) -> Result<Self, ApiError> {
        let name = field
            .strip_prefix(DEVICE_PREFIX)
            .and_then(|rest| rest.split_once('.'))
            .map(|(name, _)| name);
        let code = name.and_then(request_name).ok_or_else(request_gone)?;
        let flows = app.flows(incoming);
        let is_ours =
            |flow: &FlowCookie| secrets_equal(field, &Self::device_field(app, flow, &code));
        if !flows.iter().any(is_ours) {
            return Err(request_gone());
        }
        let valid = app
            .server()
            .device_request(&code)
            .await?
            .ok_or_else(request_gone)?;
        let field = field.to_owned();
        Ok(Self::UnstoredRequest(Box::new(UnstoredRequest {
            field,
            valid,
        })))
    }

    /// Reads `request` of a URL or form. `Err` inside is the answer to the app that sent a request
    /// which is not acceptable any more.
    pub(crate) async fn read(
        app: &AppState,
        incoming: &IncomingRequest,
        browser: Option<&Browser>,
        field: Option<&str>,
    ) -> Result<Result<Self, Response>, ApiError> {
        let Some(field) = field else {
            return Ok(Ok(Self::Nothing));
        };
        if field.starts_with(DEVICE_PREFIX) {
            return Self::read_device(app, incoming, field).await.map(Ok);
        }
        let Some(rest) = field.strip_prefix(UNSTORED_PREFIX) else {
            let token = request_name(field).ok_or_else(request_gone)?;
            let browser = browser.ok_or_else(request_gone)?;
            let pending = app.pending(browser.session.id, &token).await?;
            return Ok(Ok(Self::Stored(Box::new(pending))));
        };
        let sent = rest.split_once('.').map(|(_, sent)| sent);
        let sent = sent.and_then(|sent| URL_SAFE_NO_PAD.decode(sent).ok());
        let sent = sent.ok_or_else(request_gone)?;
        let field = field.to_owned();
        app.read_client_document(incoming, &sent).await?;
        Ok(match app.server().check_authorization_again(&sent).await {
            Ok(valid) => Ok(Self::UnstoredRequest(Box::new(UnstoredRequest {
                field,
                valid,
            }))),
            Err(AuthorizeError::Refused(refusal)) => Err(refused(app, &refusal)),
            Err(AuthorizeError::Page(error)) => return Err(error.into()),
            Err(AuthorizeError::Storage(error)) => return Err(error.into()),
        })
    }

    /// The token under which the request of a form is stored: a form that is sent twice makes one
    /// request.
    pub(crate) fn token(app: &AppState, flow: &FlowCookie, field: &str) -> TokenHash {
        let binding = flow.csrf_binding(app);
        app.server()
            .hasher
            .hash(&format!("request {binding} {field}"))
    }

    /// What URL and form say.
    pub(crate) fn field(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::UnstoredRequest(it) => Some(it.field.clone()),
            Self::Stored(it) => Some(it.name()),
        }
    }

    /// Whether it can be carried by a URL.
    pub(crate) fn fits_url(&self) -> bool {
        self.field()
            .is_none_or(|it| it.len() <= MAX_URL_FIELD_BYTES)
    }

    /// Whether it can be carried at all.
    pub(crate) fn fits_form(&self) -> bool {
        self.field()
            .is_none_or(|it| it.len() <= MAX_FORM_FIELD_BYTES)
    }

    /// The name of the app.
    pub(crate) fn app(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::UnstoredRequest(it) => Some(&it.valid.client.settings.name),
            Self::Stored(it) => Some(&it.client.settings.name),
        }
    }

    /// What the app knows of the person: its hint, or the one account that it accepts.
    pub(crate) fn subject(&self) -> Option<&str> {
        let params = match self {
            Self::Nothing => return None,
            Self::UnstoredRequest(it) => &it.valid.params,
            Self::Stored(it) => &it.request.params,
        };
        let hint = params.login_hint.as_deref();
        hint.or(match params.only_subject() {
            Some(Subject::Account(did)) => Some(did.as_str()),
            // It leads nobody to their account.
            Some(Subject::Pairwise(_)) | None => None,
        })
    }

    /// Stores the request for the browser, if it is not stored yet. `None`: there is none.
    pub(crate) async fn store(
        &self,
        app: &AppState,
        browser: RowId,
        flow: &FlowCookie,
    ) -> Result<Option<StoredRequest>, ApiError> {
        let carried = match self {
            Self::Nothing => return Ok(None),
            Self::Stored(pending) => return Ok(Some(StoredRequest::Live(pending.clone()))),
            Self::UnstoredRequest(carried) => carried,
        };
        let token = Self::token(app, flow, &carried.field);
        let begun = app.server().begin_request(&carried.valid, browser, token);
        if let Some(request) = begun.await? {
            let pending = Pending::new(request, Arc::clone(&carried.valid.client), browser);
            return Ok(Some(StoredRequest::Live(Box::new(pending))));
        }
        Ok(Some(match app.find_pending(browser, &token).await? {
            Some(pending) => StoredRequest::Live(Box::new(pending)),
            None => StoredRequest::Done(token),
        }))
    }
}
