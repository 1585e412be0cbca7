//! The keeper: how fast it refreshes sessions that have come due while very many others are stored,
//! and what storing them costs. On PostgreSQL; the stand-ins for PDS and PLC directory share the
//! machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use crate::lab::Lab;
use crate::people::sign_in_many;
use crate::report::Measurement;
use crate::round::{Sample, Watched};
use crate::server::Server;
use harness::postgres::Postgres;
use harness::scratch::Scratch;

const ACCOUNTS: usize = 256;
/// Sessions that can really be refreshed, each of a sign-in of its own.
const DUE: u32 = 2048;
/// Sessions stored beside them that nobody uses.
const STORED: u32 = 1_000_000;
const ROUNDS: usize = 3;
/// How often it is looked whether a round has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_mins(2);

const REFRESHED: &str = "aip_upstream_refreshes_total{outcome=\"refreshed\"}";

/// What the ids of idle sessions begin with: UUIDs (RFC 9562) of the year 2000.
const IDLE: &str = "00dc6acf-ac00-7000-8000-";

type Read = fn(&Round) -> f64;

/// The figures of one round.
struct Round {
    per_second: f64,
    lag_s: f64,
    server_cpu_us: f64,
    postgres_cpu_us: f64,
    load_cpu_us: f64,
    sql_statements: f64,
    rss_mb: f64,
}

pub(crate) async fn measure(program: &Path, scratch: &Scratch) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let settings = [("AIP_DATABASE_URL", postgres.url())];
    let lab = Lab::start(program, &scratch.folder("aip")?, ACCOUNTS, &settings).await?;
    sign_in_many(&lab, DUE as usize).await?;
    // The first round is for warming up, and for the memory that a small fleet takes.
    let alone = round(&lab.server, &postgres).await?;
    let before = size(&postgres).await?;
    store_idle(&postgres).await?;
    let bytes_per_session = (size(&postgres).await? - before) / f64::from(STORED);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(&lab.server, &postgres).await?);
    }
    let table: [(&str, &str, Read); 7] = [
        ("refreshes_per_second", "1/s", |it| it.per_second),
        ("queue_lag_s", "s", |it| it.lag_s),
        ("sql_statements_per_refresh", "", |it| it.sql_statements),
        ("server_cpu_us_per_refresh", "µs", |it| it.server_cpu_us),
        ("postgres_cpu_us_per_refresh", "µs", |it| {
            it.postgres_cpu_us
        }),
        ("load_cpu_us_per_refresh", "µs", |it| it.load_cpu_us),
        ("rss_mb", "MiB", |it| it.rss_mb),
    ];
    let mut results = table
        .into_iter()
        .map(|(name, unit, read)| Measurement::of(name, unit, rounds.iter().map(read).collect()))
        .collect::<Result<Vec<_>>>()?;
    results.push(Measurement::of(
        "rss_small_fleet_mb",
        "MiB",
        vec![alone.rss_mb],
    )?);
    results.push(Measurement::of(
        "database_bytes_per_session",
        "B",
        vec![bytes_per_session],
    )?);
    Ok(results)
}

/// Makes the live sessions due and waits until each was refreshed.
async fn round(server: &Server, postgres: &Postgres) -> Result<Round> {
    let watched = Watched::aip(server, Some(postgres));
    let before = refreshed(server).await?;
    let due = postgres
        .run(&format!(
            "WITH due AS (UPDATE upstream_sessions SET next_refresh_at = 0
                 WHERE id NOT LIKE '{IDLE}%' RETURNING 1) SELECT count(*) FROM due"
        ))
        .await?;
    ensure!(due == DUE.to_string(), "{due} sessions are due, not {DUE}");
    let since = Instant::now();
    let mut first = None;
    let end = before + u64::from(DUE);
    loop {
        let now = refreshed(server).await?;
        if now > before && first.is_none() {
            first = Some((Sample::take(watched).await?, now));
        }
        if now >= end {
            break;
        }
        ensure!(
            since.elapsed() < DEADLINE,
            "refreshed {} of {DUE}",
            now - before
        );
        sleep(POLL_INTERVAL).await;
    }
    let last = Sample::take(watched).await?;
    let (first, at_first) = first.context("nothing was refreshed")?;
    #[allow(clippy::cast_precision_loss, reason = "at most DUE")]
    let refreshes = (end - at_first) as f64;
    let each_us = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / refreshes
    };
    #[allow(
        clippy::cast_precision_loss,
        reason = "a few statements for each of DUE"
    )]
    let statements = (last.sql_statements - first.sql_statements) as f64;
    Ok(Round {
        per_second: refreshes / (last.at - first.at).as_secs_f64(),
        lag_s: (last.at - since).as_secs_f64(),
        server_cpu_us: each_us(first.server_cpu, last.server_cpu),
        postgres_cpu_us: each_us(
            first.postgres_cpu.unwrap_or_default(),
            last.postgres_cpu.unwrap_or_default(),
        ),
        load_cpu_us: each_us(first.load_cpu, last.load_cpu),
        sql_statements: statements / refreshes,
        rss_mb: server.process.rss_mb()?,
    })
}

/// How many refreshes have succeeded; the counter appears with the first.
async fn refreshed(server: &Server) -> Result<u64> {
    Ok(server.counter(REFRESHED).await.unwrap_or_default())
}

/// Stores sessions that come due in a thousand years: copies of a live one, each with an account
/// of its own.
async fn store_idle(postgres: &Postgres) -> Result<()> {
    let copy = format!(
        "INSERT INTO upstream_sessions
         SELECT (jsonb_populate_record(live.session, jsonb_build_object(
             'id', '{IDLE}' || lpad(to_hex(n), 12, '0'),
             'did', 'did:plc:' || translate(lpad(to_hex(n), 24, '0'), '0189', 'wxyz'),
             'next_refresh_at', 33000000000000000))).*
         FROM (SELECT s AS session FROM upstream_sessions s LIMIT 1) AS live, generate_series(1, {STORED}) AS n"
    );
    postgres.run(&copy).await?;
    postgres.run("VACUUM ANALYZE upstream_sessions").await?;
    Ok(())
}

async fn size(postgres: &Postgres) -> Result<f64> {
    let size = postgres
        .run("SELECT pg_total_relation_size('upstream_sessions')")
        .await?;
    size.parse().context("PostgreSQL told no size")
}
