//! How many people can sign in per second: 8 at a time, each in a new browser, through all pages
//! of AIP and of the stand-in PDS, until the app has its tokens. On SQLite.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aip_sandbox::Person;
use anyhow::Result;

use crate::lab::Lab;
use crate::report::Measurement;
use crate::round::{self, Watched, Worker};
use harness::app::App;
use harness::connection::Connection;
use harness::scratch::Scratch;
use harness::sign_in::{Tokens, sign_in};

/// So many sign in at the same time.
const CONCURRENT_SIGN_INS: usize = 8;
const ACCOUNTS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(3);
const ROUND: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

/// Signs one person after the other in.
pub(crate) struct SignInWorker {
    address: SocketAddr,
    app: App,
    back_channel: Connection,
    people: Arc<[Person]>,
    next: usize,
    /// What the app got, newest last; not kept where nobody wants it.
    tokens: Option<Vec<Tokens>>,
}

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    let lab = Lab::start(program, &scratch.folder("aip")?, ACCOUNTS, &[]).await?;
    let watched = Watched::aip(&lab.server, None);
    let mut doormen = SignInWorker::team(&lab, false).await?;
    (doormen, _) = round::run(doormen, WARM_UP, watched).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let figures;
        (doormen, figures) = round::run(doormen, ROUND, watched).await?;
        rounds.push(figures);
    }
    round::results(&rounds, "signin", "")
}

/// The tokens of `count` sign-ins.
pub(crate) async fn sign_in_many(lab: &Lab, count: usize) -> Result<Vec<Tokens>> {
    let mut running = tokio::task::JoinSet::new();
    for mut doorman in SignInWorker::team(lab, true).await? {
        running.spawn(async move {
            for _ in 0..count.div_ceil(CONCURRENT_SIGN_INS) {
                doorman.step().await?;
            }
            anyhow::Ok(doorman.tokens.unwrap_or_default())
        });
    }
    let mut tokens = Vec::new();
    while let Some(done) = running.join_next().await {
        tokens.extend(done??);
    }
    Ok(tokens)
}

impl SignInWorker {
    async fn team(lab: &Lab, keep_tokens: bool) -> Result<Vec<Self>> {
        let people: Arc<[Person]> = lab.people.clone().into();
        let mut team = Vec::new();
        for number in 0..CONCURRENT_SIGN_INS {
            team.push(Self {
                address: lab.server.address,
                app: lab.app.clone(),
                back_channel: Connection::open(lab.server.address).await?,
                people: Arc::clone(&people),
                next: number,
                tokens: keep_tokens.then(Vec::new),
            });
        }
        Ok(team)
    }
}

impl Worker for SignInWorker {
    async fn step(&mut self) -> Result<()> {
        let person = &self.people[self.next % self.people.len()];
        self.next += CONCURRENT_SIGN_INS;
        let tokens = sign_in(self.address, &mut self.back_channel, &self.app, person).await?;
        if let Some(kept) = &mut self.tokens {
            kept.push(tokens);
        }
        Ok(())
    }
}
