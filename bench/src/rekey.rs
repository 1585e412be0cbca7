//! Sealing the database again under load: how long `aip keys rekey` takes for very many sessions, and
//! what the requests of apps wait for meanwhile. On PostgreSQL.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aip_base::SystemRng;
use aip_keys::{Aad, MasterKeys, Sealed, Sealer};
use anyhow::{Context as _, Result, ensure};
use harness::postgres::Postgres;
use harness::process::{self, Process};
use harness::scratch::Scratch;
use harness::sign_in::Tokens;
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::apps::Call;
use crate::lab::Lab;
use crate::load::Caller;
use crate::people::sign_in_many;
use crate::report::Measurement;
use crate::round::Worker as _;

const ACCOUNTS: usize = 64;
/// Each is of a sign-in of its own.
const SESSIONS: usize = 64;
/// Connections for each of the two calls.
const CONNECTIONS: usize = 4;
/// The sealed columns of a session of OAuth; each value opens in its own row only.
const COLUMNS: [&str; 3] = ["dpop_key", "access_token", "refresh_token"];
/// What the ids of the stored sessions begin with: UUIDs (RFC 9562) of the year 2000.
const STORED: &str = "00dc6acf-ac00-7000-8000-";
/// How many rows are sealed and sent to PostgreSQL at a time.
const ROWS_AT_ONCE: u32 = 10_000;
/// How often it is looked how much memory sealing takes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The values of a session, opened.
type OpenedValues = [Vec<u8>; COLUMNS.len()];

pub(crate) async fn measure(
    program: &Path,
    scratch: &Scratch,
    rows: u32,
) -> Result<Vec<Measurement>> {
    let postgres = Postgres::start().await?;
    let settings = [("AIP_DATABASE_URL", postgres.url())];
    let folder = scratch.folder("aip")?;
    // The server knows both keys from its start, as after the steps of docs/operators.md.
    let old = with_two_master_keys(program, &folder).await?;
    let lab = Lab::start(program, &folder, ACCOUNTS, &settings).await?;
    let tokens = sign_in_many(&lab, SESSIONS).await?;
    let newest = master_keys(&folder)?;
    store_sealed(&postgres, &newest.sealer(), &old.sealer(), rows).await?;

    let process = lab.server.process;
    process.forget_peak()?;
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for (number, call) in [Call::Userinfo, Call::Session].into_iter().enumerate() {
        for connection in 0..CONNECTIONS {
            // Nobody calls with the same token at the same time as somebody else.
            let own = tokens.iter().skip(number * CONNECTIONS + connection);
            let own: Vec<&Tokens> = own.step_by(2 * CONNECTIONS).collect();
            let caller = Caller::open(call, &lab, &own).await?;
            callers.spawn(call_until(caller, Arc::clone(&done)));
        }
    }
    let began = Instant::now();
    let sealing = seal_again(&lab).await;
    let seconds = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Release);
    let mut latencies = Vec::new();
    while let Some(caller) = callers.join_next().await {
        latencies.extend(caller??);
    }
    let sealing_rss_mb = sealing?;
    let values = f64::from(rows) * 3.0;
    let left = sealed_with(&postgres, &old).await?;
    ensure!(left == "0", "{left} values are sealed with the old key");
    latencies.sort_unstable();
    let milliseconds = |latency: Option<&Duration>| {
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    };
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let requests = latencies.len() as f64;
    let table = [
        ("rekey_s", "s", seconds),
        ("rows_per_second", "1/s", f64::from(rows) / seconds),
        ("values_per_second", "1/s", values / seconds),
        ("requests_per_second", "1/s", requests / seconds),
        (
            "p50_ms",
            "ms",
            milliseconds(latencies.get(latencies.len() / 2)),
        ),
        (
            "p99_ms",
            "ms",
            milliseconds(latencies.get(latencies.len() * 99 / 100)),
        ),
        ("worst_pause_ms", "ms", milliseconds(latencies.last())),
        ("server_peak_rss_mb", "MiB", process.peak_rss_mb()?),
        ("rekey_peak_rss_mb", "MiB", sealing_rss_mb),
        ("rows", "", f64::from(rows)),
    ];
    table
        .into_iter()
        .map(|(name, unit, value)| Measurement::of(name, unit, vec![value]))
        .collect()
}

/// Makes the keys of an installation with a second master key, which seals; the first one.
async fn with_two_master_keys(program: &Path, folder: &Path) -> Result<MasterKeys> {
    let aip = |words: &'static [&'static str]| {
        let mut command = process::bare(program, folder);
        command.args(words);
        command
    };
    process::output(&mut aip(&["keys", "list"])).await?;
    let first = master_keys(folder)?;
    let generate = &["keys", "generate", "--purpose", "master"];
    let kid = process::output(&mut aip(generate)).await?;
    let mut activate = aip(&["keys", "activate"]);
    activate.arg(kid.trim());
    process::output(&mut activate).await?;
    Ok(first)
}

