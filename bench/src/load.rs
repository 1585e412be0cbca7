//! One connection of an app to AIP, and the requests that it sends over it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::apps::Call;
use crate::lab::Lab;
use crate::peer::Peer;
use crate::round::Worker;
use harness::app::{REDIRECT_URI, SCOPE};
use harness::connection::{Connection, get, post};
use harness::sign_in::Tokens;

/// What an app pushes besides what it is registered with, as long as usual.
const STATE: &str = "9f0b3c1e5d7a4f2c8b6e1d3a5c7f9b2d";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A connection with work to do.
pub(crate) struct Caller {
    server: SocketAddr,
    connection: Connection,
    work: Work,
}

/// What is sent again and again.
enum Work {
    /// The newest refresh token, in exchange for the next.
    Rotate(Rotation),
    /// Requests that were written beforehand, one after the other; a good answer begins so.
    Repeat {
        requests: Vec<Vec<u8>>,
        next: usize,
        status: u16,
        good: &'static str,
    },
}

/// A refresh token and how it is sent.
struct Rotation {
    host: String,
    authorization: String,
    refresh_token: String,
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
            Call::Refresh => Work::Rotate(Rotation {
                host,
                authorization,
                refresh_token: tokens
                    .first()
                    .context("nobody signed in")?
                    .refresh_token
                    .clone(),
            }),
            Call::ClientCredentials => {
                let form = "grant_type=client_credentials";
                Work::one(post(&host, "/oauth/token", &authorization, form))
            }
            // The app is registered for JWTs (`apps::measure`).
            Call::TokenJwt => {
                let form = "grant_type=client_credentials";
                let request = post(&host, "/oauth/token", &authorization, form);
                Work::Repeat {
                    requests: vec![request],
                    next: 0,
                    status: 200,
                    // The beginning of a JWT, and not of an opaque token.
                    good: r#"{"access_token":"ey"#,
                }
            }
            Call::Par => {
                let scope = SCOPE.replace(' ', "+");
                let form = format!(
                    "response_type=code&redirect_uri={REDIRECT_URI}&scope={scope}&state={STATE}\
                     &code_challenge={CHALLENGE}&code_challenge_method=S256"
                );
                Work::Repeat {
                    requests: vec![post(&host, "/oauth/par", &authorization, &form)],
                    next: 0,
                    status: 201,
                    good: r#"{"request_uri":""#,
                }
            }
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
            Call::Discovery => Work::one(get(&host, "/.well-known/openid-configuration", "")),
            Call::Jwks => Work::one(get(&host, "/.well-known/jwks.json", "")),
        };
        let server = lab.server.address;
        Ok(Self {
            server,
            connection: Connection::open(server).await?,
            work,
        })
    }

    /// Opens the connection anew: servers close one that waits for the turns of others.
    pub(crate) async fn reconnect(&mut self) -> Result<()> {
        self.connection = Connection::open(self.server).await?;
        Ok(())
    }

    /// Sends a request; the body of the answer.
    pub(crate) async fn body(&mut self) -> Result<Vec<u8>> {
        match &mut self.work {
            Work::Rotate(rotation) => rotation.rotate(&mut self.connection).await,
            Work::Repeat {
                requests, status, ..
            } => {
                let request = requests.first().context("there is a request")?;
                let answer = self.connection.exchange(request).await?;
                Ok(answer.expect(*status)?.body.to_vec())
            }
        }
    }

    /// From now on the same requests go to `peer`, which rotates no token.
    pub(crate) async fn call_instead(&mut self, peer: &Peer) -> Result<()> {
        self.server = peer.address;
        self.reconnect().await?;
        match &mut self.work {
            Work::Rotate(rotation) => self.work = Work::one(rotation.request()),
            // A bare server answers everything with 200.
            Work::Repeat { status, .. } => *status = 200,
        }
        Ok(())
    }
}

impl Rotation {
    fn request(&self) -> Vec<u8> {
        let token = &self.refresh_token;
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        post(&self.host, "/oauth/token", &self.authorization, &form)
    }

    /// Exchanges the token for the next; the body of the answer.
    async fn rotate(&mut self, connection: &mut Connection) -> Result<Vec<u8>> {
        let request = self.request();
        let answer = connection.exchange(&request).await?;
        let body = answer.expect(200)?.body;
        let renewed: Renewed<'_> = serde_json::from_slice(body)?;
        ensure!(renewed.refresh_token != self.refresh_token, "no rotation");
        renewed.refresh_token.clone_into(&mut self.refresh_token);
        Ok(body.to_vec())
    }
}

impl Work {
    fn one(request: Vec<u8>) -> Self {
        Self::Repeat {
            requests: vec![request],
            next: 0,
            status: 200,
            good: "{",
        }
    }

    fn repeat(tokens: &[&Tokens], good: &'static str, request: impl Fn(&str) -> Vec<u8>) -> Self {
        let requests = tokens.iter().map(|it| request(&it.access_token));
        Self::Repeat {
            requests: requests.collect(),
            next: 0,
            status: 200,
            good,
        }
    }
}

impl Worker for Caller {
    async fn step(&mut self) -> Result<()> {
        match &mut self.work {
            Work::Rotate(rotation) => rotation.rotate(&mut self.connection).await.map(drop),
            Work::Repeat {
                requests,
                next,
                status,
                good,
            } => {
                let request = &requests[*next % requests.len()];
                *next += 1;
                let answer = self.connection.exchange(request).await?;
                let text = answer.expect(*status)?.text()?;
                ensure!(text.starts_with(*good), "not a good answer: {text}");
                Ok(())
            }
        }
    }
}
