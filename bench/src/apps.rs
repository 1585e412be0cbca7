//! What apps call all the time, on PostgreSQL: refreshing, introspecting, asking who signed in
//! and how the session at the PDS is, and the documents that describe AIP, over 16 and over 64
//! connections, in turns with servers that do nothing else; what apps ask on their own behalf, and how a
//! session is, in turns with refreshing, too.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::Lab;
use crate::load::Caller;
use crate::peer::{Peer, Statement};
use crate::people::sign_in_many;
use crate::report::Measurement;
use crate::round::{self, Figures, Watched};
use harness::postgres::Postgres;
use harness::scratch::Scratch;
use harness::sign_in::Tokens;

/// Connections, and what the names of the results end in.
const LOADS: [(usize, &str); 2] = [(16, ""), (64, "_c64")];
const ACCOUNTS: usize = 64;
/// Each is of a sign-in of its own.
const SESSIONS: usize = 256;
const WARM_UP: Duration = Duration::from_secs(3);
const ROUND: Duration = Duration::from_secs(6);
const ROUNDS: usize = 3;

/// A request that is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    /// RFC 6749 §6; every connection follows the rotation of its own token.
    Refresh,
    /// RFC 6749 §4.4: a token of the app itself.
    ClientCredentials,
    /// The same, as a JWT (RFC 9068).
    TokenJwt,
    /// RFC 9126.
    Par,
    /// RFC 7662, of one access token after the other.
    Introspect,
    /// OpenID Connect Core §5.3, with one access token after the other.
    Userinfo,
    /// `/api/atprotocol/session`, with one access token after the other.
    Session,
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// `/.well-known/jwks.json`.
    Jwks,
}

impl Call {
    /// Whether the same server is measured when it refreshes, too: what is asked of these calls is asked as
    /// a share of that.
    fn is_beside_refresh(self) -> bool {
        matches!(
            self,
            Self::ClientCredentials | Self::TokenJwt | Self::Par | Self::Session
        )
    }
}

/// A server with its callers and what was measured of it, by load.
struct Side<'a> {
    watched: Watched<'a>,
    callers: Vec<Caller>,
    figures: [Vec<Figures>; LOADS.len()],
}

pub(crate) async fn measure(
    call: Call,
    program: &Path,
    scratch: &Scratch,
) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let settings = [("AIP_DATABASE_URL", postgres.url())];
    let lab = Lab::start(program, &scratch.folder("aip")?, ACCOUNTS, &settings).await?;
    if matches!(call, Call::TokenJwt) {
        lab.app
            .change(lab.server.command(), &["--access-token-format", "jwt"])
            .await?;
    }
    let tokens = sign_in_many(&lab, SESSIONS).await?;
    let mut aip = callers(call, &lab, &tokens).await?;
    let peers = peers(call, &mut aip, scratch, &postgres).await?;
    let watched = Watched::aip(&lab.server, Some(&postgres));
    let mut sides = vec![Side::new(watched, aip)];
    let mut names = Vec::new();
    if call.is_beside_refresh() {
        let refreshing = callers(Call::Refresh, &lab, &tokens).await?;
        sides.push(Side::new(watched, refreshing));
        names.push("refresh");
    }
    for peer in &peers {
        names.push(peer.name);
        let mut callers = callers(call, &lab, &tokens).await?;
        for caller in &mut callers {
            caller.call_instead(peer).await?;
        }
        sides.push(Side::new(Watched::peer(peer, &postgres), callers));
    }
    // In turns, so that what changes on the machine meanwhile changes all.
    for round in 0..=ROUNDS {
        for load in 0..LOADS.len() {
            for side in &mut sides {
                side.run(load, round).await?;
            }
        }
    }
    let mut results = Vec::new();
    for (load, (_, suffix)) in LOADS.iter().enumerate() {
        let mut figures = sides.iter().map(|side| &side.figures[load]);
        let aip = figures.next().context("AIP was measured")?;
        results.extend(round::results(aip, "request", suffix)?);
        for (name, figures) in names.iter().zip(figures) {
            results.extend(round::peer_measurements(aip, figures, name, suffix)?);
        }
    }
    Ok(results)
}

impl<'a> Side<'a> {
    fn new(watched: Watched<'a>, callers: Vec<Caller>) -> Self {
        Self {
            watched,
            callers,
            figures: LOADS.map(|_| Vec::new()),
        }
    }

    /// One round at one load; the first is for warming up.
    async fn run(&mut self, load: usize, round: usize) -> Result<()> {
        let mut callers = std::mem::take(&mut self.callers);
        let resting = callers.split_off(LOADS[load].0.min(callers.len()));
        for caller in &mut callers {
            caller.reconnect().await?;
        }
        let time = if round == 0 { WARM_UP } else { ROUND };
        let figures;
        (self.callers, figures) = round::run(callers, time, self.watched).await?;
        self.callers.extend(resting);
        if round > 0 {
            self.figures[load].push(figures);
        }
        Ok(())
    }
}

/// What AIP is measured beside. All answer with what AIP answers.
async fn peers(
    call: Call,
    aip: &mut [Caller],
    scratch: &Scratch,
    postgres: &Postgres,
) -> Result<Vec<Peer>> {
    let first = aip.first_mut().context("there are callers")?;
    let statement = match call {
        Call::Refresh | Call::ClientCredentials | Call::TokenJwt | Call::Par => {
            Some((Statement::Write, postgres))
        }
        Call::Introspect | Call::Userinfo | Call::Session => Some((Statement::Read, postgres)),
        Call::Discovery | Call::Jwks => None,
    };
    let body = first.body().await?;
    let mut peers = vec![Peer::limit(&scratch.folder("limit")?, &body, statement).await?];
    if matches!(call, Call::Discovery | Call::Jwks) {
        peers.push(Peer::nginx(&scratch.folder("nginx")?, &body).await?);
    }
    Ok(peers)
}

/// One caller per connection of the highest load.
async fn callers(call: Call, lab: &Lab, tokens: &[Tokens]) -> Result<Vec<Caller>> {
    let most = LOADS.map(|(connections, _)| connections).into_iter().max();
    let most = most.unwrap_or_default();
    let mut callers = Vec::new();
    for number in 0..most {
        // Nobody calls with the same token at the same time as somebody else.
        let own: Vec<&Tokens> = tokens.iter().skip(number).step_by(most).collect();
        callers.push(Caller::open(call, lab, &own).await?);
    }
    Ok(callers)
}
