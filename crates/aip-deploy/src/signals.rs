//! The signals that end a command.

use tokio::signal::unix::{SignalKind, signal};

/// Ends with Ctrl-C or SIGTERM: stop writing, give the lease back.
pub(crate) async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() {
            std::future::pending::<()>().await;
        },
        () = terminated => {}
    }
}
