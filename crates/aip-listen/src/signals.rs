//! What the operating system tells the process: SIGTERM and SIGINT end it, SIGHUP reloads.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind, signal};

use crate::{Lifecycle, Stage};

/// What to do on signals besides moving the [`Lifecycle`].
pub struct SignalHooks {
    /// How long requests are still accepted after readiness went off, for load balancers that
    /// look only every so often.
    pub leave: Duration,
    /// Runs on SIGHUP.
    pub reload: Box<dyn Fn() + Send + Sync>,
}

/// A signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The signals, caught from [`Signals::install`] on: one that comes before [`Signals::watch`] waits for it.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
}

enum Received {
    End(Signal),
    Reload,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP. To be called before the process says that it is ready.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Moves `life` on the first SIGTERM or SIGINT: readiness off, then, after
    /// [`SignalHooks::leave`], drain. Returns the second one, which means "at once".
    pub async fn watch(mut self, life: &Lifecycle, hooks: &SignalHooks) -> Signal {
        while let Received::Reload = self.next().await {
            (hooks.reload)();
        }
        tracing::info!("shutdown requested, readiness off");
        life.advance(Stage::Leaving);
        let mut pause = std::pin::pin!(tokio::time::sleep(hooks.leave));
        loop {
            tokio::select! {
                () = &mut pause, if life.stage() < Stage::Draining => life.advance(Stage::Draining),
                received = self.next() => if let Received::End(signal) = received {
                    tracing::warn!("second shutdown signal, exiting immediately");
                    return signal;
                },
            }
        }
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End(Signal::Terminate),
            _ = self.interrupt.recv() => Received::End(Signal::Interrupt),
            _ = self.hang_up.recv() => Received::Reload,
        }
    }
}
