//! The one way from a request to an answer: id, method, body limit, handler, error format, headers,
//! one log line, metrics. A panic anywhere in it is a 500 without detail.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aip_base::random_token;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use strum::IntoEnumIterator as _;
use tracing::Instrument as _;

use crate::api_error::ApiError;
use crate::base_path;
use crate::endpoint::{BODY_LIMIT, Endpoint, ErrorFormat, Payload, Spec};
use crate::endpoints::dispatch;
use crate::headers;
use crate::host;
use crate::incoming_request::IncomingRequest;
use crate::request_line::RequestLine;
use crate::respond::see_other;
use crate::state::AppState;

/// How long a form or JSON may take to arrive, so that slow senders cannot hold all connections.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

const FORM_TYPE: &str = "application/x-www-form-urlencoded";
const JSON_TYPE: &str = "application/json";

/// The router of the public listener.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::iter().filter(|it| app.mounts(*it)) {
        let handler = move |State(app): State<AppState>, mut request: Request| async move {
            let spec = endpoint.spec();
            base_path::strip(app.issuer().base().path(), endpoint, &mut request);
            if spec.inert || spec.payload == Payload::Stream {
                serve(&app, Some(endpoint), request).await
            } else {
                serve_to_completion(app, endpoint, request).await
            }
        };
        for path in base_path::paths(app.issuer().base().path(), endpoint) {
            router = router.route(&path, any(handler));
        }
    }
    router
        .fallback(|State(app): State<AppState>, request: Request| async move {
            serve(&app, None, request).await
        })
        .with_state(app)
}

/// Answers a request that changes something in a task of its own. The server drops what it does for
/// a client that closes the connection, and a sign-in that is dropped between two of its steps has
/// spent its `state` and its code for nothing and leaves a session at the PDS that nobody keeps.
/// The task is among [`Parts::handlers`](crate::Parts::handlers), which a shutdown waits for.
async fn serve_to_completion(app: AppState, endpoint: Endpoint, request: Request) -> Response {
    let handlers = app.parts().handlers.clone();
    let work = handlers.spawn(async move { serve(&app, Some(endpoint), request).await });
    // Panics become an answer in `serve`; what is left is that the process ends.
    work.await
        .unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

/// Answers a request; `endpoint` is `None` for a path that is not mounted.
async fn serve(app: &AppState, endpoint: Option<Endpoint>, request: Request) -> Response {
    let id = random_token::<9>(&*app.server().rng);
    let line = RequestLine::begin(app, id, endpoint, &request);
    let proxies = &app.parts().proxies;
    proxies.warn_of_untrusted_proxy(request.extensions(), request.headers());
    let spec = endpoint.map(Endpoint::spec);
    let format = spec.map_or_else(|| preferred(app, &request), |spec| spec.errors);
    // In a box, as it is large and each of its wrappers would hold it anew.
    let answer = Box::pin(answer(app, endpoint, request));
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let work = line.notes().during(answer).instrument(line.span());
    let answer = work
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("a handler panicked")));
    let mut response =
        answer.unwrap_or_else(|problem| problem.into_response(format, app.brand(), &line.id));
    if format == ErrorFormat::Page {
        response = base_path::add(app, response).await;
    }
    headers::finish(&mut response, spec.as_ref(), app.is_https(), &line.id);
    line.end(&response);
    response
}

async fn answer(
    app: &AppState,
    endpoint: Option<Endpoint>,
    request: Request,
) -> Result<Response, ApiError> {
    let Some(endpoint) = endpoint else {
        return Err(ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing at this address.",
        ));
    };
    let spec = endpoint.spec();
    if request.method() == Method::OPTIONS {
        return Ok(headers::options(&spec));
    }
    if !spec.allows_method(request.method()) {
        return Err(ApiError::caller(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            "This address does not take this method.",
        )
        .with(ALLOW, &spec.allow()));
    }
    // What streams through is answered by whoever it is for, and there `HEAD` has no effect either.
    if request.method() == Method::HEAD && !spec.inert && spec.payload != Payload::Stream {
        return Ok(headers::head(&spec));
    }
    if let Some(location) = host::canonical(app, &spec, &request) {
        return Ok(see_other(&location));
    }
    let (incoming, stream) = receive(&spec, request).await?;
    if !spec.clients {
        return dispatch(endpoint, app, &incoming, stream).await;
    }
    // Whoever proves itself is let in, whatever others did from the same address: only failures
    // are counted, and once there are too many, answered with 429.
    let answer = dispatch(endpoint, app, &incoming, stream).await;
    if let Err(problem) = &answer
        && problem.is_failed_authentication()
    {
        app.count_failure(&incoming, problem.claimed_client())
            .await?;
    }
    answer
}

/// Reads what the endpoint takes, within its limit; what streams is left to the handler.
async fn receive(spec: &Spec, request: Request) -> Result<(IncomingRequest, Body), ApiError> {
    let (head, body) = request.into_parts();
    let has_body = head.method == Method::POST || head.method == Method::PUT;
    let mut incoming = IncomingRequest {
        head,
        form: Bytes::new(),
        json: Bytes::new(),
    };
    match spec.payload {
        Payload::Stream => return Ok((incoming, body)),
        Payload::Form if has_body => {
            incoming.form = read_body(incoming.headers(), body, FORM_TYPE).await?;
        }
        Payload::Json if has_body => {
            incoming.json = read_body(incoming.headers(), body, JSON_TYPE).await?;
        }
        Payload::Form | Payload::Json | Payload::Nothing => {}
    }
    Ok((incoming, Body::empty()))
}

async fn read_body(
    headers: &HeaderMap,
    body: Body,
    expected_type: &str,
) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, BODY_LIMIT).collect();
    let collected = tokio::time::timeout(BODY_TIMEOUT, collected)
        .await
        .map_err(|_| {
            ApiError::caller(
                StatusCode::REQUEST_TIMEOUT,
                "invalid_request",
                "The request came too slowly.",
            )
        })?;
    let body = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::caller(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request",
                "The request is too large.",
            )
        } else {
            ApiError::request("The request broke off.")
        }
    })?;
    let body = body.to_bytes();
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !body.is_empty() && !media_type.eq_ignore_ascii_case(expected_type) {
        return Err(ApiError::request(format!(
            "The body must be {expected_type}."
        )));
    }
    Ok(body)
}

/// A page for those who ask for one, where the path does not tell.
fn preferred(app: &AppState, request: &Request) -> ErrorFormat {
    let path = request.uri().path();
    let below = path.strip_prefix(app.issuer().base().path());
    if below.unwrap_or(path).starts_with("/xrpc/") {
        return ErrorFormat::Xrpc;
    }
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        ErrorFormat::Page
    } else {
        ErrorFormat::OAuth
    }
}
