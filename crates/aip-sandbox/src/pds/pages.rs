//! The pages of the authorization endpoint: plain HTML that works without scripts.

use askama::Template;
use http::StatusCode;

use super::accounts::Account;
use super::par::Pending;
use crate::stage::reply::Reply;

#[derive(Template)]
#[template(path = "pds/sign_in.html")]
struct SignIn<'a> {
    issuer: &'a str,
    client: &'a str,
    request_uri: &'a str,
    csrf: &'a str,
    login_hint: Option<&'a str>,
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "pds/consent.html")]
struct Consent<'a> {
    handle: &'a str,
    client: &'a str,
    request_uri: &'a str,
    csrf: &'a str,
    scope: Vec<&'a str>,
}

#[derive(Template)]
#[template(path = "pds/refusal.html")]
struct Refusal<'a> {
    why: &'a str,
}

pub(crate) fn sign_in(
    issuer: &str,
    request_uri: &str,
    pending: &Pending,
    problem: Option<&str>,
) -> Reply {
    let page = SignIn {
        issuer,
        client: &pending.parameters.client.label,
        request_uri,
        csrf: &pending.csrf,
        login_hint: pending.parameters.login_hint.as_deref(),
        problem,
    };
    render(StatusCode::OK, &page)
}

pub(crate) fn consent(request_uri: &str, pending: &Pending, account: &Account) -> Reply {
    let scope = pending.parameters.scope.iter().map(String::as_str);
    let page = Consent {
        handle: account.handle.as_str(),
        client: &pending.parameters.client.label,
        request_uri,
        csrf: &pending.csrf,
        scope: scope.filter(|word| *word != "atproto").collect(),
    };
    render(StatusCode::OK, &page)
}

pub(crate) fn refusal(why: &str) -> Reply {
    render(StatusCode::BAD_REQUEST, &Refusal { why })
}

fn render(status: StatusCode, page: &impl Template) -> Reply {
    match page.render() {
        Ok(html) => Reply::html(status, html),
        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
