//! A real PDS with its PLC directory and DNS (the lab of the end-to-end stories), and people who go
//! through its pages without a browser, doing what its page's script does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aip_base::{Fetched, Http as _, Limits, Timestamp};
use aip_sandbox::{EndedSession, PlainHttp};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, ORIGIN, REFERER, SET_COOKIE};
use http::request::Builder;
use http::{Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use url::Url;

/// Node.js loads a PDS in seconds.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// The PDS shares a machine that is kept busy.
const SLOW_LIMITS: Limits = Limits {
    deadline: Duration::from_mins(1),
    ..Limits::DOCUMENT
};
const PASSWORD: &str = "correct horse";

/// A running lab; ended on drop.
pub(crate) struct Lab {
    pub(crate) plc: String,
    pub(crate) dns: String,
    pds: String,
    control: String,
    /// Which release of the PDS it is.
    pub(crate) release: String,
    _node: Child,
}

/// How the lab is started.
#[derive(Debug, Clone)]
pub(crate) struct LabProgram {
    /// The program that runs the script.
    pub(crate) node: PathBuf,
    pub(crate) script: PathBuf,
    /// Whether access tokens do live as short as clients are told: then the PDS ends sessions whose
    /// token runs out while it looks at it.
    pub(crate) lifetime_enforced: bool,
    /// The time between the two looks, on top of what it takes anyway.
    pub(crate) row_read: Duration,
}

/// Somebody with an account at the PDS.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) did: String,
    pub(crate) handle: String,
}

/// What the lab says when it is ready.
#[derive(Deserialize)]
struct Ready {
    pds: String,
    plc: String,
    dns: String,
    control: String,
    release: String,
}

/// A session that the PDS ended, as the lab tells.
#[derive(Deserialize)]
struct Ended {
    did: String,
    /// Milliseconds of the Unix epoch.
    at: i64,
    cause: String,
}

#[derive(Deserialize)]
struct CreatedAccount {
    did: String,
}

impl Lab {
    /// Its log is written into `folder`. Clients are told that access tokens live for `token_life`.
    pub(crate) async fn start(
        program: &LabProgram,
        folder: &Path,
        token_life: Duration,
    ) -> Result<Self> {
        let log = folder.join("lab.log");
        let mut node = Command::new(&program.node);
        node.arg(&program.script).env("LAB_HANDLES_IN_DNS", "1");
        node.stdin(Stdio::null()).stdout(Stdio::piped());
        node.stderr(std::fs::File::create(&log)?);
        let mut node = node.kill_on_drop(true).spawn().context("no node")?;
        let output = node.stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(START_DEADLINE, lines.next_line()).await??;
        let line = line.with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the lab ended; its log was:\n{said}")
        })?;
        let ready: Ready = serde_json::from_str(&line)?;
        let lab = Self {
            plc: ready.plc,
            dns: ready.dns,
            pds: ready.pds,
            control: ready.control,
            release: ready.release,
            _node: node,
        };
        let setting = if program.lifetime_enforced {
            "access-token-lifetime"
        } else {
            "told-lifetime"
        };
        lab.set_duration(setting, token_life).await?;
        lab.set_duration("row-read", program.row_read).await?;
        Ok(lab)
    }

    async fn set_duration(&self, setting: &str, time: Duration) -> Result<()> {
        let time = time.as_millis();
        self.send_control(Method::PUT, &format!("/{setting}?ms={time}"))
            .await
    }

    /// Every session that the PDS has ended.
    pub(crate) async fn ended(&self) -> Result<Vec<EndedSession>> {
        let request = Request::get(format!("{}/ended-sessions", self.control));
        let ended: Vec<Ended> = serde_json::from_slice(&fetch(request, Bytes::new()).await?.body)?;
        let ended = ended.into_iter().map(|ended| EndedSession {
            did: ended.did,
            at: Timestamp::from_micros(ended.at.saturating_mul(1000)),
            why: ended.cause,
        });
        Ok(ended.collect())
    }

    async fn send_control(&self, method: Method, target: &str) -> Result<()> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.control));
        fetch(request, Bytes::new()).await.map(drop)
    }

    /// Opens so many accounts.
    pub(crate) async fn people(&self, count: usize) -> Result<Vec<Member>> {
        let mut running = JoinSet::new();
        for number in 0..count {
            let url = format!("{}/xrpc/com.atproto.server.createAccount", self.pds);
            running.spawn(async move {
                let handle = format!("person-{number}.test");
                let email = format!("person-{number}@mail.test");
                let account = json!({ "handle": handle, "password": PASSWORD, "email": email });
                let request = Request::post(url).header(CONTENT_TYPE, "application/json");
                let answer = fetch(request, account.to_string().into()).await?;
                let CreatedAccount { did } = serde_json::from_slice(&answer.body)?;
                anyhow::Ok(Member { did, handle })
            });
        }
        let mut people = Vec::new();
        while let Some(done) = running.join_next().await {
            people.push(done??);
        }
        Ok(people)
    }

    /// Ends the PDS and starts it again on its data after that time.
    pub(crate) async fn restart_pds(&self, away: Duration) -> Result<()> {
        self.send_control(Method::POST, "/go-away").await?;
        sleep(away).await;
        self.send_control(Method::POST, "/come-back").await
    }
}

