//! Whether an app's token allows an XRPC call: judged here, before anything leaves.
//!
//! The session at the PDS may be allowed more than the token that the app presents (a refresh may
//! narrow it, a grant may share the session), so the PDS alone cannot enforce it. What is judged is
//! what the PDS will execute: a permit therefore holds the parts of the request that were judged,
//! written anew, and these are sent instead of the app's own.

use std::borrow::Cow;

use aip_atproto::{
    Audience, IdentityAttr, Nsid, RepoAction, Scope, ScopeSet, ServiceRef, ServiceRefError,
};
use bytes::Bytes;
use http::Method;

use crate::methods::{KnownMethod, Lookup, Needs, look_up};
use crate::service_token::{ServiceTokenRefusal, judge_service_token};
use crate::session;
use crate::writes::{self, BodyRefusal};

/// The audience that stands for all services.
const ANY_AUDIENCE: &str = "*";

/// A call that the token allows, and all of it that was judged. Made only by [`permit`],
/// [`permit_write`], [`permit_default_service`] and [`permit_any_service`], and for the one call of AIP
/// itself by [`PermittedCall::get_session`].
#[derive(Debug, Clone)]
pub struct PermittedCall {
    method: Method,
    /// The name of the XRPC method.
    name: Cow<'static, str>,
    /// Written anew where it was judged, otherwise the raw query.
    query: Option<String>,
    /// JSON that was judged and written anew; `None`: the body does not matter.
    judged_body: Option<Bytes>,
    /// The records that it writes, where that was judged.
    touches: Vec<(Nsid, RepoAction)>,
}

/// What it takes to judge a call.
#[derive(Debug)]
pub enum Judgement {
    /// It is allowed.
    Allowed(PermittedCall),
    /// The body decides: read it (it is small JSON) and ask [`permit_write`].
    NeedsBody,
    /// The PDS chooses the service: ask [`permit_default_service`] with the scope of the session, or
    /// [`permit_any_service`] if no scope limits it.
    NeedsSession,
}

/// The token does not allow the call: 403 `insufficient_scope`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the access token does not allow this: it lacks {0}")]
pub struct InsufficientScope(pub String);

