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
        // The same without a header as with an empty one.
        let media_type = call.content_type.unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let media_type = if media_type.is_empty() {
            "*/*"
        } else {
            media_type
        };
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
    let params: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let named = |name: &str| {
        let named = params.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.as_ref()).collect::<Vec<_>>()
    };
    // The PDS judges the query by its own reading of it. So there is nothing in it that could be
    // read in two ways: a repetition, or `lxm[]` for `lxm`.
    let plain = params
        .iter()
        .all(|(key, _)| ["aud", "lxm", "exp"].contains(&key.as_ref()));
    let (aud, lxm) = (named("aud"), named("lxm"));
    let allowed = match (aud.as_slice(), lxm.as_slice()) {
        ([aud], [lxm]) => Nsid::parse(lxm).is_ok_and(|lxm| scope.allows_rpc(&lxm, aud)),
        // A token for every method is what only the broad scope allows.
        ([_], []) => scope.contains(&Scope::Transition(Transition::Generic)),
        _ => false,
    };
    require(plain && allowed, || {
        if lxm.is_empty() {
            return Scope::Transition(Transition::Generic).to_string();
        }
        let or_any = |values: &[&str]| values.first().copied().unwrap_or("*").to_owned();
        format!("rpc:{}?aud={}", or_any(&lxm), or_any(&aud))
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
        Err(InsufficientScope(askable(&missing())))
    }
}

