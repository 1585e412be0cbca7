//! A person in front of the pages of a stand-in PDS, without a browser.

use std::collections::HashMap;
use std::sync::Mutex;

use aip_base::{Fetched, Http, HttpError, Limits, lock};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use url::Url;

use crate::pds::Person;
use crate::plain_http::PlainHttp;

/// A person with a browser: cookies are kept, so the PDS may remember the account.
#[derive(Debug, Default)]
pub struct Visitor {
    http: PlainHttp,
    /// Origin to cookie name to value.
    cookies: Mutex<HashMap<String, HashMap<String, String>>>,
}

/// What the person does at the pages.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// Who signs in.
    pub person: &'a Person,
    /// Whether the PDS is to remember the account in this browser.
    pub remember: bool,
    /// What the person says to the consent page.
    pub decision: Decision<'a>,
}

/// What the person says to the consent page.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// All of it.
    Authorize,
    /// Only these scopes; `atproto` cannot be left out.
    AuthorizeOnly(&'a [&'a str]),
    /// Nothing.
    Deny,
}

/// A visit that did not end at a callback.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The URL of a page is none.
    #[error("not a URL: {0}")]
    Url(String),
    /// A page could not be had.
    #[error("no page: {0}")]
    Http(#[from] HttpError),
    /// The PDS showed something else than a form.
    #[error("the PDS answered {status}: {text}")]
    Page {
        /// Its status.
        status: StatusCode,
        /// The text of the page, without markup.
        text: String,
    },
}

/// Signs `person` in at the pages behind `authorize_url` and authorizes everything, in a new
/// browser. Returns the URL that the client is called back at.
///
/// # Errors
/// When the pages do not lead to a callback.
pub async fn approve(authorize_url: &str, person: &Person) -> Result<Url, VisitError> {
    visit_once(authorize_url, person, Decision::Authorize).await
}

/// Like [`approve`], but denies access.
///
/// # Errors
/// When the pages do not lead to a callback.
pub async fn deny(authorize_url: &str, person: &Person) -> Result<Url, VisitError> {
    visit_once(authorize_url, person, Decision::Deny).await
}

async fn visit_once(
    authorize_url: &str,
    person: &Person,
    decision: Decision<'_>,
) -> Result<Url, VisitError> {
    let visit = Visit {
        person,
        remember: false,
        decision,
    };
    Visitor::default().visit(authorize_url, &visit).await
}

impl Visitor {
    /// Goes through the pages behind `authorize_url`. Returns the URL that the client is called
    /// back at, at once when the PDS asks nothing.
    ///
    /// # Errors
    /// When the pages do not lead to a callback.
    pub async fn visit(&self, authorize_url: &str, visit: &Visit<'_>) -> Result<Url, VisitError> {
        let url = parse(authorize_url)?;
        let origin = url.origin().ascii_serialization();
        let mut answer = self.get(&origin, url.as_str()).await?;
        if is_page(&answer, "sign-in") {
            let page = text(&answer);
            let mut form = hidden_fields(&page);
            form.push((
                "username".to_owned(),
                visit.person.handle.as_str().to_owned(),
            ));
            form.push(("password".to_owned(), visit.person.password.clone()));
            if visit.remember {
                form.push(("remember".to_owned(), "true".to_owned()));
            }
            // The account asked for is filled in already and cannot be changed.
            if let Some(hint) = read_only_username(&page) {
                form.retain(|(name, _)| name != "username");
                form.push(("username".to_owned(), hint));
            }
            answer = self
                .post(&origin, "/oauth/authorize/sign-in", &form)
                .await?;
        }
        if is_page(&answer, "consent") {
            let form = consent_form(&text(&answer), visit.decision);
            answer = self
                .post(&origin, "/oauth/authorize/consent", &form)
                .await?;
        }
        match answer
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
        {
            Some(location) => parse(location),
            None => Err(VisitError::Page {
                status: answer.status,
                text: without_markup(&text(&answer)),
            }),
        }
    }

    async fn get(&self, origin: &str, url: &str) -> Result<Fetched, VisitError> {
        let request = Request::get(url).header(COOKIE, self.cookies_for(origin));
        self.fetch(origin, request, Bytes::new()).await
    }

    async fn post(
        &self,
        origin: &str,
        path: &str,
        form: &[(String, String)],
    ) -> Result<Fetched, VisitError> {
        let request = Request::post(format!("{origin}{path}"))
            .header(COOKIE, self.cookies_for(origin))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = serde_urlencoded::to_string(form).unwrap_or_default();
        self.fetch(origin, request, body.into()).await
    }

    async fn fetch(
        &self,
        origin: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Fetched, VisitError> {
        let request = request
            .body(body)
            .map_err(|error| VisitError::Url(error.to_string()))?;
        let fetched = self.http.fetch(request, Limits::DOCUMENT).await?;
        let mut cookies = lock(&self.cookies);
        let jar = cookies.entry(origin.to_owned()).or_default();
        for cookie in fetched.headers.get_all(SET_COOKIE) {
            let pair = cookie
                .to_str()
                .ok()
                .and_then(|cookie| cookie.split(';').next());
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(fetched)
    }

    fn cookies_for(&self, origin: &str) -> String {
        let cookies = lock(&self.cookies);
        let jar = cookies.get(origin).into_iter().flatten();
        jar.map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

fn parse(url: &str) -> Result<Url, VisitError> {
    Url::parse(url).map_err(|_| VisitError::Url(url.to_owned()))
}

fn text(answer: &Fetched) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn is_page(answer: &Fetched, form: &str) -> bool {
    answer.status == StatusCode::OK && text(answer).contains(&format!("<form id=\"{form}\""))
}

fn consent_form(page: &str, decision: Decision<'_>) -> Vec<(String, String)> {
    let mut form = hidden_fields(page);
    let offered = inputs(page).filter(|input| attribute(input, "name").as_deref() == Some("scope"));
    let offered = offered.filter_map(|input| attribute(input, "value"));
    let (answer, kept): (_, Vec<String>) = match decision {
        Decision::Authorize => ("authorize", offered.collect()),
        Decision::AuthorizeOnly(scopes) => (
            "authorize",
            offered
                .filter(|scope| scopes.contains(&scope.as_str()))
                .collect(),
        ),
        Decision::Deny => ("deny", Vec::new()),
    };
    form.extend(kept.into_iter().map(|scope| ("scope".to_owned(), scope)));
    form.push(("decision".to_owned(), answer.to_owned()));
    form
}

fn hidden_fields(page: &str) -> Vec<(String, String)> {
    inputs(page)
        .filter(|input| attribute(input, "type").as_deref() == Some("hidden"))
        .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
        .collect()
}

fn read_only_username(page: &str) -> Option<String> {
    let mut inputs = inputs(page);
    let input =
        inputs.find(|input| input.contains("id=\"username\"") && input.contains("readonly"));
    attribute(input?, "value")
}

/// The `<input …>` tags of a page of ours: attributes are always in double quotes.
fn inputs(page: &str) -> impl Iterator<Item = &str> {
    page.split("<input ")
        .skip(1)
        .filter_map(|rest| rest.split('>').next())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
    let value = tag[start..].split('"').next()?;
    let entities = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ];
    Some(entities.iter().fold(value.to_owned(), |value, (from, to)| {
        value.replace(from, to)
    }))
}

fn without_markup(page: &str) -> String {
    let texts = page
        .split('<')
        .filter_map(|part| part.split_once('>'))
        .map(|(_, text)| text.trim());
    texts
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
