//! A person's browser: cookies, redirects, forms. At AIP it goes page by page; what happens at the
//! pages of a PDS is the sandbox's visitor.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aip_sandbox::{Decision, Person, Visit, Visitor};
use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use url::Url;

use crate::answer::Answer;
use crate::html::Form;
use crate::world::{BASE, World};

/// A browser with one person in front of it.
pub(crate) struct Browser<'w> {
    world: &'w World,
    cookies: Mutex<BTreeMap<String, String>>,
    elsewhere: Visitor,
    /// Whether the PDS is to remember the account in this browser.
    pub(crate) remembered: bool,
}

/// What the browser shows after a navigation, redirects of AIP followed.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) answer: Answer,
    /// Where AIP sent the browser, away from itself.
    away: Option<Url>,
}

impl<'w> Browser<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            cookies: Mutex::default(),
            elsewhere: Visitor::default(),
            remembered: false,
        }
    }

    /// Goes to an address of AIP, by a link from elsewhere.
    pub(crate) async fn open(&self, url: &str) -> Page {
        let request = Request::get(url).header("sec-fetch-site", "cross-site");
        self.follow(url, request.body(Bytes::new()).unwrap()).await
    }

    /// Sends a form of one of our pages.
    pub(crate) async fn submit(&self, form: Form, button: &str) -> Page {
        let url = format!("{BASE}{}", form.action);
        let request = Request::post(&url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            // Our pages are sent with `Referrer-Policy: no-referrer`.
            .header(ORIGIN, "null")
            .header("sec-fetch-site", "same-origin");
        let body = serde_urlencoded::to_string(form.press(button)).unwrap();
        self.follow(&url, request.body(body.into()).unwrap()).await
    }

    /// Sends any request with the cookies of this browser.
    pub(crate) async fn follow(&self, url: &str, request: Request<Bytes>) -> Page {
        let mut answer = self.send(request).await;
        let mut at = Url::parse(url).unwrap();
        for _ in 0..5 {
            match answer.location(&at) {
                Some(next) if next.as_str().starts_with(BASE) => {
                    let request = Request::get(next.as_str()).body(Bytes::new()).unwrap();
                    answer = self.send(request).await;
                    at = next;
                }
                away => {
                    if let Some(away) = &away {
                        self.learn_from(away);
                    }
                    return Page { answer, away };
                }
            }
        }
        panic!("AIP redirects in a circle, at {at}");
    }

    /// A tab that was opened at the same moment and sends what this browser has now; what it is
    /// given comes to this browser with [`Self::joined_by`].
    pub(crate) fn tab(&self) -> Self {
        let tab = Self::new(self.world);
        *tab.cookies.lock().unwrap() = self.cookies.lock().unwrap().clone();
        tab
    }

    /// Takes over the cookies of a tab.
    pub(crate) fn joined_by(&self, tab: &Self) {
        let theirs = tab.cookies.lock().unwrap().clone();
        self.cookies.lock().unwrap().extend(theirs);
    }

    /// The value of the cookie of AIP's browser session.
    pub(crate) fn session_cookie(&self) -> Option<String> {
        let cookies = self.cookies.lock().unwrap();
        cookies.get("__Host-aip").cloned()
    }

    /// Sends a request with the cookies of this browser, and follows no redirect.
    pub(crate) async fn send(&self, mut request: Request<Bytes>) -> Answer {
        let cookies = self.cookies.lock().unwrap().clone();
        if !cookies.is_empty() {
            let pairs = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let header = pairs.collect::<Vec<_>>().join("; ");
            request
                .headers_mut()
                .insert(COOKIE, header.parse().unwrap());
        }
        let answer = self.world.send(request).await;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            if attributes.contains("Max-Age=0") {
                cookies.remove(name);
                continue;
            }
            self.world.secrets.learn("a cookie", value);
            cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// The codes in redirects are secrets.
    fn learn_from(&self, url: &Url) {
        if let Some(code) = parameter(url, "code") {
            self.world.secrets.learn("a code", &code);
        }
    }

    /// Types who it is into the sign-in page and goes on, to the PDS.
    pub(crate) async fn sign_in_as(&self, page: &Page, subject: &str) -> Page {
        let form = page.form("login").set("subject", subject);
        self.submit(form, "continue").await
    }

    /// Signs in at the PDS and allows AIP everything; returns the address of the callback.
    pub(crate) async fn at_pds(&self, page: &Page, person: &Person) -> Url {
        self.decide_at_pds(page, person, Decision::Authorize).await
    }

    /// The same with another decision.
    pub(crate) async fn decide_at_pds(
        &self,
        page: &Page,
        person: &Person,
        decision: Decision<'_>,
    ) -> Url {
        let visit = Visit {
            person,
            remember: self.remembered,
            decision,
        };
        let callback = self.elsewhere.visit(page.away().as_str(), &visit).await;
        let callback = callback.unwrap();
        self.learn_from(&callback);
        callback
    }

    /// From the sign-in page through the PDS to the next page of AIP.
    pub(crate) async fn sign_in(&self, page: &Page, person: &Person) -> Page {
        let at_pds = self.sign_in_as(page, person.handle.as_str()).await;
        let callback = self.at_pds(&at_pds, person).await;
        self.open(callback.as_str()).await
    }

    /// Presses `Allow` on the consent page; returns where the app is told.
    pub(crate) async fn allow(&self, page: &Page) -> Url {
        self.submit(page.form("consent"), "allow").await.away()
    }

    /// Presses `Do not allow`.
    pub(crate) async fn deny(&self, page: &Page) -> Url {
        self.submit(page.form("consent"), "deny").await.away()
    }
}

impl Page {
    /// The form with that id.
    #[track_caller]
    pub(crate) fn form(&self, id: &str) -> Form {
        Form::by_id(self.answer.text(), id).unwrap_or_else(|| panic!("no form {id}: {self:?}"))
    }

    /// Whether there is a form with that id.
    pub(crate) fn has_form(&self, id: &str) -> bool {
        Form::by_id(self.answer.text(), id).is_some()
    }

    /// Where AIP sent the browser.
    #[track_caller]
    pub(crate) fn away(&self) -> Url {
        let away = self.away.clone();
        away.unwrap_or_else(|| panic!("the browser stayed here: {self:?}"))
    }

    /// Whether the browser is still at AIP.
    pub(crate) fn stayed(&self) -> bool {
        self.away.is_none()
    }
}

/// A parameter of a URL's query.
pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs().filter(|(it, _)| it == name);
    let value = pairs.next().map(|(_, value)| value.into_owned());
    assert!(pairs.next().is_none(), "{name} is there twice");
    value
}
