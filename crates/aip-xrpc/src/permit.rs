//! Whether an app's token allows an XRPC call: judged here, before anything leaves.
//!
//! The session at the PDS may be allowed more than the token that the app presents (a refresh may
//! narrow it, a grant may share the session), so the PDS alone cannot enforce it.

use aip_atproto::{AccountAttr, IdentityAttr, Nsid, RepoAction, Scope, ScopeSet, Transition};
use serde::Deserialize;

/// A call that the token allows. Made only by [`permit`] and [`permit_write`].
#[derive(Debug)]
pub struct XrpcPermit(());

/// What it takes to judge a call.
#[derive(Debug)]
pub enum Judgement {
    /// It is allowed.
    Allowed(XrpcPermit),
    /// The body decides: read it (it is small JSON) and ask [`permit_write`].
    NeedsBody,
}

/// The token does not allow the call: 403 `insufficient_scope`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the access token does not allow this: it lacks {0}")]
pub struct InsufficientScope(pub String);

/// Why a write cannot be judged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefusal {
    /// The token does not allow it.
    #[error(transparent)]
    Scope(#[from] InsufficientScope),
    /// The body is not a call of that method.
    #[error("the body is not a valid call of the method")]
    Body,
}

/// The head of a call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method.
    pub nsid: &'a Nsid,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The media type of the body.
    pub content_type: Option<&'a str>,
    /// The `atproto-proxy` header.
    pub proxy: Option<&'a str>,
}

/// Methods that read nothing but what is public, or what is the account's own by `atproto` alone.
const OPEN: [&str; 8] = [
    "com.atproto.identity.resolveHandle",
    "com.atproto.identity.resolveDid",
    "com.atproto.repo.describeRepo",
    "com.atproto.repo.getRecord",
    "com.atproto.repo.listRecords",
    "com.atproto.repo.listMissingBlobs",
    "com.atproto.server.describeServer",
    "com.atproto.server.getSession",
];

/// Methods whose body names the collections they write.
const WRITES: [&str; 4] = [
    "com.atproto.repo.applyWrites",
    "com.atproto.repo.createRecord",
    "com.atproto.repo.deleteRecord",
    "com.atproto.repo.putRecord",
];

/// What managing methods need.
enum Needs {
    Account(AccountAttr, bool),
    Identity(IdentityAttr),
}

const MANAGES: [(&str, Needs); 7] = [
    (
        "com.atproto.identity.updateHandle",
        Needs::Identity(IdentityAttr::Handle),
    ),
    (
        "com.atproto.identity.requestPlcOperationSignature",
        Needs::Identity(IdentityAttr::Any),
    ),
    (
        "com.atproto.identity.signPlcOperation",
        Needs::Identity(IdentityAttr::Any),
    ),
    (
        "com.atproto.identity.submitPlcOperation",
        Needs::Identity(IdentityAttr::Any),
    ),
    (
        "com.atproto.repo.importRepo",
        Needs::Account(AccountAttr::Repo, true),
    ),
    (
        "com.atproto.server.requestEmailUpdate",
        Needs::Account(AccountAttr::Email, true),
    ),
    (
        "com.atproto.server.updateEmail",
        Needs::Account(AccountAttr::Email, true),
    ),
];

/// Judges a call by its head.
pub fn permit(scope: &ScopeSet, call: Call<'_>) -> Result<Judgement, InsufficientScope> {
    let name = call.nsid.as_str();
    if let Some(service) = call.proxy {
        return require(scope.allows_rpc(call.nsid, service), || {
            format!("rpc:{name}?aud={service}")
        });
    }
    if WRITES.contains(&name) {
        return Ok(Judgement::NeedsBody);
    }
    if OPEN.contains(&name)
        || name.starts_with("com.atproto.sync.get")
        || name.starts_with("com.atproto.sync.list")
    {
        return require(true, String::new);
    }
    if name == "com.atproto.repo.uploadBlob" {
        let media_type = call.content_type.unwrap_or("*/*");
        return require(scope.allows_blob(media_type), || {
            format!("blob:{media_type}")
        });
    }
    if name == "com.atproto.server.getServiceAuth" {
        return service_auth(scope, call.query.unwrap_or_default());
    }
    if let Some((_, needs)) = MANAGES.iter().find(|(method, _)| *method == name) {
        return match needs {
            Needs::Account(attr, manage) => require(scope.allows_account(*attr, *manage), || {
                format!("account:{}?action=manage", attr.as_str())
            }),
            Needs::Identity(attr) => require(scope.allows_identity(*attr), || {
                format!("identity:{}", attr.as_str())
            }),
        };
    }
    // Without `atproto-proxy` the PDS chooses the service, so the audience is its to judge; the
    // method must be in some `rpc:` scope at least.
    require(allows_method(scope, call.nsid), || format!("rpc:{name}"))
}

