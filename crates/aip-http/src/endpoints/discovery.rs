//! Discovery (RFC 8414, OpenID Connect Discovery, RFC 9728) and keys (RFC 7517), generated from
//! the table of endpoints and from the tables of what the authorization server can do.

use aip_jose::Alg;
use aip_oauth::client_auth::ASSERTION_ALGS;
use aip_oauth::client_registration::RegistrationMode;
use aip_oauth::grants::SUPPORTED_GRANTS;
use aip_oauth::id_token::ACR;
use aip_storage::client::{ClientAuthMethod, GrantType, IdTokenAlg};
use aip_storage::prompt::Prompt;
use aip_storage::request::ResponseMode;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use strum::IntoEnumIterator as _;

use crate::endpoint::Endpoint;
use crate::state::AppState;

/// How clients may authenticate where any client may come.
const AUTH_METHODS: [ClientAuthMethod; 4] = [
    ClientAuthMethod::SecretBasic,
    ClientAuthMethod::SecretPost,
    ClientAuthMethod::PrivateKeyJwt,
    ClientAuthMethod::None,
];

/// The claims that ID tokens and userinfo may have.
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "iat",
    "exp",
    "auth_time",
    "acr",
    "nonce",
    "at_hash",
    "sid",
    "preferred_username",
    "name",
    "profile",
    "picture",
    "did",
    "pds_endpoint",
    "email",
    "email_verified",
];

/// One body for both paths.
pub(super) fn authorization_server(app: &AppState) -> Response {
    // They change while the process runs, when the operator adds a key.
    let algs = app.server().signing_algs();
    let body = app.metadata(&algs, || {
        Value::Object(metadata(app, &algs)).to_string().into()
    });
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn metadata(app: &AppState, signing: &[IdTokenAlg]) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("issuer", json!(app.issuer().as_str()));
    for endpoint in Endpoint::iter() {
        let spec = endpoint.spec();
        if let Some(name) = spec.metadata {
            put(name, json!(app.issuer().url(spec.path)));
        }
    }
    if app.server().registration.mode != RegistrationMode::Off {
        let registration = Endpoint::ClientRegistration.url(app.issuer().base());
        put("registration_endpoint", json!(registration));
    }
    if app.server().client_documents.are_taken() {
        put("client_id_metadata_document_supported", json!(true));
    }
    let methods = AUTH_METHODS.map(ClientAuthMethod::as_str);
    let confidential: Vec<_> = methods.iter().filter(|it| **it != "none").collect();
    put(
        "introspection_endpoint_auth_methods_supported",
        json!(confidential),
    );
    put("token_endpoint_auth_methods_supported", json!(methods));
    put("revocation_endpoint_auth_methods_supported", json!(methods));
    let algs: Vec<_> = ASSERTION_ALGS.iter().map(|alg| alg.as_str()).collect();
    for endpoint in ["token", "revocation", "introspection"] {
        let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        put(&name, json!(algs));
    }
    put("scopes_supported", scopes(app));
    put("response_types_supported", json!(["code"]));
    put(
        "response_modes_supported",
        json!(
            ResponseMode::iter()
                .map(ResponseMode::as_str)
                .collect::<Vec<_>>()
        ),
    );
    put(
        "grant_types_supported",
        json!(
            SUPPORTED_GRANTS
                .iter()
                .copied()
                .map(GrantType::as_str)
                .collect::<Vec<_>>()
        ),
    );
    put("code_challenge_methods_supported", json!(["S256"]));
    put(
        "prompt_values_supported",
        json!(Prompt::iter().map(Prompt::as_str).collect::<Vec<_>>()),
    );
    put("subject_types_supported", json!(["public", "pairwise"]));
    let signing: Vec<_> = signing.iter().map(|alg| alg.as_str()).collect();
    for answer in ["id_token", "userinfo", "introspection"] {
        let name = format!("{answer}_signing_alg_values_supported");
        put(&name, json!(signing));
    }
    put(
        "dpop_signing_alg_values_supported",
        json!(Alg::iter().map(Alg::as_str).collect::<Vec<_>>()),
    );
    put(
        "authorization_response_iss_parameter_supported",
        json!(true),
    );
    put(
        "require_pushed_authorization_requests",
        json!(app.server().require_par),
    );
    for channel in ["backchannel", "frontchannel"] {
        put(&format!("{channel}_logout_supported"), json!(true));
        put(&format!("{channel}_logout_session_supported"), json!(true));
    }
    put("request_parameter_supported", json!(false));
    put("request_uri_parameter_supported", json!(false));
    put("claims_parameter_supported", json!(true));
    put("acr_values_supported", json!([ACR]));
    put("display_values_supported", json!(["page"]));
    put("ui_locales_supported", json!(["en"]));
    put("claim_types_supported", json!(["normal"]));
    put("claims_supported", json!(CLAIMS));
    put("protected_resources", json!([app.issuer().as_str()]));
    document
}

/// AIP as a resource server: userinfo and `/xrpc`.
pub(super) fn protected_resource(app: &AppState) -> Response {
    Json(json!({
        "resource": app.issuer().as_str(),
        "authorization_servers": [app.issuer().as_str()],
        "scopes_supported": scopes(app),
        "bearer_methods_supported": ["header", "body"],
        "dpop_signing_alg_values_supported": Alg::iter().map(Alg::as_str).collect::<Vec<_>>(),
        "resource_name": app.brand(),
    }))
    .into_response()
}

/// The public keys that apps verify our tokens with.
pub(super) fn jwks(app: &AppState) -> Response {
    let keys = app.public_keys().oidc;
    ([(CONTENT_TYPE, "application/json")], keys).into_response()
}

fn scopes(app: &AppState) -> Value {
    let scopes = &app.parts().scopes_supported;
    json!(scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
}
