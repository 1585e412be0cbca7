//! The whole of it: a directory, a PDS with two accounts, and a name server.

use std::io;
use std::sync::Arc;

use aip_atproto::{Handle, HandleError};
use aip_base::{Clock, Http, Rng, SystemClock, SystemRng};

use crate::dns::Dns;
use crate::pds::{Pds, PdsOptions, Person, SetupError, Surroundings};
use crate::plain_http::PlainHttp;
use crate::plc::Plc;
use crate::stage::Unfinished;

/// How to start a sandbox. The default is the machine's clock and free ports.
#[derive(Clone)]
pub struct SandboxOptions {
    /// The time that tokens and nonces go by.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub rng: Arc<dyn Rng>,
    /// How PDSs fetch client metadata. By default [`Sandbox::http`].
    pub http: Option<Arc<dyn Http>>,
    /// The port of the directory; 0 for a free one.
    pub plc_port: u16,
    /// How to start the first PDS.
    pub pds: PdsOptions,
}

/// Stand-ins for everything that AIP talks to. They end when this is dropped.
pub struct Sandbox {
    /// The PLC directory.
    pub plc: Plc,
    /// The PDS of [`Sandbox::accounts`]. Start more with [`Sandbox::another_pds`].
    pub pds: Pds,
    /// The name server.
    pub dns: Dns,
    /// The people that every sandbox has.
    pub accounts: Accounts,
    /// An HTTP client for the loopback interface; give hosts names there, so that a PDS can
    /// fetch the metadata of a client from them.
    pub http: PlainHttp,
    options: SandboxOptions,
}

/// The people that every sandbox has.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// `alice.test`, password `alice-pass`.
    pub alice: Person,
    /// `bob.test`, password `bob-pass`.
    pub bob: Person,
}

/// A sandbox that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A stand-in could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A port could not be opened.
    #[error("{name} cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// Who wanted it.
        name: &'static str,
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// A handle is malformed.
    #[error(transparent)]
    Handle(#[from] HandleError),
}

impl StartError {
    pub(crate) fn listen(name: &'static str, port: u16, source: io::Error) -> Self {
        Self::Listen { name, port, source }
    }
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            http: None,
            plc_port: 0,
            pds: PdsOptions::default(),
        }
    }
}

impl Sandbox {
    /// Starts the stand-ins on the loopback interface.
    ///
    /// # Errors
    /// When a port or a key cannot be had.
    pub async fn start(options: SandboxOptions) -> Result<Self, StartError> {
        let plc = Plc::start(options.plc_port)
            .await
            .map_err(|source| StartError::listen("the PLC directory", options.plc_port, source))?;
        let dns = Dns::default();
        let http = PlainHttp::default();
        let surroundings = surroundings(&options, &plc, &dns, &http);
        let pds = Pds::start(surroundings, options.pds)
            .await
            .map_err(|error| match error {
                SetupError::Listen(source) => {
                    StartError::listen("the PDS", options.pds.port, source)
                }
                error => error.into(),
            })?;
        let accounts = Accounts {
            alice: pds.add_account(&Handle::parse("alice.test")?, "alice-pass")?,
            bob: pds.add_account(&Handle::parse("bob.test")?, "bob-pass")?,
        };
        Ok(Self {
            plc,
            pds,
            dns,
            accounts,
            http,
            options,
        })
    }

    /// Starts one more PDS, without accounts, in the same directory.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub async fn another_pds(&self, options: PdsOptions) -> Result<Pds, SetupError> {
        Pds::start(
            surroundings(&self.options, &self.plc, &self.dns, &self.http),
            options,
        )
        .await
    }

    /// Checks that every counted fault has happened.
    ///
    /// # Errors
    /// The orders that were not reached.
    pub fn finish(&self) -> Result<(), Unfinished> {
        self.plc.finish()?;
        self.pds.finish()
    }
}

fn surroundings(options: &SandboxOptions, plc: &Plc, dns: &Dns, http: &PlainHttp) -> Surroundings {
    Surroundings {
        clock: Arc::clone(&options.clock),
        rng: Arc::clone(&options.rng),
        http: options
            .http
            .clone()
            .unwrap_or_else(|| Arc::new(http.clone())),
        directory: plc.directory(),
        dns: dns.clone(),
    }
}