/// Judges a write by its body (`application/json`).
pub fn permit_write(
    scope: &ScopeSet,
    nsid: &Nsid,
    body: &[u8],
) -> Result<XrpcPermit, WriteRefusal> {
    for (collection, action) in writes(nsid.as_str(), body).ok_or(WriteRefusal::Body)? {
        if !scope.allows_repo(&collection, action) {
            let missing = format!("repo:{collection}?action={}", action.as_str());
            return Err(InsufficientScope(missing).into());
        }
    }
    Ok(XrpcPermit(()))
}

/// `com.atproto.server.getServiceAuth`: a token for calling `lxm` at `aud`.
fn service_auth(scope: &ScopeSet, query: &str) -> Result<Judgement, InsufficientScope> {
    let value = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let aud = value("aud").unwrap_or_default();
    let lxm = value("lxm");
    let allowed = match lxm.as_deref().map(Nsid::parse) {
        Some(Ok(lxm)) => scope.allows_rpc(&lxm, &aud),
        // A token for every method is what only the broad scope allows.
        None => scope.contains(&Scope::Transition(Transition::Generic)),
        Some(Err(_)) => false,
    };
    require(allowed, || {
        format!("rpc:{}?aud={aud}", lxm.as_deref().unwrap_or("*"))
    })
}

fn allows_method(scope: &ScopeSet, nsid: &Nsid) -> bool {
    scope.iter().any(|it| match it {
        Scope::Rpc(rpc) => rpc.methods().has(nsid),
        // What a published set holds is for the PDS to know.
        Scope::Include(_) => true,
        _ => false,
    }) || scope.allows_rpc(nsid, "*")
}

fn require(
    allowed: bool,
    missing: impl FnOnce() -> String,
) -> Result<Judgement, InsufficientScope> {
    if allowed {
        Ok(Judgement::Allowed(XrpcPermit(())))
    } else {
        Err(InsufficientScope(missing()))
    }
}

/// What a write touches; `None` if the body is not a call of the method.
fn writes(method: &str, body: &[u8]) -> Option<Vec<(Nsid, RepoAction)>> {
    #[derive(Deserialize)]
    struct One {
        collection: String,
    }
    #[derive(Deserialize)]
    struct Many {
        writes: Vec<Write>,
    }
    #[derive(Deserialize)]
    struct Write {
        #[serde(rename = "$type")]
        kind: String,
        collection: String,
    }
    let one = |actions: &[RepoAction]| {
        let call: One = serde_json::from_slice(body).ok()?;
        let collection = Nsid::parse(&call.collection).ok()?;
        Some(
            actions
                .iter()
                .map(|action| (collection.clone(), *action))
                .collect(),
        )
    };
    match method {
        "com.atproto.repo.createRecord" => one(&[RepoAction::Create]),
        // It creates or replaces, whatever is there.
        "com.atproto.repo.putRecord" => one(&[RepoAction::Create, RepoAction::Update]),
        "com.atproto.repo.deleteRecord" => one(&[RepoAction::Delete]),
        _ => {
            let many: Many = serde_json::from_slice(body).ok()?;
            many.writes
                .iter()
                .map(|write| {
                    let action = match write.kind.rsplit_once('#')?.1 {
                        "create" => RepoAction::Create,
                        "update" => RepoAction::Update,
                        "delete" => RepoAction::Delete,
                        _ => return None,
                    };
                    Some((Nsid::parse(&write.collection).ok()?, action))
                })
                .collect()
        }
    }
}
