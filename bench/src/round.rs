//! One round of a closed loop: every worker sends its next request when the last is answered, for
//! a fixed time, while the server is watched.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::peer::Peer;
use crate::report::Measurement;
use crate::server::Server;
use harness::machine;
use harness::postgres::Postgres;
use harness::process::Process;

/// Something that can be done again and again.
pub(crate) trait Worker: Send + Sized + 'static {
    /// Does it once. An error ends the benchmark: a figure over failures is none.
    fn step(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What is watched beside the clock.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'a> {
    process: Process,
    /// AIP, if it is what is measured: it counts its statements.
    aip: Option<&'a Server>,
    postgres: Option<&'a Postgres>,
}

impl<'a> Watched<'a> {
    pub(crate) fn aip(server: &'a Server, postgres: Option<&'a Postgres>) -> Self {
        Self {
            process: server.process,
            aip: Some(server),
            postgres,
        }
    }

    pub(crate) fn peer(peer: &Peer, postgres: &'a Postgres) -> Self {
        Self {
            process: peer.process,
            aip: None,
            postgres: Some(postgres),
        }
    }
}

/// Counters before or after a round.
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) server_cpu: Duration,
    pub(crate) postgres_cpu: Option<Duration>,
    pub(crate) load_cpu: Duration,
    /// Of everybody.
    machine_cpu: Duration,
    /// Of AIP.
    pub(crate) sql_statements: u64,
}

/// The figures of one round.
pub(crate) struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_cpu_us: f64,
    postgres_cpu_us: Option<f64>,
    load_cpu_us: f64,
    /// How many processors were busy with programs that have no part in the benchmark.
    others_cpus: f64,
    sql_statements: f64,
    peak_rss_mb: f64,
}

impl Sample {
    /// What the processors did for anybody else.
    fn others_cpu(&self) -> Duration {
        let ours = self.server_cpu + self.postgres_cpu.unwrap_or_default() + self.load_cpu;
        self.machine_cpu.saturating_sub(ours)
    }

    pub(crate) async fn take(watched: Watched<'_>) -> Result<Self> {
        let postgres = watched.postgres.map(|it| it.process.cpu_with_children());
        let sql_statements = match watched.aip {
            Some(aip) => aip.sql_statements().await?,
            None => 0,
        };
        Ok(Self {
            server_cpu: watched.process.cpu_with_children()?,
            postgres_cpu: postgres.transpose()?,
            load_cpu: Process::this().cpu()?,
            machine_cpu: machine::busy()?,
            sql_statements,
            at: Instant::now(),
        })
    }
}

/// Lets all workers run for `time`, and gives them back for the next round.
pub(crate) async fn run<W: Worker>(
    workers: Vec<W>,
    time: Duration,
    watched: Watched<'_>,
) -> Result<(Vec<W>, Figures)> {
    watched.process.forget_peak()?;
    let before = Sample::take(watched).await?;
    let end = before.at + time;
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(repeat(worker, end));
    }
    let (mut workers, mut latencies) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (worker, its_latencies) = done??;
        workers.push(worker);
        latencies.extend(its_latencies);
    }
    let after = Sample::take(watched).await?;
    let peak_rss_mb = watched.process.peak_rss_mb()?;
    Ok((
        workers,
        Figures::of(&before, &after, latencies, peak_rss_mb),
    ))
}

async fn repeat<W: Worker>(mut worker: W, end: Instant) -> Result<(W, Vec<Duration>)> {
    let mut latencies = Vec::new();
    let mut began = Instant::now();
    while began < end {
        worker.step().await?;
        let now = Instant::now();
        latencies.push(now - began);
        began = now;
    }
    Ok((worker, latencies))
}

impl Figures {
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of one round are far below 2^52"
    )]
    fn of(before: &Sample, after: &Sample, mut latencies: Vec<Duration>, peak_rss_mb: f64) -> Self {
        latencies.sort_unstable();
        let requests = latencies.len() as f64;
        let each_us = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / requests
        };
        let elapsed = (after.at - before.at).as_secs_f64();
        let others = after.others_cpu().saturating_sub(before.others_cpu());
        let statements = after.sql_statements.saturating_sub(before.sql_statements);
        Self {
            per_second: requests / elapsed,
            p50_ms: percentile_ms(&latencies, 50),
            p99_ms: percentile_ms(&latencies, 99),
            server_cpu_us: each_us(before.server_cpu, after.server_cpu),
            postgres_cpu_us: before
                .postgres_cpu
                .zip(after.postgres_cpu)
                .map(|(before, after)| each_us(before, after)),
            load_cpu_us: each_us(before.load_cpu, after.load_cpu),
            others_cpus: others.as_secs_f64() / elapsed,
            sql_statements: statements as f64 / requests,
            peak_rss_mb,
        }
    }
}

/// The latency that so many of a hundred requests did not exceed.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

