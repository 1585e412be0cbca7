//! The demo's two pages.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::provider::Claims;

#[derive(Template)]
#[template(path = "demo/welcome.html")]
pub(super) struct Welcome<'a> {
    pub(super) issuer: &'a str,
    pub(super) problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "demo/account.html")]
pub(super) struct Account<'a> {
    pub(super) claims: &'a Claims,
    pub(super) posts: &'a [Post],
    pub(super) problem: Option<&'a str>,
}

/// A record in the person's repository.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) text: String,
    pub(super) uri: String,
}

pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
