//! What the replicas talk to: stand-ins in this process, or a real PDS.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aip_atproto::Handle;
use aip_sandbox::{
    EndedSession, Endpoint, NameServer, Person, Sandbox, SandboxOptions, When, approve,
};
use anyhow::{Context as _, Result};
use harness::sign_in::SignIn;
use serde::Deserialize;
use tokio::time::sleep;
use url::Url;

use crate::decisions::Decisions;
use crate::fault::Fault;
use crate::real::{Lab, LabProgram, Member};

/// What AIP is called where it is a confidential client.
const NAME: &str = "aip.internal";
/// Clients are told that the access tokens of the PDS live so long: every use of a session that
/// rested is a refresh. They do live longer: a token that runs out while a PDS looks at it ends the
/// session there, which nobody can help who uses it until then.
const TOKEN_LIFE: Duration = Duration::from_secs(2);
/// How long a fault of the PDS goes on.
const PDS_FAULT_DURATION: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));

/// PDS, PLC directory and DNS.
pub(crate) enum Upstream {
    Sandbox(Box<StandIns>),
    Real(Box<Lab>),
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(crate) enum AccountHolder {
    OfSandbox(Person),
    OfLab(Member),
}

/// The stand-ins. They end when dropped.
pub(crate) struct StandIns {
    sandbox: Sandbox,
    names: NameServer,
}

/// What is read of a token response.
#[derive(Deserialize)]
struct TokenBody {
    sub: String,
}

impl Upstream {
    pub(crate) async fn sandbox() -> Result<Self> {
        let sandbox = Sandbox::start(SandboxOptions::default()).await?;
        // What arrived is of no interest, and would be kept for ever.
        sandbox.pds.keep_requests(0);
        sandbox.plc.keep_requests(0);
        sandbox
            .pds
            .set_lifetimes(|lifetimes| lifetimes.told = Some(TOKEN_LIFE));
        let names = NameServer::start(sandbox.dns.clone()).await?;
        Ok(Self::Sandbox(Box::new(StandIns { sandbox, names })))
    }

    /// `program` starts PDS and PLC directory, with its log in `folder`.
    pub(crate) async fn real(program: &LabProgram, folder: &Path) -> Result<Self> {
        let lab = Lab::start(program, folder, TOKEN_LIFE).await?;
        Ok(Self::Real(Box::new(lab)))
    }