impl Member {
    /// Signs in and consents at the page `url`; where the browser is sent in the end.
    pub(crate) async fn approve(&self, url: &str) -> Result<Url> {
        let page = Request::get(url)
            .header(ACCEPT, "text/html")
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        let mut page = Page {
            url: Url::parse(url)?,
            cookies: BTreeMap::new(),
        }
        .follow(page)
        .await?;
        let credentials = json!({
            "username": self.handle, "password": PASSWORD, "remember": false, "locale": "en",
        });
        let signed_in = page.call("sign-in", &credentials, None).await?;
        let token = signed_in["ephemeralToken"].as_str();
        // Releases of the PDS differ in the name, and take no other.
        let name = ["did", "sub"]
            .into_iter()
            .find(|name| signed_in["account"][name].is_string())
            .context("the PDS names no account")?;
        let account = json!({ name: self.did });
        let consent = page.call("consent", &account, token).await?;
        let next = Url::parse(consent["url"].as_str().context("no way back")?)?;
        callback(&next)
    }
}

/// The page of the PDS, and what the browser keeps of it.
struct Page {
    url: Url,
    cookies: BTreeMap<String, String>,
}

impl Page {
    async fn follow(mut self, request: Builder) -> Result<Self> {
        let answer = fetch(request, Bytes::new()).await?;
        self.keep_cookies(&answer);
        Ok(self)
    }

    async fn call(&mut self, name: &str, body: &Value, token: Option<&str>) -> Result<Value> {
        let origin = self.url.origin().ascii_serialization();
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let csrf = self.cookies.get("csrf-token").context("no csrf-token")?;
        let mut request = Request::post(format!("{origin}/@atproto/oauth-provider/~api/{name}"))
            .header(CONTENT_TYPE, "application/json")
            .header(COOKIE, cookies.join("; "))
            .header(ORIGIN, &origin)
            .header(REFERER, self.url.as_str())
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "same-origin")
            .header("sec-fetch-dest", "empty")
            .header("x-csrf-token", csrf);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = fetch(request, body.to_string().into()).await?;
        self.keep_cookies(&answer);
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn keep_cookies(&mut self, answer: &Fetched) {
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next();
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The last page sends the browser to the client with these parameters.
fn callback(last: &Url) -> Result<Url> {
    let query: BTreeMap<_, _> = last.query_pairs().collect();
    let mut callback = Url::parse(query.get("redirect_uri").context("no redirect_uri")?)?;
    for name in ["state", "iss", "code", "error", "error_description"] {
        if let Some(value) = query.get(name) {
            callback.query_pairs_mut().append_pair(name, value);
        }
    }
    Ok(callback)
}

async fn fetch(request: Builder, body: Bytes) -> Result<Fetched> {
    let request = request.body(body)?;
    let what = format!("{} {}", request.method(), request.uri().path());
    let answer = PlainHttp::default().fetch(request, SLOW_LIMITS).await;
    let answer = answer.with_context(|| what.clone())?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status.is_success(),
        "{what}: {} {text}",
        answer.status
    );
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_carries_what_the_client_waits_for_and_nothing_else() {
        let last = "http://localhost:1/oauth/authorize/redirect?redirect_mode=query\
                    &redirect_uri=http%3A%2F%2F127.0.0.1%3A2%2Fcallback&state=s&iss=i&code=c";
        let back = callback(&Url::parse(last).unwrap()).unwrap();
        assert_eq!(
            back.as_str(),
            "http://127.0.0.1:2/callback?state=s&iss=i&code=c"
        );
    }
}