/// A scope that an app can ask for, and the person be asked about, instead of one that says what
/// was missing in a way that no server understands.
fn askable(missing: &str) -> String {
    match Scope::parse(missing) {
        Scope::Other(_) => Scope::suggestion(missing).unwrap_or_else(|| missing.to_owned()),
        scope => scope.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    fn nsid(text: &str) -> Nsid {
        Nsid::parse(text).unwrap()
    }

    fn allowed(
        granted: &str,
        method: &str,
        query: Option<&str>,
        content_type: Option<&str>,
        proxy: Option<&str>,
    ) -> bool {
        let nsid = nsid(method);
        let call = Call {
            nsid: &nsid,
            query,
            content_type,
            proxy,
        };
        matches!(permit(&scope(granted), call), Ok(Judgement::Allowed(_)))
    }

    fn write_allowed(granted: &str, method: &str, body: &str) -> Result<(), WriteRefusal> {
        permit_write(&scope(granted), &nsid(method), body.as_bytes()).map(drop)
    }

    #[test]
    fn d2_row66_a_write_needs_its_collection_and_action() {
        let post = r#"{"repo":"did:plc:a","collection":"app.bsky.feed.post","record":{}}"#;
        let create = "com.atproto.repo.createRecord";
        assert_eq!(
            write_allowed("atproto transition:generic", create, post),
            Ok(())
        );
        assert_eq!(
            write_allowed("atproto repo:app.bsky.feed.post", create, post),
            Ok(())
        );
        assert_eq!(
            write_allowed(
                "atproto repo:app.bsky.feed.post?action=create",
                create,
                post
            ),
            Ok(())
        );
        for granted in [
            "atproto",
            "atproto repo:app.bsky.feed.like",
            "atproto repo:app.bsky.feed.post?action=delete",
        ] {
            let refusal = write_allowed(granted, create, post);
            assert!(
                matches!(refusal, Err(WriteRefusal::Scope(_))),
                "{granted}: {refusal:?}"
            );
        }
        let only_create = "atproto repo:app.bsky.feed.post?action=create";
        assert!(write_allowed(only_create, "com.atproto.repo.putRecord", post).is_err());
        assert!(write_allowed(only_create, "com.atproto.repo.deleteRecord", post).is_err());
    }

    #[test]
    fn d2_row66_every_write_of_a_batch_is_judged() {
        let batch = r#"{"writes":[
            {"$type":"com.atproto.repo.applyWrites#create","collection":"app.bsky.feed.post","value":{}},
            {"$type":"com.atproto.repo.applyWrites#delete","collection":"app.bsky.feed.like","rkey":"1"}]}"#;
        let method = "com.atproto.repo.applyWrites";
        assert_eq!(
            write_allowed(
                "repo?collection=app.bsky.feed.post&collection=app.bsky.feed.like",
                method,
                batch
            ),
            Ok(())
        );
        assert!(write_allowed("repo:app.bsky.feed.post", method, batch).is_err());
    }

    #[test]
    fn a_body_that_is_no_call_is_refused() {
        for body in [
            "",
            "{",
            "[]",
            r#"{"collection":7}"#,
            r#"{"collection":"x"}"#,
        ] {
            let refusal =
                write_allowed("transition:generic", "com.atproto.repo.createRecord", body);
            assert_eq!(refusal, Err(WriteRefusal::Body), "{body}");
        }
        let unknown = r#"{"writes":[{"$type":"x#upsert","collection":"app.bsky.feed.post"}]}"#;
        assert_eq!(
            write_allowed(
                "transition:generic",
                "com.atproto.repo.applyWrites",
                unknown
            ),
            Err(WriteRefusal::Body)
        );
    }

    #[test]
    fn a_refusal_names_a_scope_that_an_app_can_ask_for() {
        for (method, query, content_type, proxy) in [
            ("app.bsky.feed.getTimeline", None, None, None),
            ("com.example.thing.get", None, None, None),
            (
                "com.example.thing.get",
                None,
                None,
                Some("did:web:a.example#svc"),
            ),
            ("com.example.thing.get", None, None, Some("nonsense")),
            ("com.atproto.repo.uploadBlob", None, None, None),
            (
                "com.atproto.repo.uploadBlob",
                None,
                Some("text/plain; charset=utf-8"),
                None,
            ),
            ("com.atproto.server.updateEmail", None, None, None),
            ("com.atproto.identity.updateHandle", None, None, None),
            (
                "com.atproto.server.getServiceAuth",
                Some("aud=did:web:a.example"),
                None,
                None,
            ),
            (
                "com.atproto.server.getServiceAuth",
                Some("aud=did:web:a.example&lxm=com.example.thing.get"),
                None,
                None,
            ),
        ] {
            let nsid = nsid(method);
            let call = Call {
                nsid: &nsid,
                query,
                content_type,
                proxy,
            };
            let InsufficientScope(missing) = permit(&scope("atproto"), call).unwrap_err();
            let asked = Scope::parse(&missing);
            assert!(!matches!(asked, Scope::Other(_)), "{method}: {missing}");
        }
    }

    #[test]
    fn an_empty_content_type_is_the_same_as_none() {
        let upload = "com.atproto.repo.uploadBlob";
        for none in [None, Some(""), Some("  "), Some(";charset=utf-8")] {
            assert!(allowed("blob:*/*", upload, None, none, None), "{none:?}");
            assert!(
                !allowed("blob:image/*", upload, None, none, None),
                "{none:?}"
            );
        }
        assert!(allowed(
            "blob:image/*",
            upload,
            None,
            Some("image/png"),
            None
        ));
    }

    #[test]
    fn d2_row66_proxied_calls_need_the_method_and_the_audience() {
        let timeline = "app.bsky.feed.getTimeline";
        let appview = Some("did:web:api.bsky.app#bsky_appview");
        let granted = "rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview";
        assert!(allowed(granted, timeline, None, None, appview));
        assert!(!allowed(
            granted,
            timeline,
            None,
            None,
            Some("did:web:evil.example#bsky_appview")
        ));
        assert!(!allowed(
            granted,
            "app.bsky.feed.getFeed",
            None,
            None,
            appview
        ));
        assert!(allowed("transition:generic", timeline, None, None, appview));
        assert!(!allowed(
            "transition:generic",
            "chat.bsky.convo.listConvos",
            None,
            None,
            appview
        ));
        // Without the header the PDS chooses the service and judges the audience.
        assert!(allowed(granted, timeline, None, None, None));
        assert!(!allowed("atproto", timeline, None, None, None));
    }

    #[test]
    fn d2_row66_uploads_service_tokens_and_account_management_need_their_scopes() {
        let upload = "com.atproto.repo.uploadBlob";
        assert!(allowed(
            "blob:image/*",
            upload,
            None,
            Some("image/png"),
            None
        ));
        assert!(!allowed(
            "blob:image/*",
            upload,
            None,
            Some("video/mp4"),
            None
        ));
        assert!(!allowed("blob:image/*", upload, None, None, None));
        let service_auth = "com.atproto.server.getServiceAuth";
        let granted = "rpc:app.bsky.feed.getTimeline?aud=*";
        assert!(allowed(
            granted,
            service_auth,
            Some("aud=did:web:x.org&lxm=app.bsky.feed.getTimeline"),
            None,
            None
        ));
        assert!(!allowed(
            granted,
            service_auth,
            Some("aud=did:web:x.org"),
            None,
            None
        ));
        assert!(!allowed(
            granted,
            service_auth,
            Some("aud=did:web:x.org&lxm=com.atproto.repo.importRepo"),
            None,
            None
        ));
        assert!(allowed(
            "identity:handle",
            "com.atproto.identity.updateHandle",
            None,
            None,
            None
        ));
        assert!(!allowed(
            "transition:generic",
            "com.atproto.identity.signPlcOperation",
            None,
            None,
            None
        ));
        assert!(!allowed(
            "account:email",
            "com.atproto.server.updateEmail",
            None,
            None,
            None
        ));
        assert!(allowed(
            "account:email?action=manage",
            "com.atproto.server.updateEmail",
            None,
            None,
            None
        ));
    }

    #[test]
    fn d2_row63_a_query_that_could_be_read_in_two_ways_opens_no_service() {
        let granted = "rpc:app.bsky.feed.getTimeline?aud=*";
        for extra in [
            "&lxm=com.atproto.repo.importRepo",
            "&aud=did:web:evil.example",
            "&lxm[]=com.atproto.repo.importRepo",
            "&aud%5B%5D=did:web:evil.example",
        ] {
            let query = |extra: &str| {
                format!("aud=did:web:x.org&lxm=app.bsky.feed.getTimeline&exp=1{extra}")
            };
            let judge = |query: &str| {
                let method = "com.atproto.server.getServiceAuth";
                allowed(granted, method, Some(query), None, None)
            };
            assert!(judge(&query("")));
            assert!(!judge(&query(extra)), "{extra}");
        }
    }

    #[test]
    fn what_is_public_is_open_to_every_token() {
        for method in [
            "com.atproto.repo.getRecord",
            "com.atproto.server.getSession",
            "com.atproto.sync.getBlob",
        ] {
            assert!(allowed("atproto", method, None, None, None), "{method}");
        }
    }
}
