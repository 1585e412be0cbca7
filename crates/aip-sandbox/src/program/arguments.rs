//! The command line of `aip-sandbox`.

use std::net::SocketAddr;

use aip_atproto::Handle;
use clap::Parser;

use crate::server::DEMO_SCOPE;

/// AIP, a PDS, a PLC directory and a demo app on this machine, with the accounts alice.test and
/// bob.test.
#[derive(Parser)]
#[command(version = aip_version::version())]
pub(crate) struct Arguments {
    /// Registers an app of yours with this redirect URI, and prints its id and secret; may be
    /// repeated
    #[arg(long, value_name = "URI", conflicts_with = "aip")]
    pub(crate) redirect_uri: Vec<String>,
    /// What your app may ask for at most
    #[arg(long, requires = "redirect_uri", default_value = DEMO_SCOPE)]
    pub(crate) scope: String,
    /// Your app has no secret, as one in a browser or on a phone
    #[arg(long, requires = "redirect_uri")]
    pub(crate) public: bool,
    /// One more account; may be repeated. Its password is printed
    #[arg(long, value_name = "HANDLE", value_parser = handle)]
    pub(crate) account: Vec<Handle>,
    /// One more account that has not confirmed its e-mail address; may be repeated
    #[arg(long, value_name = "HANDLE", value_parser = handle)]
    pub(crate) unconfirmed_account: Vec<Handle>,
    /// Uses the AIP at this base URL instead of running one; then without demo app unless
    /// `--client-id` is given
    #[arg(long, value_name = "URL")]
    pub(crate) aip: Option<String>,
    /// The demo app's client at that AIP, made with `aip clients create --auth-method none
    /// --redirect-uri http://127.0.0.1:8090/callback`
    #[arg(long, requires = "aip")]
    pub(crate) client_id: Option<String>,
    /// Where that AIP listens without TLS, if its base URL is https: the PDS and the demo app go
    /// there for it
    #[arg(long, value_name = "ADDRESS:PORT", requires = "aip")]
    pub(crate) aip_address: Option<SocketAddr>,
    /// The port of AIP; 0 for a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) aip_port: u16,
    /// The port of the PLC directory; 0 for a free one
    #[arg(long, default_value_t = 2582)]
    pub(crate) plc_port: u16,
    /// The port of the PDS; 0 for a free one
    #[arg(long, default_value_t = 2583)]
    pub(crate) pds_port: u16,
    /// The port of the demo app; 0 for a free one
    #[arg(long, default_value_t = 8090)]
    pub(crate) demo_port: u16,
}

fn handle(text: &str) -> Result<Handle, String> {
    Handle::parse(text).map_err(|error| error.to_string())
}
