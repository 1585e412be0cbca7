//! `com.atproto.server.getServiceAuth`: a token for calling `lxm` at `aud`, signed by the account
//! (<https://atproto.com/specs/xrpc#inter-service-authentication-jwt>), by the rules of the reference PDS.
//! How long it may live (`exp`) the PDS judges, on the clock that it signs by.

use aip_atproto::{Did, Nsid, Scope, ScopeSet, ServiceRef, Transition};
use url::form_urlencoded;

use crate::methods::{Lookup, look_up};
use crate::permit::{Refusal, require};

/// Methods that no service is called with in the name of an account, whatever the scope: those that
/// manage the account itself (`PROTECTED_METHODS` of the reference PDS).
const PROTECTED: [&str; 16] = [
    "com.atproto.admin.sendEmail",
    "com.atproto.identity.requestPlcOperationSignature",
    "com.atproto.identity.signPlcOperation",
    "com.atproto.identity.updateHandle",
    "com.atproto.server.activateAccount",
    "com.atproto.server.confirmEmail",
    "com.atproto.server.createAppPassword",
    "com.atproto.server.deactivateAccount",
    "com.atproto.server.getAccountInviteCodes",
    "com.atproto.server.getSession",
    "com.atproto.server.listAppPasswords",
    "com.atproto.server.requestAccountDelete",
    "com.atproto.server.requestEmailConfirmation",
    "com.atproto.server.requestEmailUpdate",
    "com.atproto.server.revokeAppPassword",
    "com.atproto.server.updateEmail",
];

/// Why there is no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceTokenRefusal {
    /// 400: the query could be read in two ways.
    #[error("the query may name `aud`, `lxm` and `exp`, each once")]
    Query,
    /// 400: `aud` names no service.
    #[error("`aud` must be a DID, or a DID, `#`, and the id of a service")]
    Audience,
    /// 400: no token is made for the method.
    #[error("there are no service tokens for {0}, which manages the account itself")]
    Protected(Nsid),
}

/// Judges the query of a call, and writes it anew.
pub(crate) fn judge_service_token(scope: &ScopeSet, query: &str) -> Result<String, Refusal> {
    // The PDS judges the query by its own reading of it. So there is nothing in it that could be
    // read in two ways: a repetition, or `lxm[]` for `lxm`.
    let (mut aud, mut lxm, mut exp) = (None, None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let slot = match key.as_ref() {
            "aud" => &mut aud,
            "lxm" => &mut lxm,
            "exp" => &mut exp,
            _ => return Err(ServiceTokenRefusal::Query.into()),
        };
        if slot.replace(value).is_some() {
            return Err(ServiceTokenRefusal::Query.into());
        }
    }
    let method = lxm.as_deref().and_then(|lxm| Nsid::parse(lxm).ok());
    if let Some(method) = &method
        && is_protected(method)
    {
        return Err(ServiceTokenRefusal::Protected(method.clone()).into());
    }
    let allowed = match (aud.as_deref(), &lxm) {
        (Some(aud), Some(_)) => method.as_ref().is_some_and(|method| {
            !matches!(look_up(method), Lookup::Misspelt(_)) && scope.allows_rpc(method, aud)
        }),
        // A token for every method is what only the broad scope allows.
        (Some(_), None) => scope.contains(&Scope::Transition(Transition::Generic)),
        (None, _) => false,
    };
    require(allowed, || match (aud.as_deref(), lxm.as_deref()) {
        (_, None) => Scope::Transition(Transition::Generic).to_string(),
        (aud, Some(lxm)) => {
            let audience = aud.unwrap_or("*").replace('#', "%23");
            format!("rpc:{lxm}?aud={audience}")
        }
    })?;
    if aud.as_deref().is_some_and(|aud| !names_service(aud)) {
        return Err(ServiceTokenRefusal::Audience.into());
    }
    let mut judged = form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("aud", aud), ("lxm", lxm), ("exp", exp)] {
        if let Some(value) = value {
            judged.append_pair(key, &value);
        }
    }
    Ok(judged.finish())
}

