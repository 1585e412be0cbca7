//! One function per check. Each takes the parameters, and gives the typed value or the refusal.

use aip_atproto::ScopeSet;
use aip_storage::client::{Client, GrantType, RedirectTarget, RedirectUri};
use aip_storage::prompt::{Prompt, Prompts};
use aip_storage::request::ResponseMode;
use aip_storage::subject::Subject;
use strum::IntoEnumIterator as _;

use super::error::RefusalCode;
use crate::invalid_values::quoted;
use crate::params::Params;
use crate::pkce;

/// The longest `state` and `nonce`. Libraries put whole documents there, sealed; what is longer
/// does not fit into the head of a request together with the rest.
pub(super) const MAX_STATE: usize = 16 * 1024;
/// The longest `login_hint`: a DID has at most 2048 characters.
pub(super) const MAX_LOGIN_HINT: usize = 2048;

/// How much of a parameter is repeated in an error.
const MAX_SHOWN: usize = 200;

type Refused = (RefusalCode, String);

/// Parameters whose silent neglect would change what the app gets.
pub(super) fn unsupported(params: &Params) -> Result<(), Refused> {
    for (name, code) in [
        ("request", RefusalCode::RequestNotSupported),
        ("request_uri", RefusalCode::RequestUriNotSupported),
        ("registration", RefusalCode::RegistrationNotSupported),
    ] {
        if params.get(name).is_some() {
            return Err((code, format!("the parameter `{name}` is not supported")));
        }
    }
    Ok(())
}

/// RFC 6749 §4.1.2.1: a client without the grant has nothing to do here.
pub(super) fn grant_type(client: &Client) -> Result<(), Refused> {
    if client.may_use(GrantType::AuthorizationCode) {
        return Ok(());
    }
    Err((
        RefusalCode::UnauthorizedClient,
        "the client is not registered for the grant type `authorization_code`".to_owned(),
    ))
}

pub(super) fn response_type(params: &Params) -> Result<(), Refused> {
    match params.get("response_type") {
        Some("code") => Ok(()),
        Some(other) => Err((
            RefusalCode::UnsupportedResponseType,
            format!("`response_type` is {}; it must be `code`", quoted(other)),
        )),
        None => Err((
            RefusalCode::InvalidRequest,
            "`response_type` is missing; it must be `code`".to_owned(),
        )),
    }
}

/// A fragment is refused: code and state have no business in the history of a browser's scripts, and
/// OAuth 2.1 §4.1.2 has the code in the query.
pub(super) fn response_mode(params: &Params, redirect_uri: &RedirectUri) -> Result<(), Refused> {
    let refused = |what: String| Err((RefusalCode::InvalidRequest, what));
    let Some(sent) = params.get("response_mode") else {
        return Ok(());
    };
    match sent.parse() {
        // A browser posts no form to a program.
        Ok(ResponseMode::FormPost) if redirect_uri.target() == RedirectTarget::Program => refused(
            "`response_mode` is `form_post`, which needs an http or https redirect URI".to_owned(),
        ),
        Ok(ResponseMode::Query | ResponseMode::FormPost) => Ok(()),
        Err(_) => refused(format!(
            "`response_mode` is {}; it must be `query` or `form_post`",
            quoted(sent)
        )),
    }
}

/// The accounts that are acceptable to all of these lists; none if there is no list.
pub(super) fn subjects(lists: Vec<Vec<Subject>>) -> Result<Vec<Subject>, Refused> {
    let common = lists.into_iter().reduce(|mut common, list| {
        common.retain(|subject| list.contains(subject));
        common
    });
    match common {
        None => Ok(Vec::new()),
        Some(common) if common.is_empty() => Err((
            RefusalCode::InvalidRequest,
            "no account fits all that `id_token_hint` and `claims` ask for".to_owned(),
        )),
        Some(common) => Ok(common),
    }
}

pub(super) fn bounded(params: &Params, name: &str, max: usize) -> Result<Option<String>, Refused> {
    match params.get(name) {
        Some(value) if value.len() > max => Err((
            RefusalCode::InvalidRequest,
            format!("`{name}` is longer than {max} bytes"),
        )),
        value => Ok(value.map(str::to_owned)),
    }
}

