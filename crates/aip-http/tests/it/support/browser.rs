//! A browser: keeps its cookies and fills in the sign-in page.

use std::collections::BTreeMap;

use axum::body::Body;
use http::Request;

use super::{Answer, World, form_request};

/// A browser.
pub(crate) struct Browser<'w> {
    world: &'w World,
    cookies: BTreeMap<String, String>,
}

impl<'w> Browser<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            cookies: BTreeMap::new(),
        }
    }

    /// The cookies, as the browser sends them.
    fn cookie(&self) -> Option<String> {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        if let Some(cookie) = self.cookie() {
            let cookie = cookie.parse().unwrap();
            request.headers_mut().insert("cookie", cookie);
        }
        let answer = self.world.send(request).await;
        self.keep_cookie(&answer);
        answer
    }

    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut headers = Vec::new();
        if let Some(cookie) = self.cookie() {
            headers.push((http::header::COOKIE, cookie));
        }
        let answer = self.world.send(form_request(path, form, &headers)).await;
        self.keep_cookie(&answer);
        answer
    }

    /// Fills in the sign-in page.
    pub(crate) async fn submit_login(&mut self, page: &Answer, subject: &str) -> Answer {
        assert!(page.body.contains("<form id=\"login\""), "{}", page.body);
        let csrf = hidden(page, "csrf");
        let request = hidden(page, "request");
        let mut form = vec![("csrf", csrf.as_str()), ("subject", subject)];
        if !request.is_empty() {
            form.push(("request", &request));
        }
        self.post("/login", &form).await
    }

    fn keep_cookie(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The value of a hidden input.
fn hidden(page: &Answer, name: &str) -> String {
    let start = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
    let rest = page.body.split_once(&start).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or("").to_owned()
}