fn is_protected(method: &Nsid) -> bool {
    let name = method.as_str();
    PROTECTED.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn names_service(aud: &str) -> bool {
    Did::parse(aud).is_ok() || ServiceRef::parse(aud).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::InsufficientScope;

    /// The query as it is sent, or what refuses it.
    fn judged(scope: &str, query: &str) -> Result<String, Refusal> {
        judge_service_token(&scope.parse().unwrap(), query)
    }

    fn missing(scope: &str, query: &str) -> String {
        match judged(scope, query) {
            Err(Refusal::Scope(InsufficientScope(missing))) => missing,
            other => panic!("{scope}, {query}: {other:?}"),
        }
    }

    const GET: &str = "lxm=com.example.thing.get";

    #[test]
    fn a_token_is_for_what_the_scope_names() {
        let one = "atproto rpc:com.example.thing.get?aud=did:web:a.example%23svc";
        let any = "atproto rpc:com.example.thing.get?aud=*";
        let all_at_one = "atproto rpc:*?aud=did:web:a.example%23svc";
        for (scope, query) in [
            (one, "aud=did:web:a.example%23svc"),
            (any, "aud=did:web:a.example%23svc"),
            (any, "aud=did:web:b.example"),
            (all_at_one, "aud=did:web:a.example%23svc"),
            ("atproto transition:generic", "aud=did:web:b.example"),
        ] {
            let query = format!("exp=1767225600&{GET}&{query}");
            let sent = judged(scope, &query).unwrap();
            let parts: Vec<_> = sent.split('&').map(|it| &it[..4]).collect();
            assert_eq!(parts, ["aud=", "lxm=", "exp="], "{scope}");
        }
        for (scope, query, lacks) in [
            (
                one,
                "aud=did:web:b.example%23svc",
                "rpc:com.example.thing.get?aud=did:web:b.example%23svc",
            ),
            (
                one,
                "aud=did:web:a.example%23other",
                "rpc:com.example.thing.get?aud=did:web:a.example%23other",
            ),
            (
                "atproto",
                "aud=did:web:a.example%23svc",
                "rpc:com.example.thing.get?aud=did:web:a.example%23svc",
            ),
        ] {
            assert_eq!(missing(scope, &format!("{GET}&{query}")), lacks);
        }
        // The letters are those of the lexicon, and chat is not part of the broad scope.
        let generic = "atproto transition:generic";
        missing(any, "aud=did:web:a.example&lxm=com.example.thing.GET");
        missing(
            generic,
            "aud=did:web:a.example&lxm=chat.bsky.convo.listConvos",
        );
        missing(
            generic,
            "aud=did:web:a.example&lxm=com.atproto.repo.createrecord",
        );
    }

    #[test]
    fn a_token_for_every_method_needs_the_broad_scope() {
        let query = "aud=did:web:a.example&exp=1767225600";
        assert_eq!(
            missing("atproto rpc:*?aud=did:web:a.example%23svc", query),
            "transition:generic"
        );
        assert!(judged("atproto transition:generic", query).is_ok());
        assert_eq!(
            missing("atproto transition:generic", ""),
            "transition:generic"
        );
    }

    #[test]
    fn there_is_no_token_for_what_manages_the_account() {
        let everything = "atproto transition:generic transition:chat.bsky identity:* \
             account:email?action=manage account:status?action=manage";
        for method in PROTECTED {
            for lxm in [method.to_owned(), method.to_ascii_uppercase()] {
                let refusal = judged(everything, &format!("aud=did:web:a.example&lxm={lxm}"));
                let protected = Refusal::ServiceToken(ServiceTokenRefusal::Protected(
                    Nsid::parse(&lxm).unwrap(),
                ));
                assert_eq!(refusal, Err(protected));
            }
        }
        let upload = "aud=did:web:video.example&lxm=com.atproto.repo.uploadBlob";
        assert!(judged("atproto transition:generic", upload).is_ok());
    }

    #[test]
    fn an_audience_is_a_did_or_a_service_of_one() {
        let any = "atproto rpc:com.example.thing.get?aud=*";
        for aud in [
            "",
            "x",
            "https://a.example",
            "did:key:z6Mk",
            "did:web:a.example%23",
            "did:web:a.example%23a%23b",
            "did:web:a.example%20did:web:b.example",
            "*",
        ] {
            let refusal = judged(any, &format!("{GET}&aud={aud}"));
            let audience = Refusal::ServiceToken(ServiceTokenRefusal::Audience);
            assert_eq!(refusal, Err(audience), "{aud}");
        }
    }
}
