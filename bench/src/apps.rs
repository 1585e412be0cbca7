//! What apps call all the time, on PostgreSQL: refreshing, introspecting, asking who signed in
//! and how the session at the PDS is, and calls on the PDS, over 16 and over 64 connections.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::lab::Lab;
use crate::load::Caller;
use crate::people::sign_in_many;
use crate::report::Measurement;
use crate::round::{self, Watched};
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
    /// RFC 7662, of one access token after the other.
    Introspect,
    /// OpenID Connect Core §5.3, with one access token after the other.
    Userinfo,
    /// `/api/atprotocol/session`, with one access token after the other.
    Session,
    /// `/xrpc/com.atproto.server.getSession`, which the stand-in of the PDS answers.
    Xrpc,
}

pub(crate) async fn measure(
    call: Call,
    program: &Path,
    scratch: &Scratch,
) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let settings = [("AIP_DATABASE_URL", postgres.url())];
    let lab = Lab::start(program, &scratch.folder("aip")?, ACCOUNTS, &settings).await?;
    let tokens = sign_in_many(&lab, SESSIONS).await?;
    let watched = Watched {
        server: &lab.server,
        postgres: Some(&postgres),
    };
    let mut callers = callers(call, &lab, &tokens).await?;
    let mut figures = LOADS.map(|_| Vec::new());
    // In turns, so that what changes on the machine meanwhile changes both.
    for round in 0..=ROUNDS {
        for ((connections, _), figures) in LOADS.iter().zip(&mut figures) {
            let resting = callers.split_off((*connections).min(callers.len()));
            let time = if round == 0 { WARM_UP } else { ROUND };
            let done;
            (callers, done) = round::run(callers, time, watched).await?;
            callers.extend(resting);
            if round > 0 {
                figures.push(done);
            }
        }
    }
    let mut results = Vec::new();
    for ((_, suffix), figures) in LOADS.iter().zip(&figures) {
        results.extend(round::results(figures, "request", suffix)?);
    }
    Ok(results)
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