fn master_keys(folder: &Path) -> Result<MasterKeys> {
    let file = folder.join("aip-data/master-keys.json");
    let json = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(MasterKeys::from_json(&json)?)
}

/// Stores copies of a live session, each with an account of its own, sealed for its row with the
/// old key; they come due in a thousand years.
async fn store_sealed(postgres: &Postgres, newest: &Sealer, old: &Sealer, rows: u32) -> Result<()> {
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    let plain = opened_session(&mut connection, newest).await?;
    postgres
        .run("CREATE UNLOGGED TABLE sealed (n BIGINT, id TEXT, dpop_key TEXT, access_token TEXT, refresh_token TEXT)")
        .await?;
    for first in (0..rows).step_by(ROWS_AT_ONCE as usize) {
        let last = rows.min(first + ROWS_AT_ONCE);
        let mut text = String::new();
        for number in first..last {
            let id = format!("{STORED}{number:012x}");
            write!(text, "{number}\t{id}")?;
            for (column, value) in COLUMNS.into_iter().zip(&plain) {
                let sealed = old.seal(&SystemRng, value, place(column, &id))?;
                text.push('\t');
                text.push_str(sealed.as_str());
            }
            text.push('\n');
        }
        let mut copy = connection.copy_in_raw("COPY sealed FROM STDIN").await?;
        copy.send(text.into_bytes()).await?;
        copy.finish().await?;
    }
    connection.close().await?;
    postgres
        .run(
            "INSERT INTO upstream_sessions
             SELECT (jsonb_populate_record(live.session, jsonb_build_object(
                 'id', sealed.id,
                 'did', 'did:plc:' || translate(lpad(to_hex(n), 24, '0'), '0189', 'wxyz'),
                 'dpop_key', sealed.dpop_key,
                 'access_token', sealed.access_token,
                 'refresh_token', sealed.refresh_token,
                 'next_refresh_at', 33000000000000000))).*
             FROM (SELECT s AS session FROM upstream_sessions s LIMIT 1) AS live, sealed",
        )
        .await?;
    postgres.run("DROP TABLE sealed").await?;
    postgres.run("VACUUM ANALYZE upstream_sessions").await?;
    Ok(())
}

/// What a session that somebody has just signed in to holds.
async fn opened_session(connection: &mut PgConnection, sealer: &Sealer) -> Result<OpenedValues> {
    let row = sqlx::query(
        "SELECT id, dpop_key, access_token, refresh_token FROM upstream_sessions LIMIT 1",
    )
    .fetch_one(connection)
    .await?;
    let id: String = row.try_get("id")?;
    let mut plain = OpenedValues::default();
    for (column, value) in COLUMNS.into_iter().zip(&mut plain) {
        let stored = Sealed::from_stored(row.try_get(column)?);
        let opened = sealer.open(&stored, place(column, &id))?;
        opened.expose_secret().clone_into(value);
    }
    Ok(plain)
}

fn place<'a>(column: &'static str, row: &'a str) -> Aad<'a> {
    Aad {
        table: "upstream_sessions",
        column,
        row,
    }
}

/// Runs `aip keys rekey` to its end; the most memory that it took, in MiB.
async fn seal_again(lab: &Lab) -> Result<f64> {
    let mut command = lab.server.command();
    command.args(["keys", "rekey"]).stdout(Stdio::null());
    let mut child = command.spawn()?;
    let process = Process::new(child.id().context("it has ended at once")?);
    let mut peak_mb: f64 = 0.0;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "aip keys rekey ended with {status}");
            return Ok(peak_mb);
        }
        // It may end between the two looks.
        if let Ok(rss_mb) = process.peak_rss_mb() {
            peak_mb = peak_mb.max(rss_mb);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Calls again and again until `done`; how long each call took.
async fn call_until(mut caller: Caller, done: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while !done.load(Ordering::Acquire) {
        let began = Instant::now();
        caller.step().await?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// How many sessions have a value that is sealed with the one key of `keys`.
async fn sealed_with(postgres: &Postgres, keys: &MasterKeys) -> Result<String> {
    let prefix = Sealed::prefix_of(keys.primary());
    let any = COLUMNS.map(|column| format!("starts_with({column}, '{prefix}')"));
    postgres
        .run(&format!(
            "SELECT count(*) FROM upstream_sessions WHERE {}",
            any.join(" OR ")
        ))
        .await
}
