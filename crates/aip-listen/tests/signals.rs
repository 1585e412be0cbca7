//! Signals move the life of the process. In a process of its own, as they reach all of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a set-up step that fails ends the test"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aip_listen::{Lifecycle, Signal, SignalHooks, Signals, Stage};

fn send(signal: &str) {
    let pid = std::process::id().to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(status.unwrap().success());
}

async fn soon(what: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(10), what)
        .await
        .expect("it happens");
}

#[tokio::test]
async fn the_first_signal_leaves_then_drains_and_the_second_ends_at_once() {
    let life = Lifecycle::new();
    life.advance(Stage::Ready);
    let reloads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reloads);
    let hooks = SignalHooks {
        leave: Duration::from_millis(50),
        reload: Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let of_process = life.clone();
    let signals = Signals::install().unwrap();
    // It comes before anybody watches, and is not lost.
    send("HUP");
    let watcher = tokio::spawn(async move { signals.watch(&of_process, &hooks).await });
    soon(async {
        while reloads.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(life.is_ready());

    send("TERM");
    soon(life.reached(Stage::Leaving)).await;
    assert!(!life.is_ready());
    soon(life.reached(Stage::Draining)).await;

    assert!(!watcher.is_finished());
    send("INT");
    soon(async {
        assert_eq!(watcher.await.unwrap(), Signal::Interrupt);
    })
    .await;
}
