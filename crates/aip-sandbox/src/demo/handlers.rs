//! What the demo does when a button is pressed.

use std::sync::Arc;

use aip_base::random_token;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Demo;
use super::pages::{Account, Post, Welcome, render};
use super::provider::{Claims, ProviderError, Tokens};
use super::sessions::Session;

const COOKIE_NAME: &str = "demo";
const COLLECTION: &str = "app.bsky.feed.post";

#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(default)]
    handle: String,
}

#[derive(Deserialize)]
pub(super) struct Callback {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NewPost {
    text: String,
}

pub(super) async fn home(State(demo): State<Arc<Demo>>, headers: HeaderMap) -> Response {
    let Some(cookie) = cookie(&headers) else {
        return demo.welcome(None);
    };
    match demo.signed_in(cookie).await {
        Ok(Some((claims, tokens))) => demo.account(&claims, &tokens, None).await,
        Ok(None) => demo.welcome(None),
        Err(error) => demo.failed(cookie, &error),
    }
}

pub(super) async fn sign_in(State(demo): State<Arc<Demo>>, Form(form): Form<SignIn>) -> Response {
    let state = random_token::<16>(&*demo.rng);
    let verifier = random_token::<32>(&*demo.rng);
    let url = demo
        .provider
        .authorization_url(&state, &verifier, form.handle.trim())
        .await;
    match url {
        Ok(url) => {
            // A new name for the session at each sign-in, so that nobody can fix it beforehand.
            let cookie = random_token::<32>(&*demo.rng);
            demo.sessions
                .put(&cookie, Session::SigningIn { state, verifier });
            let set = format!("{COOKIE_NAME}={cookie}; Path=/; HttpOnly; SameSite=Lax");
            (AppendHeaders([(SET_COOKIE, set)]), Redirect::to(&url)).into_response()
        }
        Err(error) => demo.welcome(Some(&error.to_string())),
    }
}

pub(super) async fn callback(
    State(demo): State<Arc<Demo>>,
    headers: HeaderMap,
    Query(query): Query<Callback>,
) -> Response {
    let cookie = cookie(&headers).unwrap_or_default();
    let Some(Session::SigningIn { state, verifier }) = demo.sessions.take(cookie) else {
        return demo.welcome(Some("This sign-in was not begun in this browser."));
    };
    if query.state.as_deref() != Some(state.as_str())
        || query
            .iss
            .as_deref()
            .is_some_and(|iss| iss != demo.provider.issuer())
    {
        return demo.welcome(Some("This answer belongs to another sign-in."));
    }
    let Some(code) = query.code else {
        let error = query.error_description.or(query.error).unwrap_or_default();
        return demo.welcome(Some(&format!("Nobody was signed in: {error}")));
    };
    match demo.finish_sign_in(&code, &verifier).await {
        Ok(session) => {
            demo.sessions.put(cookie, session);
            Redirect::to("/").into_response()
        }
        Err(error) => demo.welcome(Some(&error.to_string())),
    }
}

pub(super) async fn post(
    State(demo): State<Arc<Demo>>,
    headers: HeaderMap,
    Form(form): Form<NewPost>,
) -> Response {
    let cookie = cookie(&headers).unwrap_or_default();
    let (claims, tokens) = match demo.signed_in(cookie).await {
        Ok(Some(signed_in)) => signed_in,
        Ok(None) => return Redirect::to("/").into_response(),
        Err(error) => return demo.failed(cookie, &error),
    };
    match demo.write(&claims, &tokens, &form.text).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => {
            demo.account(&claims, &tokens, Some(&error.to_string()))
                .await
        }
    }
}

pub(super) async fn sign_out(State(demo): State<Arc<Demo>>, headers: HeaderMap) -> Response {
    let session = demo.sessions.take(cookie(&headers).unwrap_or_default());
    if let Some(Session::SignedIn { tokens, .. }) = session
        && let Err(error) = demo.provider.revoke(&tokens).await
    {
        tracing::warn!(%error, "token revocation after sign-out failed");
    }
    Redirect::to("/").into_response()
}

impl Demo {
    async fn finish_sign_in(&self, code: &str, verifier: &str) -> Result<Session, ProviderError> {
        let tokens = self.provider.exchange(code, verifier).await?;
        let claims = self.provider.userinfo(&tokens).await?;
        Ok(Session::SignedIn { claims, tokens })
    }

    /// Who is signed in, with tokens that work for a while.
    async fn signed_in(&self, cookie: &str) -> Result<Option<(Claims, Tokens)>, ProviderError> {
        let Some(Session::SignedIn { claims, tokens }) = self.sessions.get(cookie) else {
            return Ok(None);
        };
        let tokens = self.provider.fresh(tokens).await?;
        let session = Session::SignedIn {
            claims: claims.clone(),
            tokens: tokens.clone(),
        };
        self.sessions.put(cookie, session);
        Ok(Some((claims, tokens)))
    }

    async fn write(
        &self,
        claims: &Claims,
        tokens: &Tokens,
        text: &str,
    ) -> Result<(), ProviderError> {
        let micros = self.clock.now().as_micros();
        let created_at = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
        let input = json!({
            "repo": claims.sub,
            "collection": COLLECTION,
            "record": {
                "$type": COLLECTION,
                "text": text,
                "createdAt": created_at.to_string(),
            },
        });
        self.provider
            .procedure(tokens, "com.atproto.repo.createRecord", &input)
            .await?;
        Ok(())
    }

    async fn posts(&self, claims: &Claims, tokens: &Tokens) -> Result<Vec<Post>, ProviderError> {
        let query = [
            ("repo", claims.sub.as_str()),
            ("collection", COLLECTION),
            ("limit", "10"),
        ];
        let query = serde_urlencoded::to_string(query).unwrap_or_default();
        let call = format!("com.atproto.repo.listRecords?{query}");
        let list = self.provider.query(tokens, &call).await?;
        let records = list["records"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let post = |record: &Value| Post {
            text: text(&record["value"]["text"]),
            uri: text(&record["uri"]),
        };
        Ok(records.map(post).collect())
    }

    async fn account(&self, claims: &Claims, tokens: &Tokens, problem: Option<&str>) -> Response {
        let (posts, problem) = match self.posts(claims, tokens).await {
            Ok(posts) => (posts, problem.map(str::to_owned)),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let page = Account {
            claims,
            posts: &posts,
            problem: problem.as_deref(),
        };
        render(StatusCode::OK, &page)
    }

    fn welcome(&self, problem: Option<&str>) -> Response {
        let status = if problem.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        render(
            status,
            &Welcome {
                issuer: self.provider.issuer(),
                problem,
            },
        )
    }

    fn failed(&self, cookie: &str, error: &ProviderError) -> Response {
        if error.ends_session() {
            self.sessions.take(cookie);
        }
        self.welcome(Some(&error.to_string()))
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get(COOKIE)?.to_str().ok()?.split(';');
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}