    /// What leads AIP here, and what it is for the PDS: with stand-ins a confidential client under a
    /// public name, whose assertions a PDS checks against its clock; a real PDS would want TLS for
    /// that.
    pub(crate) fn settings(&self, balancer: SocketAddr) -> Vec<(String, String)> {
        let base = match self {
            Self::Sandbox(it) => {
                it.sandbox.http.map_host(NAME, balancer);
                format!("https://{NAME}")
            }
            Self::Real(_) => format!("http://{balancer}"),
        };
        let (plc, dns) = match self {
            Self::Sandbox(it) => (it.sandbox.plc.origin(), it.names.address.to_string()),
            Self::Real(lab) => (lab.plc.as_str(), lab.dns.clone()),
        };
        let settings = [
            ("AIP_DEVELOPMENT", "true"),
            // Everybody comes from this machine.
            ("AIP_RATE_LIMITS", "false"),
            ("AIP_PLC_URLS", plc),
            ("AIP_DNS_NAMESERVERS", &dns),
            ("AIP_EXTERNAL_BASE", &base),
            ("AIP_DEVELOPMENT_HOSTS", "localhost=127.0.0.1"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.to_vec()
    }

    /// Opens so many accounts.
    pub(crate) async fn people(&self, count: usize) -> Result<Vec<AccountHolder>> {
        match self {
            Self::Sandbox(it) => {
                let handles: Result<Vec<Handle>, _> = (0..count)
                    .map(|number| Handle::parse(&format!("person-{number}.test")))
                    .collect();
                let people = it.sandbox.pds.add_accounts(&handles?, "correct horse")?;
                Ok(people.into_iter().map(AccountHolder::OfSandbox).collect())
            }
            Self::Real(lab) => {
                let people = lab.people(count).await?;
                Ok(people.into_iter().map(AccountHolder::OfLab).collect())
            }
        }
    }

    /// Accounts whose answer was lost after the PDS had spent the refresh token.
    pub(crate) fn lost_answers(&self) -> Result<BTreeSet<String>> {
        let Self::Sandbox(it) = self else {
            return Ok(BTreeSet::new());
        };
        let answers = it.sandbox.pds.lost_answers(Endpoint::Token);
        answers
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| {
                let granted: TokenBody = serde_json::from_slice(&answer.body)?;
                Ok(granted.sub)
            })
            .collect()
    }

    /// The sessions that the PDS ended, in its own words.
    pub(crate) async fn ended(&self) -> Result<Vec<EndedSession>> {
        match self {
            Self::Sandbox(it) => Ok(it.sandbox.pds.ended_sessions()),
            Self::Real(lab) => lab.ended().await,
        }
    }

    /// Which release of the PDS it is, if it is one.
    pub(crate) fn release(&self) -> Option<&str> {
        match self {
            Self::Sandbox(_) => None,
            Self::Real(lab) => Some(&lab.release),
        }
    }

    /// Lets refreshes take their time, where that can be ordered, so that some are under way.
    pub(crate) fn slow_down(&self, decisions: &Decisions) {
        if let Self::Sandbox(it) = self {
            let by = decisions.between(Duration::from_millis(100), Duration::from_millis(500));
            it.sandbox
                .pds
                .always(Endpoint::Token)
                .delays(random_moment(decisions), by);
        }
    }

    /// Ends what was ordered.
    pub(crate) fn heal(&self) {
        if let Self::Sandbox(it) = self {
            it.sandbox.pds.heal(Endpoint::Token);
            it.sandbox.pds.heal(Endpoint::Xrpc);
        }
    }

    /// Does to the PDS what `fault` says, and undoes it. `accounts` have sessions.
    pub(crate) async fn inject_fault(
        &self,
        fault: Fault,
        decisions: &Decisions,
        accounts: &BTreeSet<String>,
    ) -> Result<()> {
        match self {
            Self::Sandbox(it) => {
                it.order(fault, decisions, accounts)?;
                sleep(decisions.between(PDS_FAULT_DURATION.0, PDS_FAULT_DURATION.1)).await;
                self.heal();
                Ok(())
            }
            Self::Real(lab) => {
                lab.restart_pds(decisions.between(PDS_FAULT_DURATION.0, PDS_FAULT_DURATION.1))
                    .await
            }
        }
    }
}

impl StandIns {
    fn order(
        &self,
        fault: Fault,
        decisions: &Decisions,
        accounts: &BTreeSet<String>,
    ) -> Result<()> {
        let pds = &self.sandbox.pds;
        let token = Endpoint::Token;
        match fault {
            Fault::Unavailable => {
                if decisions.below(2) == 0 {
                    pds.always(token).is_unavailable();
                } else {
                    pds.always(token).is_unavailable_for(2);
                }
                pds.always(Endpoint::Xrpc).is_unavailable();
            }
            Fault::TimeOut => pds.next(token).times(5).hangs(When::Before),
            Fault::Stall => {
                let by = decisions.between(Duration::from_secs(1), Duration::from_secs(3));
                pds.always(token).delays(random_moment(decisions), by);
            }
            Fault::ResetBefore => pds.always(token).drops_request(),
            Fault::LostAnswer => pds.next(token).times(3).drops_response(),
            Fault::Amnesia => {
                for did in accounts.iter().take(2) {
                    let did = aip_atproto::Did::parse(did)?;
                    pds.end_sessions(&did);
                }
            }
            // Not of the PDS, or of a real one only: a stand-in that goes down drops answers.
            Fault::Kill
            | Fault::Terminate
            | Fault::Database
            | Fault::Valkey
            | Fault::Skew
            | Fault::PdsRestart => {}
        }
        Ok(())
    }
}

fn random_moment(decisions: &Decisions) -> When {
    [When::Before, When::After][decisions.below(2)]
}

impl AccountHolder {
    pub(crate) fn did(&self) -> &str {
        match self {
            Self::OfSandbox(person) => person.did.as_str(),
            Self::OfLab(member) => &member.did,
        }
    }

    pub(crate) fn handle(&self) -> &str {
        match self {
            Self::OfSandbox(person) => person.handle.as_str(),
            Self::OfLab(member) => &member.handle,
        }
    }

    /// Goes through the pages of the PDS; where they lead in the end.
    pub(crate) async fn approve(&self, sign_in: &SignIn<'_>) -> Result<Url> {
        let url = &sign_in.authorize_url;
        match self {
            Self::OfSandbox(person) => approve(url, person)
                .await
                .context("the stand-in does not let a person in"),
            Self::OfLab(member) => member.approve(url).await,
        }
    }
}
