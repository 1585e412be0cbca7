//! Everything that a run needs: database, Valkey, upstream, replicas behind a balancer, an app and
//! the people who signed in.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock as _, SystemClock};
use aip_sandbox::EndedSession;
use anyhow::{Context as _, Result};
use harness::app::App;
use harness::connection::Connection;
use harness::postgres::Postgres;
use harness::scratch::Scratch;
use harness::sign_in::{SignIn, Tokens};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::balancer::Balancer;
use crate::decisions::Decisions;
use crate::fault::Fault;
use crate::replica::Replica;
use crate::report::say;
use crate::upstream::{AccountHolder, Upstream};
use crate::valkey::Valkey;
use crate::verdict::{End, Evidence};

const REPLICAS: usize = 3;
/// So many sign in at the same time.
const CONCURRENT_SIGN_INS: usize = 8;
/// How often a person tries to sign in.
const SIGN_IN_ATTEMPTS: usize = 3;
/// How far clocks are off.
const SKEW: i32 = 30;

/// A running site; everything ends when it is dropped.
pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) balancer: Balancer,
    pub(crate) upstream: Upstream,
    postgres: Postgres,
    valkey: Valkey,
    replicas: Vec<Replica>,
}

/// A loopback address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Site {
    /// Starts everything.
    pub(crate) async fn start(
        program: &Path,
        scratch: &Scratch,
        upstream: Upstream,
    ) -> Result<Self> {
        let postgres = Postgres::start().await?;
        let valkey = Valkey::start(free_address()?, &scratch.folder("valkey")?).await?;
        let addresses = (0..REPLICAS).map(|_| free_address());
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(addresses.clone()).await?;
        let mut settings = upstream.settings(balancer.address);
        let more = [
            ("AIP_DATABASE_URL", postgres.url()),
            ("REDIS_URL", valkey.url()),
        ];
        settings.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let mut replicas = Vec::new();
        for (number, address) in addresses.into_iter().enumerate() {
            let folder = scratch.folder(&format!("replica-{number}"))?;
            let keys = folder.join("aip-data");
            let replica = Replica::start(number, program, folder, address, &settings).await?;
            replicas.push(replica);
            if number == 0 {
                // The first makes the keys, the others share them.
                let master = std::fs::read_to_string(keys.join("master-keys.json"))?;
                let signing = std::fs::read_to_string(keys.join("keys.json"))?;
                settings.push(("AIP_MASTER_KEYS".to_owned(), master));
                settings.push(("AIP_JSON_WEB_KEYS".to_owned(), signing));
            }
        }
        let command = replicas.first().context("there are replicas")?.command();
        Ok(Self {
            app: App::register(command, "Chaos").await?,
            balancer,
            upstream,
            postgres,
            valkey,
            replicas,
        })
    }

    /// Opens accounts and signs everybody in.
    pub(crate) async fn sign_in(&self, count: usize) -> Result<Vec<(String, Tokens)>> {
        let people: Arc<[AccountHolder]> = self.upstream.people(count).await?.into();
        let mut running = JoinSet::new();
        for first in 0..CONCURRENT_SIGN_INS {
            let (app, people) = (self.app.clone(), Arc::clone(&people));
            let address = self.balancer.address;
            running.spawn(async move {
                let mut signed_in = Vec::new();
                for somebody in people.iter().skip(first).step_by(CONCURRENT_SIGN_INS) {
                    let tokens = sign_in(address, &app, somebody).await?;
                    signed_in.push((somebody.did().to_owned(), tokens));
                }
                anyhow::Ok(signed_in)
            });
        }
        let mut signed_in = Vec::new();
        while let Some(done) = running.join_next().await {
            signed_in.extend(done??);
        }
        // Whoever is first must not depend on who was quick.
        signed_in.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(signed_in)
    }

    /// Lets `fault` happen, and ends it.
    pub(crate) async fn inject_fault(
        &mut self,
        fault: Fault,
        decisions: &Decisions,
        evidence: &mut Evidence,
    ) -> Result<()> {
        *evidence.counts.entry(fault).or_default() += 1;
        let chosen = decisions.below(self.replicas.len());
        let pause = decisions.between(Duration::from_millis(500), Duration::from_secs(2));
        match fault {
            Fault::Kill => {
                self.upstream.slow_down(decisions);
                sleep(pause).await;
                self.replicas[chosen].kill().await?;
                let owner = self.replicas[chosen].owner();
                evidence.in_flight.extend(self.leased_by(&owner).await?);
                self.upstream.heal();
                sleep(pause).await;
                self.replicas[chosen].restart().await
            }
            Fault::Terminate => {
                if let Err(error) = self.replicas[chosen].terminate().await {
                    evidence.broken.push(format!("{error:#}"));
                    self.replicas[chosen].kill().await?;
                }
                self.replicas[chosen].restart().await
            }
            Fault::Database => self.postgres.crash().await,
            Fault::Valkey => self.valkey.wipe(pause).await,
            Fault::Skew => {
                let mut offsets = [SKEW, -SKEW, 0];
                decisions.shuffle(&mut offsets);
                for (replica, offset) in self.replicas.iter().zip(offsets) {
                    replica.skew(offset)?;
                }
                sleep(pause * 4).await;
                self.replicas.iter().try_for_each(|replica| replica.skew(0))
            }
            Fault::Unavailable
            | Fault::TimeOut
            | Fault::Stall
            | Fault::ResetBefore
            | Fault::LostAnswer
            | Fault::PdsRestart
            | Fault::Amnesia => {
                let accounts = &evidence.accounts;
                self.upstream.inject_fault(fault, decisions, accounts).await
            }
        }
    }

    /// What the database says in the end.
    pub(crate) async fn record_database_state(&self, evidence: &mut Evidence) -> Result<()> {
        evidence.lost_answers = self.upstream.lost_answers()?;
        let (now, wall) = (Instant::now(), SystemClock.now());
        for ended in self.upstream.ended().await? {
            let at = now.checked_sub(wall.since(ended.at)).unwrap_or(now);
            let EndedSession { did, why, .. } = ended;
            // The first end of a session is the one that counts.
            evidence.ended.entry(did).or_insert(End { at, why });
        }
        let sql = "SELECT did || ' ' || COALESCE(reason, state) FROM upstream_sessions \
                   WHERE state IN ('needs_reauth', 'ended')";
        for line in self.postgres.run(sql).await?.lines() {
            let (did, reason) = line.split_once(' ').context("two words")?;
            evidence.given_up.insert(did.to_owned(), reason.to_owned());
        }
        Ok(())
    }

    /// Accounts whose session this process was refreshing. It is dead: nothing changes any more.
    async fn leased_by(&self, owner: &str) -> Result<BTreeSet<String>> {
        let sql = format!("SELECT did FROM upstream_sessions WHERE lease_owner = '{owner}'");
        let dids = self.postgres.run(&sql).await?;
        Ok(dids.lines().map(str::to_owned).collect())
    }
}

/// Signs `somebody` in through the pages; again when that fails, as a person would: a PDS that
/// is busy may close a connection that is just being used.
async fn sign_in(address: SocketAddr, app: &App, somebody: &AccountHolder) -> Result<Tokens> {
    for _ in 1..SIGN_IN_ATTEMPTS {
        match try_to_sign_in(address, app, somebody).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => say(&format!("{}: sign-in: {error:#}", somebody.handle())),
        }
    }
    try_to_sign_in(address, app, somebody).await
}

async fn try_to_sign_in(
    address: SocketAddr,
    app: &App,
    somebody: &AccountHolder,
) -> Result<Tokens> {
    let sign_in = SignIn::begin(address, app, somebody.handle()).await?;
    let callback = somebody.approve(&sign_in).await?;
    let mut back_channel = Connection::open(address).await?;
    sign_in.complete(&callback, &mut back_channel).await
}
