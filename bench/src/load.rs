//! One connection of an app to AIP, and the requests that it sends over it.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::apps::Call;
use crate::lab::Lab;
use crate::round::Worker;
use harness::connection::{Connection, get, post};
use harness::sign_in::Tokens;

/// A connection with work to do.
pub(crate) struct Caller {
    connection: Connection,
    work: Work,
}

/// What is sent again and again.
enum Work {
    /// The newest refresh token, in exchange for the next.
    Rotate {
        host: String,
        authorization: String,
        refresh_token: String,
    },
    /// Requests that were written beforehand, one after the other; a good answer begins so.
    Repeat {
        requests: Vec<Vec<u8>>,
        next: usize,
        good: &'static str,
    },
}

#[derive(Deserialize)]
struct Renewed<'a> {
    refresh_token: &'a str,
}

impl Caller {
    /// Opens a connection for calls with these tokens, of which there is at least one.
    pub(crate) async fn open(call: Call, lab: &Lab, tokens: &[&Tokens]) -> Result<Self> {
        let host = lab.server.address.to_string();
        let authorization = lab.app.authorization.clone();
        let work = match call {
            Call::Refresh => Work::Rotate {
                host,
                authorization,
                refresh_token: tokens
                    .first()
                    .context("nobody signed in")?
                    .refresh_token
                    .clone(),
            },
            Call::Introspect => Work::repeat(tokens, r#"{"active":true,"#, |token| {
                let form = format!("token={token}");
                post(&host, "/oauth/introspect", &authorization, &form)
            }),
            Call::Userinfo => Work::repeat(tokens, r#"{"sub":"did:plc:"#, |token| {
                let authorization = format!("authorization: Bearer {token}\r\n");
                get(&host, "/oauth/userinfo", &authorization)
            }),
            Call::Session => Work::repeat(tokens, r#"{"did":"did:plc:"#, |token| {
                let authorization = format!("authorization: Bearer {token}\r\n");
                get(&host, "/api/atprotocol/session", &authorization)
            }),
            Call::Xrpc => Work::repeat(tokens, "{", |token| {
                let authorization = format!("authorization: Bearer {token}\r\n");
                let path = "/xrpc/com.atproto.server.getSession";
                get(&host, path, &authorization)
            }),
        };
        Ok(Self {
            connection: Connection::open(lab.server.address).await?,
            work,
        })
    }
}

impl Work {
    fn repeat(tokens: &[&Tokens], good: &'static str, request: impl Fn(&str) -> Vec<u8>) -> Self {
        let requests = tokens.iter().map(|it| request(&it.access_token));
        Self::Repeat {
            requests: requests.collect(),
            next: 0,
            good,
        }
    }
}

impl Worker for Caller {
    async fn step(&mut self) -> Result<()> {
        match &mut self.work {
            Work::Rotate {
                host,
                authorization,
                refresh_token,
            } => {
                let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
                let request = post(host, "/oauth/token", authorization, &form);
                let answer = self.connection.exchange(&request).await?;
                let renewed: Renewed<'_> = serde_json::from_slice(answer.expect(200)?.body)?;
                ensure!(renewed.refresh_token != *refresh_token, "no rotation");
                renewed.refresh_token.clone_into(refresh_token);
            }
            Work::Repeat {
                requests,
                next,
                good,
            } => {
                let request = &requests[*next % requests.len()];
                *next += 1;
                let answer = self.connection.exchange(request).await?;
                let text = answer.expect(200)?.text()?;
                ensure!(text.starts_with(*good), "not a good answer: {text}");
            }
        }
        Ok(())
    }
}
