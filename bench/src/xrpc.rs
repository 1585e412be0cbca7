//! The XRPC proxy on PostgreSQL: calls with small and large answers over 1, 16 and 64 connections, in
//! turns with a bare proxy that makes a proof per request, with nginx, and with the PDS itself;
//! then blobs of 50 MiB in both directions.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::connection::{Connection, get};
use harness::postgres::Postgres;
use harness::scratch::Scratch;
use harness::sign_in::Tokens;

use crate::lab::Lab;
use crate::peer::Peer;
use crate::people::sign_in_many;
use crate::report::Measurement;
use crate::round::{self, Figures, Watched, Worker};

/// Connections, and what the names of the results end in.
const LOADS: [(usize, &str); 3] = [(1, "_c1"), (16, ""), (64, "_c64")];
/// What is asked for, and what stands for it in the names of the results.
const ANSWERS: [(&str, &str); 2] = [
    ("com.atproto.repo.getRecord", "_2k"),
    ("com.atproto.repo.listRecords", "_100k"),
];
const ACCOUNTS: usize = 64;
/// Each is of a sign-in of its own.
const SESSIONS: usize = 256;
const WARM_UP: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// The blobs of a round, each over a connection of its own.
const BLOBS_AT_ONCE: usize = 2;
const BLOB_BYTES: usize = 50 * 1024 * 1024;

/// A connection over which requests of one app are sent again and again.
struct Caller {
    connection: Connection,
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Caller {
    async fn open(address: SocketAddr, requests: Vec<Vec<u8>>) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            requests,
            next: 0,
        })
    }
}

impl Worker for Caller {
    async fn step(&mut self) -> Result<()> {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        let answer = self.connection.exchange(request).await?;
        ensure!(!answer.expect(200)?.body.is_empty(), "an empty answer");
        Ok(())
    }
}

/// A server, and its figures by what was asked and by load.
struct Side<'a> {
    watched: Watched<'a>,
    address: SocketAddr,
    figures: [[Vec<Figures>; LOADS.len()]; ANSWERS.len()],
}

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let settings = [("AIP_DATABASE_URL", postgres.url())];
    let lab = Lab::start(program, &scratch.folder("aip")?, ACCOUNTS, &settings).await?;
    let tokens = sign_in_many(&lab, SESSIONS).await?;
    let pds = Peer::pds(&scratch.folder("pds")?).await?;
    let moved = format!(
        "UPDATE upstream_sessions SET pds = 'http://{}'",
        pds.address
    );
    postgres.run(&moved).await?;
    let limit = Peer::proxy(&scratch.folder("limit")?, pds.address).await?;
    let nginx = Peer::nginx_proxy(&scratch.folder("nginx")?, pds.address).await?;
    let aip = Watched::aip(&lab.server, Some(&postgres));
    let peers = [&limit, &nginx, &pds];
    let mut sides = vec![Side::new(aip, lab.server.address)];
    sides.extend(peers.map(|peer| Side::new(Watched::peer(peer, &postgres), peer.address)));
    // In turns, so that what changes on the machine meanwhile changes all.
    for round in 0..=ROUNDS {
        for answer in 0..ANSWERS.len() {
            for load in 0..LOADS.len() {
                for side in &mut sides {
                    side.run(answer, load, round, &tokens).await?;
                }
            }
        }
    }
    let mut results = Vec::new();
    for (answer, (_, size)) in ANSWERS.iter().enumerate() {
        for (load, (_, connections)) in LOADS.iter().enumerate() {
            let suffix = format!("{size}{connections}");
            let mut figures = sides.iter().map(|side| &side.figures[answer][load]);
            let aip = figures.next().context("AIP was measured")?;
            results.extend(round::results(aip, "request", &suffix)?);
            for (peer, figures) in peers.iter().zip(figures) {
                results.extend(round::peer_measurements(aip, figures, peer.name, &suffix)?);
                if peer.name == pds.name {
                    let rounds = aip.iter().zip(figures);
                    let added = rounds.map(|(aip, pds)| aip.p99_ms() - pds.p99_ms());
                    let name = format!("added_p99_ms{suffix}");
                    results.push(Measurement::of(&name, "ms", added.collect())?);
                }
            }
        }
    }
    for (name, requests) in blobs(&lab, &tokens) {
        let mut peaks = Vec::new();
        for round in 0..=ROUNDS {
            let figures = run(lab.server.address, requests.clone(), WARM_UP, aip).await?;
            if round > 0 {
                peaks.push(figures.peak_rss_mb());
            }
        }
        results.push(Measurement::of(name, "MiB", peaks)?);
    }
    Ok(results)
}

impl<'a> Side<'a> {
    fn new(watched: Watched<'a>, address: SocketAddr) -> Self {
        Self {
            watched,
            address,
            figures: ANSWERS.map(|_| LOADS.map(|_| Vec::new())),
        }
    }

    /// One round of one call at one load; the first is for warming up.
    async fn run(
        &mut self,
        answer: usize,
        load: usize,
        round: usize,
        tokens: &[Tokens],
    ) -> Result<()> {
        let (method, (connections, _)) = (ANSWERS[answer].0, LOADS[load]);
        let requests = |token: &Tokens| {
            let target = format!("/xrpc/{method}?repo=did:web:person.example");
            get(&self.address.to_string(), &target, &authorization(token))
        };
        // Nobody calls with the same token at the same time as somebody else.
        let of_caller = |number| {
            let own = tokens.iter().skip(number).step_by(connections);
            own.map(requests).collect()
        };
        let work = (0..connections).map(of_caller).collect();
        let time = if round == 0 { WARM_UP } else { ROUND };
        let figures = run(self.address, work, time, self.watched).await?;
        if round > 0 {
            self.figures[answer][load].push(figures);
        }
        Ok(())
    }
}

/// One round, each caller with requests of its own.
async fn run(
    address: SocketAddr,
    work: Vec<Vec<Vec<u8>>>,
    time: Duration,
    watched: Watched<'_>,
) -> Result<Figures> {
    let mut callers = Vec::new();
    for requests in work {
        callers.push(Caller::open(address, requests).await?);
    }
    let (_, figures) = round::run(callers, time, watched).await?;
    Ok(figures)
}

fn authorization(token: &Tokens) -> String {
    format!("authorization: Bearer {}\r\n", token.access_token)
}

/// What callers send when blobs go down and up, and the names of the results.
fn blobs(lab: &Lab, tokens: &[Tokens]) -> [(&'static str, Vec<Vec<Vec<u8>>>); 2] {
    let host = lab.server.address.to_string();
    let down = tokens.iter().take(BLOBS_AT_ONCE).map(|token| {
        let target = "/xrpc/com.atproto.sync.getBlob?did=did:web:person.example&cid=x";
        vec![get(&host, target, &authorization(token))]
    });
    let up = tokens.iter().take(BLOBS_AT_ONCE).map(|token| {
        let mut request = format!(
            "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nhost: {host}\r\n{}\
             content-type: video/mp4\r\ncontent-length: {BLOB_BYTES}\r\n\r\n",
            authorization(token)
        )
        .into_bytes();
        request.resize(request.len() + BLOB_BYTES, b'x');
        vec![request]
    });
    [
        ("peak_rss_mb_blobs_down", down.collect()),
        ("peak_rss_mb_blobs_up", up.collect()),
    ]
}