pub(super) fn code_challenge(params: &Params, client: &Client) -> Result<Option<String>, Refused> {
    let invalid = |detail: &str| Err((RefusalCode::InvalidRequest, detail.to_owned()));
    match (
        params.get("code_challenge"),
        params.get("code_challenge_method"),
    ) {
        // RFC 7636 §4.3: without a method it would be `plain`, which is not supported.
        (Some(_), None) => invalid("`code_challenge_method` is missing; it must be `S256`"),
        (Some(_), Some(other)) if other != "S256" => invalid(&format!(
            "`code_challenge_method` is {}; it must be `S256`",
            quoted(other)
        )),
        (Some(challenge), _) if pkce::is_challenge(challenge) => Ok(Some(challenge.to_owned())),
        (Some(_), _) => {
            invalid("`code_challenge` must be the base64url of a SHA-256 hash, 43 characters")
        }
        (None, Some(_)) => invalid("there is a `code_challenge_method` without a `code_challenge`"),
        (None, None) if client.settings.require_pkce || !client.is_confidential() => {
            invalid("PKCE is required: send a `code_challenge` with `code_challenge_method=S256`")
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn dpop_jkt(params: &Params) -> Result<Option<String>, Refused> {
    match params.get("dpop_jkt") {
        Some(jkt) if !pkce::is_challenge(jkt) => Err((
            RefusalCode::InvalidRequest,
            "`dpop_jkt` must be the base64url of a SHA-256 hash".to_owned(),
        )),
        jkt => Ok(jkt.map(str::to_owned)),
    }
}

/// What the app asks for: word for word, and what of that counts.
pub(super) struct RequestedScope {
    pub(super) asked: ScopeSet,
    pub(super) scope: ScopeSet,
}

pub(super) fn scope(params: &Params, client: &Client) -> Result<RequestedScope, Refused> {
    let Some(text) = params.get("scope") else {
        return Ok(RequestedScope {
            asked: client.settings.scope.clone(),
            scope: client.settings.scope.known(),
        });
    };
    let asked: ScopeSet = text.parse().map_err(|e| {
        (
            RefusalCode::InvalidScope,
            format!("`scope` is malformed: {e}"),
        )
    })?;
    // A word that we do not know is left out, not fatal: the grammar grows (RFC 6749 §3.3 lets a
    // server ignore what it does not know). No person is ever asked about it.
    let scope = asked.known();
    if scope.is_empty() {
        return Err((
            RefusalCode::InvalidScope,
            format!(
                "`scope` names nothing that this server knows: {}",
                shown(asked.unknown())
            ),
        ));
    }
    let beyond: Vec<String> = scope
        .iter()
        .filter(|it| !client.settings.scope.covers(it))
        .map(ToString::to_string)
        .collect();
    if beyond.is_empty() {
        Ok(RequestedScope { asked, scope })
    } else {
        Err((
            RefusalCode::InvalidScope,
            format!(
                "`scope` goes beyond what the client registered: {}",
                crate::invalid_values::scopes_not_allowed(&scope, &client.settings.scope)
            ),
        ))
    }
}

/// The first few words of a list; a scope has neither quotes nor control characters.
fn shown<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    let mut text = words.join(" ");
    if text.len() > MAX_SHOWN {
        text.truncate(MAX_SHOWN);
        text.push('…');
    }
    text
}

pub(super) fn prompts(params: &Params) -> Result<Prompts, Refused> {
    params
        .get("prompt")
        .map_or(Ok(Prompts::default()), |value| {
            value.parse().map_err(|_| {
                let known = Prompt::iter()
                    .map(Prompt::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                (
                    RefusalCode::InvalidRequest,
                    format!(
                        "`prompt` is {}; its values are {known}, and `none` stands alone",
                        quoted(value)
                    ),
                )
            })
        })
}

pub(super) fn max_age(params: &Params) -> Result<Option<u64>, Refused> {
    let invalid = |value| {
        (
            RefusalCode::InvalidRequest,
            format!(
                "`max_age` is {}; it must be a number of seconds",
                quoted(value)
            ),
        )
    };
    params
        .get("max_age")
        .map(|value| value.parse().map_err(|_| invalid(value)))
        .transpose()
}
