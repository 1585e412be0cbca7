//! `/internal/api/permissions`: an array like a JSON Patch (RFC 6902) of who may act for the account of the
//! token. It works on the delegations of the account page: `test` tells of one, `remove` takes it back. A
//! new one, or another choice, is for the owner to give there, as they have to sign in at their host for
//! it; so `add` and `replace` say so, unless the delegation is as it is wanted.

use std::collections::BTreeMap;

use aip_atproto::Did;
use aip_base::RowId;
use aip_storage::delegation::DelegationPreset;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator as _;

use super::{names, require_own_account};
use crate::api_error::ApiError;
use crate::bearer::{authorize, with_nonce};
use crate::endpoint::Endpoint;
use crate::endpoints::delegations;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The most operations of one request.
const MAX_OPERATIONS: usize = 100;

/// An operation as v1 took it.
#[derive(Deserialize)]
struct PatchOperation {
    op: Op,
    /// `/` and the DID of the delegate.
    path: String,
    /// The place of the choice on the account page, from 1.
    value: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Test,
    Add,
    Replace,
    Remove,
}

/// What a `test` found.
#[derive(Serialize)]
struct Found {
    path: String,
    value: usize,
}

/// A checked operation.
#[derive(Debug, PartialEq, Eq)]
struct Operation {
    op: Op,
    path: String,
    delegate: Did,
    preset: Option<DelegationPreset>,
}

/// Live delegations of an owner.
type Live = BTreeMap<Did, (RowId, DelegationPreset)>;

