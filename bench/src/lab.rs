//! Everything that is measured and everything around it: stand-ins for PDS, PLC directory and DNS
//! in this process, `aip serve` in its own, an app and people.

use std::path::Path;

use aip_atproto::Handle;
use aip_sandbox::{NameServer, Person, Sandbox, SandboxOptions};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::server::Server;

/// What the app asks for: who it is, and to write in the person's name.
pub(crate) const SCOPE: &str = "openid atproto transition:generic";
/// Where the app wants people back. Nobody goes there: the code is read from the URL.
pub(crate) const REDIRECT_URI: &str = "https://app.example/callback";

pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) app: App,
    pub(crate) people: Vec<Person>,
    // They end when they are dropped.
    _sandbox: Sandbox,
    _names: NameServer,
}

/// A confidential app.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) client_id: String,
    /// Its `Authorization` field, a line of a request.
    pub(crate) authorization: String,
}

impl Lab {
    /// Starts everything; `settings` come on top of those that point the server at the stand-ins.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        people: usize,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        let sandbox = Sandbox::start(SandboxOptions::default()).await?;
        // What arrived is of no interest, and would be kept for ever.
        sandbox.pds.keep_requests(0);
        sandbox.plc.keep_requests(0);
        let people = (0..people)
            .map(|number| {
                let handle = Handle::parse(&format!("person-{number}.test"))?;
                Ok(sandbox.pds.add_account(&handle, "correct horse")?)
            })
            .collect::<Result<_>>()?;
        let names = NameServer::start(sandbox.dns.clone()).await?;
        let mut all = vec![
            ("AIP_DEVELOPMENT", "true".to_owned()),
            ("AIP_PLC_URLS", sandbox.plc.origin().to_owned()),
            ("AIP_DNS_NAMESERVERS", names.address.to_string()),
        ];
        all.extend_from_slice(settings);
        let server = Server::start(program, folder, &all).await?;
        let credentials = server.register(REDIRECT_URI, SCOPE).await?;
        let basic = format!("{}:{}", credentials.client_id, credentials.client_secret);
        let app = App {
            authorization: format!("authorization: Basic {}\r\n", STANDARD.encode(basic)),
            client_id: credentials.client_id,
        };
        Ok(Self {
            server,
            app,
            people,
            _sandbox: sandbox,
            _names: names,
        })
    }
}
