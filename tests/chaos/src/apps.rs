//! The apps: each session is used now and then, alone or several times at once, and its tokens are
//! refreshed now and then. They do what good apps do: what fails is tried again, a refresh with the
//! same token, and only `invalid_grant` ends a session.

use std::net::SocketAddr;
use std::time::Duration;

use aip_base::Backoff;
use anyhow::Result;
use futures_util::future::join_all;
use harness::app::App;
use harness::connection::{Connection, get, post};
use harness::sign_in::Tokens;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::decisions::Decisions;
use crate::ledger::Ledger;
use crate::site::Site;

/// An app waits so long for an answer.
const CALL_DEADLINE: Duration = Duration::from_mins(1);
const TOKEN_DEADLINE: Duration = Duration::from_secs(10);
/// And so long before it tries again, at most: longer after each failure, not together with others.
const RETRY_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
};
/// Requests at once, of all sessions: a machine that is busy with something else is used less, and
/// not buried.
const MAX_CONCURRENT_REQUESTS: usize = 96;
/// Uses at once, when there are several.
const CONCURRENT_USES: usize = 3;

/// What all apps share.
pub(crate) struct Apps {
    pub(crate) address: SocketAddr,
    pub(crate) app: App,
    pub(crate) ledger: Ledger,
    /// The longest time that a session is left alone.
    pub(crate) rest: Duration,
    /// Turns `true` when the run has ended.
    pub(crate) over: watch::Receiver<bool>,
    turns: Semaphore,
}

/// One session, as its app holds it.
pub(crate) struct Session {
    pub(crate) did: String,
    pub(crate) tokens: Tokens,
    pub(crate) decisions: Decisions,
}

impl Apps {
    pub(crate) fn new(site: &Site, rest: Duration, over: watch::Receiver<bool>) -> Self {
        Self {
            address: site.balancer.address,
            app: site.app.clone(),
            ledger: Ledger::new(Instant::now()),
            rest,
            over,
            turns: Semaphore::new(MAX_CONCURRENT_REQUESTS),
        }
    }
}

/// What an app wants.
#[derive(Debug, Clone, Copy)]
enum ClientAction {
    /// So many calls at once.
    Calls(usize),
    /// New tokens.
    Refresh,
}

/// The session is gone.
struct SessionGone;

/// How a request ended.
enum Outcome {
    Good,
    /// 401: the access token is no good.
    Rejected,
    Failed(String),
}

/// The errors of all endpoints (RFC 6749 §5.2, XRPC).
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Deserialize)]
struct Account {
    did: String,
}

