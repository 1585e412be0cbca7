//! Stand-ins for everything that AIP talks to, on the loopback interface: a PDS with its OAuth
//! server, the PLC directory and DNS; and a demo app that uses AIP as its provider.
//!
//! They behave like the reference implementations, sharp edges included (a replayed refresh token
//! ends the session, nonces are demanded), until a test orders otherwise:
//!
//! * [`Pds::lie`] falsifies what a PDS says: metadata, callbacks, token responses.
//! * [`Pds::next`] and [`Pds::always`] order faults: lost responses, nonce demands, 503, delays,
//!   gates that hold a request until the test lets it go on.
//! * [`Pds::requests`] is everything that arrived, secrets included.
//! * [`approve`] and [`Visitor`] play the person at the PDS's pages without a browser.
//! * [`Pds::mint_session`] makes sessions by the thousand.
//!
//! App developers can use the same in their tests. Nothing of this is reachable from `aip`.
//!
//! ```no_run
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! use aip_sandbox::{Endpoint, Sandbox, SandboxOptions, approve};
//!
//! let sandbox = Sandbox::start(SandboxOptions::default()).await?;
//! sandbox.pds.next(Endpoint::Token).times(2).is_unavailable();
//! // … the application begins a sign-in and sends the browser here:
//! # let authorize_url = String::new();
//! let callback = approve(&authorize_url, &sandbox.accounts.alice).await?;
//! // … the browser goes to `callback`; the application survives two times 503:
//! assert_eq!(sandbox.pds.requests_to(Endpoint::Token).len(), 3);
//! sandbox.finish()?;
//! # Ok(())
//! # }
//! ```

pub mod demo;

mod dns;
mod jetstream;
mod name_server;
mod pds;
mod plain_http;
mod plc;
mod run;
mod sandbox;
mod stage;
mod visitor;

pub use dns::Dns;
pub use jetstream::Jetstream;
pub use name_server::NameServer;
pub use pds::{
    AccountState, ClientRefused, Document, EndedSession, Lie, Lifetimes, Mint, MintedSession, Pds,
    PdsOptions, Person, SetupError,
};
pub use plain_http::PlainHttp;
pub use plc::Plc;
pub use run::{RunOptions, Running, run_stand_ins};
pub use sandbox::{Accounts, Sandbox, SandboxOptions, StartError};
pub use stage::Unfinished;
pub use stage::faults::{Endpoint, Gate, Order, When};
pub use stage::reply::Reply;
pub use stage::request::{Form, Received};
pub use visitor::{Decision, Visit, VisitError, Visitor, approve, deny};
