//! Everything that is measured and everything around it: stand-ins for PDS, PLC directory and DNS
//! in this process, `aip serve` in its own, an app and people.

use std::path::Path;

use aip_atproto::Handle;
use aip_sandbox::{NameServer, Person, Sandbox, SandboxOptions};
use anyhow::Result;
use harness::app::App;

use crate::server::Server;

pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) app: App,
    pub(crate) people: Vec<Person>,
    // They end when they are dropped.
    _sandbox: Sandbox,
    _names: NameServer,
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
            // All people come from this machine.
            ("AIP_RATE_LIMITS", "false".to_owned()),
            ("AIP_DEVELOPMENT", "true".to_owned()),
            ("AIP_PLC_URLS", sandbox.plc.origin().to_owned()),
            ("AIP_DNS_NAMESERVERS", names.address.to_string()),
        ];
        all.extend_from_slice(settings);
        let server = Server::start(program, folder, &all).await?;
        let app = App::register(server.command(), "Bench").await?;
        Ok(Self {
            server,
            app,
            people,
            _sandbox: sandbox,
            _names: names,
        })
    }
}
