//! A small HTTP server for the test bed's own tests: what `aip` would be in a Pod.
//!
//! It listens on `LISTEN`, is ready once `READY_AFTER_MS` has passed, answers requests under way
//! after SIGTERM, and shows its variables and files. `tiny-server exit CODE WORDS…` is a job, and so is
//! `tiny-server keys rekey`, which takes `REKEY_MS` and ends with `REKEY_EXIT_CODE`, `tiny-server database
//! move run`, which ends with `MOVE_EXIT_CODE`, and `tiny-server doctor`.
#![allow(clippy::print_stdout, reason = "its output is what the log tests read")]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

struct App {
    ready_at: Instant,
    healthy: AtomicBool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, code, words @ ..] = arguments.as_slice()
        && command == "exit"
    {
        println!("{}", words.join(" "));
        return Ok(ExitCode::from(code.parse().unwrap_or(1)));
    }
    if arguments == ["keys", "rekey"] {
        println!("sealing again: 5 of 10 values (50 %)");
        let time = variable("REKEY_MS").parse().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(time)).await;
        println!("sealing again: 10 of 10 values (100 %)");
        let code = variable("REKEY_EXIT_CODE").parse().unwrap_or(0);
        return Ok(ExitCode::from(code));
    }
    if arguments == ["database", "move", "run"] {
        println!("reached: live");
        let code = variable("MOVE_EXIT_CODE").parse().unwrap_or(0);
        return Ok(ExitCode::from(code));
    }
    if let Some(("doctor", arguments)) = arguments.split_first().map(|(it, rest)| (&**it, rest)) {
        return Ok(doctor(arguments));
    }
    serve().await?;
    Ok(ExitCode::SUCCESS)
}

/// Finds its arguments, and that what `DOCTOR_FAILS` names fails.
fn doctor(arguments: &[String]) -> ExitCode {
    let found = format!("{} at {}", arguments.join(" "), variable("GREETING"));
    let failing = variable("DOCTOR_FAILS");
    println!("WARN a line of the log\n[");
    println!("  {{\"check\": \"arguments\", \"status\": \"ok\", \"found\": \"{found}\"}}");
    if !failing.is_empty() {
        println!(
            "  ,{{\"check\": \"{failing}\", \"status\": \"fail\", \"found\": \"timeout\", \"advice\": \"open it\"}}"
        );
    }
    println!("]\nthe end");
    ExitCode::from(u8::from(!failing.is_empty()))
}

async fn serve() -> std::io::Result<()> {
    let delay = variable("READY_AFTER_MS").parse().unwrap_or(0);
    let app = Arc::new(App {
        ready_at: Instant::now() + Duration::from_millis(delay),
        healthy: AtomicBool::new(true),
    });
    let routes = Router::new()
        .route("/", get(async || variable("GREETING")))
        .route("/slow", get(slow))
        .route("/ready", get(ready))
        .route("/healthy", get(healthy))
        .route("/fall-ill", get(become_unhealthy))
        .route("/variable", get(show_variable))
        .route("/file", get(show_file))
        .with_state(app);
    let listener = TcpListener::bind(variable("LISTEN")).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
            println!("stopping");
        })
        .await?;
    println!("stopped");
    Ok(())
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(200)).await;
    "at last"
}

async fn ready(State(app): State<Arc<App>>) -> StatusCode {
    status(Instant::now() >= app.ready_at)
}

async fn healthy(State(app): State<Arc<App>>) -> StatusCode {
    status(app.healthy.load(Ordering::Relaxed))
}

async fn become_unhealthy(State(app): State<Arc<App>>) {
    app.healthy.store(false, Ordering::Relaxed);
}

async fn show_variable(Query(query): Query<HashMap<String, String>>) -> String {
    variable(query.get("name").map_or("", String::as_str))
}

async fn show_file(Query(query): Query<HashMap<String, String>>) -> String {
    let path = variable(query.get("in").map_or("", String::as_str));
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn variable(name: &str) -> String {
    std::env::var_os(name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