/// The figures of all rounds as results: each is about a `thing` (`request`), and the names end
/// in `suffix`.
pub(crate) fn results(rounds: &[Figures], thing: &str, suffix: &str) -> Result<Vec<Measurement>> {
    type Read = fn(&Figures) -> Option<f64>;
    let table: [(String, &'static str, Read); 9] = [
        (format!("{thing}s_per_second"), "1/s", |it| {
            Some(it.per_second)
        }),
        ("p50_ms".to_owned(), "ms", |it| Some(it.p50_ms)),
        ("p99_ms".to_owned(), "ms", |it| Some(it.p99_ms)),
        (format!("sql_statements_per_{thing}"), "", |it| {
            Some(it.sql_statements)
        }),
        (format!("server_cpu_us_per_{thing}"), "µs", |it| {
            Some(it.server_cpu_us)
        }),
        (format!("postgres_cpu_us_per_{thing}"), "µs", |it| {
            it.postgres_cpu_us
        }),
        (format!("load_cpu_us_per_{thing}"), "µs", |it| {
            Some(it.load_cpu_us)
        }),
        ("others_cpus".to_owned(), "processors", |it| {
            Some(it.others_cpus)
        }),
        ("peak_rss_mb".to_owned(), "MiB", |it| Some(it.peak_rss_mb)),
    ];
    table
        .into_iter()
        .map(|(name, unit, read)| {
            (
                name,
                unit,
                rounds.iter().filter_map(read).collect::<Vec<_>>(),
            )
        })
        .filter(|(_, _, values)| !values.is_empty())
        .map(|(name, unit, values)| Measurement::of(&format!("{name}{suffix}"), unit, values))
        .collect()
}

impl Figures {
    /// The latency that 99 of 100 requests did not exceed.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.p99_ms
    }

    /// The most memory of the server in the round.
    pub(crate) fn peak_rss_mb(&self) -> f64 {
        self.peak_rss_mb
    }
}

/// How fast a peer was, and AIP beside it: the rounds of both, taken in turns.
pub(crate) fn peer_measurements(
    aip: &[Figures],
    peer: &[Figures],
    name: &str,
    suffix: &str,
) -> Result<[Measurement; 3]> {
    let of_peer = |read: fn(&Figures) -> f64| peer.iter().map(read).collect();
    let ratios = aip.iter().zip(peer);
    let ratios = ratios.map(|(aip, peer)| aip.per_second / peer.per_second);
    Ok([
        Measurement::of(
            &format!("{name}_requests_per_second{suffix}"),
            "1/s",
            of_peer(|it| it.per_second),
        )?,
        Measurement::of(
            &format!("{name}_cpu_us_per_request{suffix}"),
            "µs",
            of_peer(|it| it.server_cpu_us + it.postgres_cpu_us.unwrap_or_default()),
        )?,
        Measurement::of(&format!("ratio_to_{name}{suffix}"), "", ratios.collect())?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert!((percentile_ms(&sorted, 50) - 100.0).abs() < 1e-9);
        assert!((percentile_ms(&sorted, 99) - 198.0).abs() < 1e-9);
        assert!((percentile_ms(&sorted[..1], 99) - 1.0).abs() < 1e-9);
        assert!(percentile_ms(&[], 50).is_nan());
    }

    fn sample(at: Instant, seconds: u64, cpu_ms: u64, statements: u64) -> Sample {
        let cpu = Duration::from_millis(cpu_ms);
        Sample {
            at: at + Duration::from_secs(seconds),
            server_cpu: cpu,
            postgres_cpu: None,
            load_cpu: cpu * 2,
            machine_cpu: cpu * 4,
            sql_statements: statements,
        }
    }

    #[test]
    fn figures_are_per_request_and_those_that_were_not_taken_are_left_out() {
        let now = Instant::now();
        let latencies = vec![Duration::from_millis(3); 500];
        let (before, after) = (sample(now, 0, 0, 10), sample(now, 2, 100, 1010));
        let figures = Figures::of(&before, &after, latencies, 20.0);
        let lines: Vec<String> = results(&[figures], "request", "_c64")
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", it.name, it.value))
            .collect();
        assert_eq!(
            lines,
            [
                "requests_per_second_c64 250",
                "p50_ms_c64 3",
                "p99_ms_c64 3",
                "sql_statements_per_request_c64 2",
                "server_cpu_us_per_request_c64 200",
                "load_cpu_us_per_request_c64 400",
                "others_cpus_c64 0.05",
                "peak_rss_mb_c64 20",
            ]
        );
    }

    #[test]
    fn a_ratio_is_of_two_rounds_that_followed_one_another() {
        let now = Instant::now();
        let figures = |requests: usize, seconds| {
            let latencies = vec![Duration::from_millis(3); requests];
            Figures::of(
                &sample(now, 0, 0, 0),
                &sample(now, seconds, 100, 0),
                latencies,
                20.0,
            )
        };
        // The machine was twice as slow in the second round.
        let aip = [figures(500, 1), figures(500, 2)];
        let peer = [figures(1000, 1), figures(1000, 2)];
        let results = peer_measurements(&aip, &peer, "limit", "_c64").unwrap();
        let ratio = results.last().unwrap();
        assert_eq!(ratio.name, "ratio_to_limit_c64");
        assert!((ratio.min - 0.5).abs() < 1e-9 && (ratio.max - 0.5).abs() < 1e-9);
    }

    struct Sleeper(u32);

    impl Worker for Sleeper {
        async fn step(&mut self) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.0 += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_worker_repeats_its_step_until_the_time_has_passed() {
        let end = Instant::now() + Duration::from_millis(100);
        let (worker, latencies) = repeat(Sleeper(0), end).await.unwrap();
        assert_eq!(latencies.len(), worker.0 as usize);
        assert!((2..=10).contains(&worker.0), "{}", worker.0);
    }
}