/// Answers what the tests found, after all operations were done in their order; if one may not be done, none
/// is.
pub(in crate::endpoints) async fn permissions(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let answer = patch(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn patch(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let authorized = authorize(app, incoming, Endpoint::V1Permissions.spec().path).await?;
    let grant = &authorized.token().grant;
    require_own_account(incoming, grant)?;
    if grant.client_id != names(app)?.client {
        let words = "permissions are for the client of compat.v1_client";
        return Err(ApiError::caller(
            StatusCode::FORBIDDEN,
            "access_denied",
            words,
        ));
    }
    let owner = &grant.subject;
    let operations = parse(&incoming.json, owner)?;
    let mut live = Live::new();
    for status in app.storage().delegations_of(owner, app.now()).await? {
        let delegation = status.delegation;
        live.insert(delegation.delegate, (delegation.id, delegation.preset));
    }
    let plan = plan(operations, live).map_err(|delegate| {
        let page = Endpoint::Account.url(app.issuer().base());
        let words = format!(
            "the owner lets {delegate} act for the account at {page}, where they sign in for it"
        );
        ApiError::caller(StatusCode::FORBIDDEN, "consent_required", words)
    })?;
    for id in plan.ended {
        delegations::end(app, owner, id).await?;
    }
    Ok(Json(plan.found).into_response())
}

/// What a request does.
#[derive(Default)]
struct Plan {
    found: Vec<Found>,
    ended: Vec<RowId>,
}

fn parse(json: &[u8], owner: &Did) -> Result<Vec<Operation>, ApiError> {
    let operations: Vec<PatchOperation> = serde_json::from_slice(json).map_err(|error| {
        ApiError::request(format!("the body is no array of operations: {error}"))
    })?;
    if operations.len() > MAX_OPERATIONS {
        let words = format!("there may be {MAX_OPERATIONS} operations");
        return Err(ApiError::request(words));
    }
    let checked = operations.into_iter().map(|it| check(it, owner));
    checked.collect()
}

fn check(operation: PatchOperation, owner: &Did) -> Result<Operation, ApiError> {
    let PatchOperation { op, path, value } = operation;
    let delegate = path.strip_prefix('/').and_then(|it| Did::parse(it).ok());
    let delegate = delegate.ok_or_else(|| {
        ApiError::request("the path of an operation is `/` and the DID of the delegate")
    })?;
    if delegate == *owner {
        return Err(ApiError::request("nobody needs a permission of themselves"));
    }
    let presets = DelegationPreset::iter().count();
    let preset = match value {
        None => None,
        Some(value) => {
            let preset = value
                .checked_sub(1)
                .and_then(|it| DelegationPreset::iter().nth(it));
            Some(preset.ok_or_else(|| {
                ApiError::request(format!("the value of an operation is 1 to {presets}"))
            })?)
        }
    };
    if preset.is_none() && matches!(op, Op::Add | Op::Replace) {
        let words = "`add` and `replace` need a value";
        return Err(ApiError::request(words));
    }
    Ok(Operation {
        op,
        path,
        delegate,
        preset,
    })
}

/// What the operations do to these delegations, one after the other; the error is the delegate of one that
/// the owner has to give themselves.
fn plan(operations: Vec<Operation>, mut live: Live) -> Result<Plan, Did> {
    let mut plan = Plan::default();
    for Operation {
        op,
        path,
        delegate,
        preset,
    } in operations
    {
        match op {
            Op::Test => {
                let found = live.get(&delegate).map(|(_, found)| *found);
                let wanted = found.filter(|it| preset.is_none_or(|preset| preset == *it));
                if let Some(preset) = wanted {
                    let value = value_of(preset);
                    plan.found.push(Found { path, value });
                }
            }
            Op::Add | Op::Replace => {
                let found = live.get(&delegate).map(|(_, found)| *found);
                if found != preset {
                    return Err(delegate);
                }
            }
            Op::Remove => plan.ended.extend(live.remove(&delegate).map(|(id, _)| id)),
        }
    }
    Ok(plan)
}

/// The place of a choice on the account page, from 1.
fn value_of(preset: DelegationPreset) -> usize {
    DelegationPreset::iter()
        .take_while(|it| *it != preset)
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:web:{name}.example")).unwrap()
    }

    fn parsed(json: &str) -> Result<Vec<Operation>, ApiError> {
        parse(json.as_bytes(), &did("owner"))
    }

    #[test]
    fn an_operation_names_a_delegate_and_a_choice() {
        let found = parsed(
            r#"[{"op":"add","path":"/did:web:bob.example","value":1},
                {"op":"test","path":"/did:web:bob.example","value":4},
                {"op":"remove","path":"/did:web:eve.example"}]"#,
        )
        .unwrap();
        let presets: Vec<_> = found.iter().map(|it| it.preset).collect();
        let expected = [
            Some(DelegationPreset::Posts),
            Some(DelegationPreset::Everything),
            None,
        ];
        assert_eq!(presets, expected);
        assert!(parsed("[]").unwrap().is_empty());
        let many = format!(
            "[{}]",
            vec![r#"{"op":"test","path":"/did:web:a.example"}"#; 101].join(",")
        );
        for json in [
            "",
            "{}",
            "[1]",
            r#"{"op":"test","path":"/did:web:bob.example"}"#,
            r#"[{"op":"copy","path":"/did:web:bob.example"}]"#,
            r#"[{"op":"test"}]"#,
            r#"[{"op":"test","path":"did:web:bob.example"}]"#,
            r#"[{"op":"test","path":"/bob.example"}]"#,
            r#"[{"op":"test","path":"/"}]"#,
            r#"[{"op":"add","path":"/did:web:bob.example"}]"#,
            r#"[{"op":"add","path":"/did:web:bob.example","value":0}]"#,
            r#"[{"op":"add","path":"/did:web:bob.example","value":5}]"#,
            r#"[{"op":"add","path":"/did:web:bob.example","value":-1}]"#,
            r#"[{"op":"add","path":"/did:web:bob.example","value":"1"}]"#,
            r#"[{"op":"add","path":"/did:web:owner.example","value":1}]"#,
            &many,
        ] {
            assert!(parsed(json).is_err(), "{json}");
        }
    }

    #[test]
    fn operations_see_what_those_before_them_did() {
        let id: RowId = "01890000-0000-7000-8000-000000000001".parse().unwrap();
        let live = || Live::from([(did("bob"), (id, DelegationPreset::Posts))]);
        let of = |json: &str| plan(parsed(json).unwrap(), live());
        let (bob, eve) = ("/did:web:bob.example", "/did:web:eve.example");
        let json = format!(
            r#"[{{"op":"test","path":"{bob}"}},{{"op":"test","path":"{bob}","value":2}},
                {{"op":"replace","path":"{bob}","value":1}},{{"op":"remove","path":"{eve}"}},
                {{"op":"remove","path":"{bob}"}},{{"op":"remove","path":"{bob}"}},
                {{"op":"test","path":"{bob}"}}]"#
        );
        let done = of(&json).ok().unwrap();
        assert_eq!(done.ended, [id]);
        assert_eq!(done.found.len(), 1);
        assert_eq!((done.found[0].path.as_str(), done.found[0].value), (bob, 1));
        for json in [
            format!(r#"[{{"op":"add","path":"{bob}","value":2}}]"#),
            format!(r#"[{{"op":"add","path":"{eve}","value":1}}]"#),
            format!(
                r#"[{{"op":"remove","path":"{bob}"}},{{"op":"add","path":"{bob}","value":1}}]"#
            ),
        ] {
            assert!(of(&json).is_err(), "{json}");
        }
    }
}