/// An answer, without its connection.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Session {
    /// Uses the session until the run has ended, and once more then.
    pub(crate) async fn live(mut self, apps: &Apps) {
        let mut over = apps.over.clone();
        loop {
            let rest = sleep(self.decisions.between(Duration::ZERO, apps.rest));
            tokio::select! {
                () = rest => {}
                _ = over.wait_for(|over| *over) => break,
            }
            let action = match self.decisions.below(8) {
                0 => ClientAction::Refresh,
                1 | 2 => ClientAction::Calls(CONCURRENT_USES),
                _ => ClientAction::Calls(1),
            };
            if self.run(action, apps).await.is_err() {
                return;
            }
        }
        if self.run(ClientAction::Calls(1), apps).await.is_ok() {
            apps.ledger.alive(&self.did);
        }
    }

    /// Tries until it is done.
    async fn run(&mut self, action: ClientAction, apps: &Apps) -> Result<(), SessionGone> {
        let mut turn = apps.turns.acquire().await;
        let began = Instant::now();
        let mut first_failure = None;
        let mut failures = 0;
        let mut left = action;
        loop {
            let failed = match left {
                ClientAction::Refresh => self.refresh(apps).await?,
                ClientAction::Calls(number) => {
                    let failed;
                    (left, failed) = self.calls(number, apps).await?;
                    failed
                }
            };
            if !failed {
                apps.ledger.done(began, first_failure, Instant::now());
                return Ok(());
            }
            first_failure.get_or_insert_with(Instant::now);
            drop(turn);
            sleep(RETRY_BACKOFF.delay(failures, &self.decisions)).await;
            failures += 1;
            turn = apps.turns.acquire().await;
        }
    }

    /// Calls at once; which of them are to be tried again, and whether there are any.
    async fn calls(
        &mut self,
        number: usize,
        apps: &Apps,
    ) -> Result<(ClientAction, bool), SessionGone> {
        let sent = Instant::now();
        let mut left = 0;
        let mut rejected = false;
        let calls = (0..number).map(|_| self.call(apps));
        for outcome in join_all(calls).await {
            match outcome {
                Outcome::Good => continue,
                Outcome::Rejected => rejected = true,
                Outcome::Failed(how) => apps.ledger.failed(&how, sent, Instant::now()),
            }
            left += 1;
        }
        if rejected {
            self.refresh(apps).await?;
        }
        Ok((ClientAction::Calls(left), left > 0))
    }

    async fn call(&self, apps: &Apps) -> Outcome {
        let fields = format!("authorization: Bearer {}\r\n", self.tokens.access_token);
        let target = "/xrpc/com.atproto.server.getSession";
        let request = get(&apps.address.to_string(), target, &fields);
        let answer = match send(apps, &request, CALL_DEADLINE).await {
            Ok(answer) => answer,
            Err(how) => return Outcome::Failed(format!("call: {how}")),
        };
        match answer.status {
            200 => {
                match serde_json::from_slice::<Account>(&answer.body) {
                    Ok(account) if account.did == self.did => {}
                    Ok(other) => {
                        let what = format!("{} got the answer of {}", self.did, other.did);
                        apps.ledger.wrong(what);
                    }
                    Err(_) => apps
                        .ledger
                        .wrong("a call got an answer that is none".to_owned()),
                }
                apps.ledger.answered();
                Outcome::Good
            }
            401 => Outcome::Rejected,
            _ => Outcome::Failed(format!("call: {}", answer.counts_text())),
        }
    }

    /// New tokens, with the same refresh token until an answer comes. `true`: to be tried again.
    async fn refresh(&mut self, apps: &Apps) -> Result<bool, SessionGone> {
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            self.tokens.refresh_token
        );
        let host = apps.address.to_string();
        let sent = Instant::now();
        let request = post(&host, "/oauth/token", &apps.app.authorization, &form);
        let how = match send(apps, &request, TOKEN_DEADLINE).await {
            Ok(answer) if answer.status == 200 => {
                if let Ok(tokens) = serde_json::from_slice(&answer.body) {
                    self.tokens = tokens;
                    apps.ledger.answered();
                    return Ok(false);
                }
                "tokens that are none".to_owned()
            }
            Ok(answer) => {
                let error = answer.error();
                if error.error == "invalid_grant" {
                    apps.ledger.lost(&self.did, &error.error_description);
                    return Err(SessionGone);
                }
                answer.counts_text()
            }
            Err(how) => how,
        };
        apps.ledger
            .failed(&format!("refresh: {how}"), sent, Instant::now());
        Ok(true)
    }
}

impl Answer {
    fn error(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn counts_text(&self) -> String {
        format!("{} {}", self.status, self.error().error)
    }
}

/// One request on a connection of its own.
async fn send(apps: &Apps, request: &[u8], deadline: Duration) -> Result<Answer, String> {
    let exchange = async {
        let mut connection = Connection::open(apps.address).await?;
        let answer = connection.exchange(request).await?;
        anyhow::Ok(Answer {
            status: answer.status,
            body: answer.body.to_vec(),
        })
    };
    match timeout(deadline, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err("the connection broke".to_owned()),
        Err(_) => Err(format!("no answer in {deadline:?}")),
    }
}