/// Why a call is not sent on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 403: the token does not allow it.
    #[error(transparent)]
    Scope(#[from] InsufficientScope),
    /// 403: no token allows it.
    #[error("{0} is not a method that access tokens of apps can be used for here")]
    Method(Nsid),
    /// 400: the name differs from that of a method in the case of its letters.
    #[error("there is no method {sent}; {name} is written like this")]
    Spelling {
        /// The name as it was sent.
        sent: Nsid,
        /// The name of the method.
        name: &'static str,
    },
    /// 405: a query is called with `GET`, a procedure with `POST`.
    #[error("{name} is called with {expected}")]
    Verb {
        /// The method.
        name: &'static str,
        /// How it is called.
        expected: Method,
    },
    /// 400: the `atproto-proxy` header names no service.
    #[error("the header atproto-proxy is invalid: {0}")]
    Proxy(#[from] ServiceRefError),
    /// 400: the query of `getServiceAuth` names no token that there could be.
    #[error(transparent)]
    ServiceToken(#[from] ServiceTokenRefusal),
    /// 400, 415: the body is not a call of the method.
    #[error(transparent)]
    Body(#[from] BodyRefusal),
}

/// The head of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallHead<'a> {
    /// The HTTP method.
    pub verb: &'a Method,
    /// The method.
    pub nsid: &'a Nsid,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The media type of the body.
    pub content_type: Option<&'a str>,
    /// The coding of the body (`Content-Encoding`).
    pub content_coding: Option<&'a str>,
    /// The `atproto-proxy` header.
    pub proxy: Option<&'a str>,
}

impl PermittedCall {
    fn for_head(call: CallHead<'_>) -> Self {
        Self {
            method: call.verb.clone(),
            name: call.nsid.as_str().to_owned().into(),
            query: call.query.map(str::to_owned),
            judged_body: None,
            touches: Vec::new(),
        }
    }

    /// `com.atproto.server.getSession`, which AIP asks for itself: every session may make that
    /// call, and no app sees the answer.
    pub(crate) fn get_session() -> Self {
        Self {
            method: Method::GET,
            name: session::GET_SESSION.into(),
            query: None,
            judged_body: None,
            touches: Vec::new(),
        }
    }

    /// The HTTP method.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The name of the XRPC method.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The method, and the records that it writes: `createRecord: create app.bsky.feed.post`, each kind
    /// once with its number.
    pub(crate) fn to_text(&self) -> String {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for (collection, action) in &self.touches {
            let kind = format!("{} {collection}", action.as_str());
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        let kinds = kinds.into_iter().map(|(kind, count)| match count {
            1 => kind,
            _ => format!("{kind} ({count})"),
        });
        let kinds: Vec<_> = kinds.collect();
        match &*kinds {
            [] => self.name.to_string(),
            kinds => format!("{}: {}", self.name, kinds.join(", ")),
        }
    }

    /// Path and query at the PDS.
    pub(crate) fn path(&self) -> String {
        match &self.query {
            Some(query) => format!("/xrpc/{}?{query}", self.name),
            None => format!("/xrpc/{}", self.name),
        }
    }

    /// The JSON to send, where the body was judged; otherwise the app's body is sent as it is.
    pub(crate) fn judged_body(&self) -> Option<&Bytes> {
        self.judged_body.as_ref()
    }
}

/// Judges a call by its head.
pub fn permit(scope: &ScopeSet, call: CallHead<'_>) -> Result<Judgement, Refusal> {
    let known = match look_up(call.nsid) {
        Lookup::KnownMethod(known) => Some(known),
        Lookup::OtherService => None,
        Lookup::Unknown => return Err(Refusal::Method(call.nsid.clone())),
        Lookup::Misspelt(known) => {
            return Err(Refusal::Spelling {
                sent: call.nsid.clone(),
                name: known.name,
            });
        }
    };
    if let Some(known) = known {
        check_verb(known, call.verb)?;
    }
    let service = call.proxy.map(ServiceRef::parse).transpose()?;
    if let Some(service) = &service {
        let name = call.nsid.as_str();
        require(scope.allows_rpc(call.nsid, service.as_str()), || {
            let audience = service.as_str().replace('#', "%23");
            format!("rpc:{name}?aud={audience}")
        })?;
    }
    // The reference PDS serves what it has a route for, with the header or without.
    match known.map_or(Needs::Service, |known| known.needs) {
        Needs::Service if service.is_some() => {}
        Needs::Service => {
            require(allows_method(scope, call.nsid), || {
                format!("rpc:{}", call.nsid)
            })?;
            return Ok(Judgement::NeedsSession);
        }
        Needs::Nothing => {}
        Needs::Records => {
            writes::check_head(call.content_type, call.content_coding)?;
            return Ok(Judgement::NeedsBody);
        }
        Needs::Blob => blob(scope, call.content_type)?,
        Needs::ServiceToken => {
            return Ok(Judgement::Allowed(PermittedCall {
                query: Some(judge_service_token(scope, call.query.unwrap_or_default())?),
                ..PermittedCall::for_head(call)
            }));
        }
        Needs::Account(attr) => require(scope.allows_account(attr, true), || {
            format!("account:{}?action=manage", attr.as_str())
        })?,
        Needs::Identity(attr) => identity(scope, attr)?,
    }
    Ok(Judgement::Allowed(PermittedCall::for_head(call)))
}

/// Judges a write by its body. Its query means nothing, and is not sent.
pub fn permit_write(
    scope: &ScopeSet,
    call: CallHead<'_>,
    body: &[u8],
) -> Result<PermittedCall, Refusal> {
    let judged = writes::parse(call.nsid.as_str(), body)?;
    for (collection, action) in &judged.touches {
        require(scope.allows_repo(collection, *action), || {
            format!("repo:{collection}?action={}", action.as_str())
        })?;
    }
    Ok(PermittedCall {
        query: None,
        judged_body: Some(judged.body),
        touches: judged.touches,
        ..PermittedCall::for_head(call)
    })
}

/// Judges a call whose service the PDS chooses, by what the session there allows. The PDS checks
/// its choice against the session; so each service that the session opens must be open to the
/// token as well, or else the app must name the one it means.
pub fn permit_default_service(
    scope: &ScopeSet,
    session: &ScopeSet,
    call: CallHead<'_>,
) -> Result<PermittedCall, Refusal> {
    let nsid = call.nsid;
    let everywhere = scope.allows_rpc(nsid, ANY_AUDIENCE);
    let no_further = |held: &Scope| match held {
        Scope::Rpc(rpc) if rpc.methods().has(nsid) => match rpc.audience() {
            Audience::Service(service) => scope.allows_rpc(nsid, service.as_str()),
            Audience::Any => everywhere,
        },
        // What a published set holds is for the PDS to know.
        Scope::Include(_) => everywhere || scope.contains(held),
        _ => true,
    };
    let covered =
        (everywhere || !session.allows_rpc(nsid, ANY_AUDIENCE)) && session.iter().all(no_further);
    require(covered, || format!("rpc:{nsid}?aud={ANY_AUDIENCE}"))?;
    Ok(PermittedCall::for_head(call))
}

/// Judges a call whose service the PDS chooses, where it limits the choice by no scope: the session of
/// an app password may call every one. So the token must, too.
pub fn permit_any_service(
    scope: &ScopeSet,
    call: CallHead<'_>,
) -> Result<PermittedCall, InsufficientScope> {
    let nsid = call.nsid;
    require(scope.allows_rpc(nsid, ANY_AUDIENCE), || {
        format!("rpc:{nsid}?aud={ANY_AUDIENCE}")
    })?;
    Ok(PermittedCall::for_head(call))
}

fn check_verb(known: &KnownMethod, verb: &Method) -> Result<(), Refusal> {
    // Whoever takes GET takes HEAD (RFC 9110 §9.1).
    if *verb == known.verb || (known.verb == Method::GET && *verb == Method::HEAD) {
        return Ok(());
    }
    Err(Refusal::Verb {
        name: known.name,
        expected: known.verb.clone(),
    })
}

fn blob(scope: &ScopeSet, content_type: Option<&str>) -> Result<(), InsufficientScope> {
    // The same without a header as with an empty one.
    let essence = content_type.unwrap_or_default().split(';').next();
    let named = essence.map(str::trim).filter(|it| !it.is_empty());
    let media_type = named.unwrap_or("*/*");
    require(scope.allows_blob(media_type), || {
        match Scope::parse(&format!("blob:{media_type}")) {
            // What is no media type no narrower scope names.
            Scope::Other(_) => "blob:*/*".to_owned(),
            scope => scope.to_string(),
        }
    })
}

fn identity(scope: &ScopeSet, attr: IdentityAttr) -> Result<(), InsufficientScope> {
    require(scope.allows_identity(attr), || {
        format!("identity:{}", attr.as_str())
    })
}

fn allows_method(scope: &ScopeSet, nsid: &Nsid) -> bool {
    scope.iter().any(|it| match it {
        Scope::Rpc(rpc) => rpc.methods().has(nsid),
        // What a published set holds is for the PDS to know.
        Scope::Include(_) => true,
        _ => false,
    }) || scope.allows_rpc(nsid, ANY_AUDIENCE)
}

/// Refuses what is not allowed, with a scope that would allow it.
pub(crate) fn require(
    allowed: bool,
    missing: impl FnOnce() -> String,
) -> Result<(), InsufficientScope> {
    if allowed {
        Ok(())
    } else {
        Err(InsufficientScope(requestable_scope(&missing())))
    }
}

/// A scope that an app can ask for, and the person be asked about, instead of one that says what
/// was missing in a way that no server understands.
fn requestable_scope(missing: &str) -> String {
    match Scope::parse(missing) {
        Scope::Other(_) => Scope::suggestion(missing).unwrap_or_else(|| missing.to_owned()),
        scope => scope.to_string(),
    }
}

#[cfg(test)]
#[path = "permit_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "permit_scope_tests.rs"]
mod scope_tests;
