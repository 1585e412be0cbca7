//! A browser: keeps its cookies, fills in forms, and stops where a redirect leaves AIP.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderName, Request};

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
    pub(crate) fn cookie(&self) -> Option<String> {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Another browser's cookies, besides its own.
    pub(crate) fn set_cookie(&mut self, cookies: &str) {
        for pair in cookies.split("; ") {
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
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
        self.post_with(path, form, Vec::new()).await
    }

    pub(crate) async fn post_with(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
        mut headers: Vec<(HeaderName, String)>,
    ) -> Answer {
        if let Some(cookie) = self.cookie() {
            headers.push((http::header::COOKIE, cookie));
        }
        let answer = self.world.send(form_request(path, form, &headers)).await;
        self.keep_cookie(&answer);
        answer
    }

    /// Follows redirects as long as they stay at AIP; the PDS signs in at once.
    pub(crate) async fn follow(&mut self, mut answer: Answer) -> Answer {
        for _ in 0..6 {
            let Some(location) = answer.headers.get("location") else {
                return answer;
            };
            let location = location.to_str().unwrap().to_owned();
            if let Some(query) = location.strip_prefix("https://pds.example/authorize?") {
                answer = self.get(&format!("/oauth/atp/callback?{query}")).await;
            } else if location.starts_with('/') {
                answer = self.get(&location).await;
            } else {
                return answer;
            }
        }
        panic!("no end of redirects");
    }

    /// Fills in the sign-in page and follows to the page after it.
    pub(crate) async fn sign_in(&mut self, page: &Answer, subject: &str) -> Answer {
        let submitted = self.submit_login(page, "subject", subject).await;
        self.follow(submitted).await
    }

    /// Fills in the sign-in page.
    pub(crate) async fn submit_login(&mut self, page: &Answer, name: &str, value: &str) -> Answer {
        assert!(page.body.contains("<form id=\"login\""), "{}", page.body);
        let csrf = hidden(page, "csrf");
        let request = hidden(page, "request");
        let mut form = vec![("csrf", csrf.as_str()), (name, value)];
        if !request.is_empty() {
            form.push(("request", &request));
        }
        self.post("/login", &form).await
    }

    /// Answers the consent page.
    pub(crate) async fn decide(&mut self, page: &Answer, decision: &str) -> Answer {
        assert!(page.body.contains("<form id=\"consent\""), "{}", page.body);
        let csrf = hidden(page, "csrf");
        let request = hidden(page, "request");
        let form = [
            ("csrf", csrf.as_str()),
            ("request", &request),
            ("decision", decision),
        ];
        self.post("/consent", &form).await
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
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let start = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
    let rest = page.body.split_once(&start).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or("").to_owned()
}
