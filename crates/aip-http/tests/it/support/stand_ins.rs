//! Stand-ins for signing in at a PDS, for the network, and for the health of the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, Handle, Origin, for_upstream};
use aip_base::{Body, Clock as _, DnsError, DnsTxt, Http, HttpError, RowId, SystemRng};
use aip_http::ports::{Health, SignIn};
use aip_keys::{Aad, Sealed, Sealer, TokenHash};
use aip_oauth::claims::{ClaimedEmail, Emails};
use aip_pds::{ResolveError, Step, SubjectInput, Trace};
use aip_sessions::{BeginError, FlowRequest, SignInFailure, SignInRequest, SignInResult};
use aip_storage::account::Account;
use aip_storage::grant::Grant;
use aip_storage::request::FlowBrowser;
use aip_storage::upstream::{
    Credential, OAuthCredential, SealedTokens, UpstreamSession, UpstreamState,
};
use aip_storage::{Storage, StorageError};
use aip_testkit::clock::ManualClock;
use async_trait::async_trait;
use http::{Request, Response};

use super::{ALICE, ALICE_HANDLE, BOB, BOB_HANDLE, param};

/// Signs in whoever is named: `…/authorize?flow=N` leads to the callback `?flow=N`, and
/// `?flow=N&outcome=…` to a failure.
pub(crate) struct PdsStandIn {
    storage: Arc<dyn Storage>,
    sealer: Sealer,
    clock: Arc<ManualClock>,
    flows: Mutex<Vec<Flow>>,
}

/// A sign-in that was begun.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) browser: RowId,
    pub(crate) request: Option<TokenHash>,
    pub(crate) did: Did,
    pub(crate) prompt: Option<String>,
    taken: bool,
}

impl PdsStandIn {
    pub(crate) fn new(storage: Arc<dyn Storage>, sealer: Sealer, clock: Arc<ManualClock>) -> Self {
        Self {
            storage,
            sealer,
            clock,
            flows: Mutex::default(),
        }
    }

    /// The sign-ins that were begun.
    pub(crate) fn flows(&self) -> Vec<Flow> {
        self.flows.lock().unwrap().clone()
    }

    fn seal(&self, column: &'static str, row: RowId) -> Sealed {
        let row = row.to_string();
        let aad = Aad {
            table: "upstream_sessions",
            column,
            row: &row,
        };
        self.sealer.seal(&SystemRng, b"secret", aad).unwrap()
    }

    async fn new_session(&self, flow: &Flow, request: TokenHash) -> RowId {
        let now = self.clock.now();
        let request = self.storage.request(&request, flow.browser, now).await;
        let request = request.unwrap().unwrap().request;
        let id = RowId::new(&*self.clock, &SystemRng);
        let origin = Origin::parse("https://pds.example").unwrap();
        let session = UpstreamSession {
            id,
            client_id: request.client_id,
            did: flow.did.clone(),
            credential: Credential::OAuth(OAuthCredential {
                issuer: origin.clone().into(),
                upstream_client_id: "https://aip.example/oauth-client-metadata.json".to_owned(),
                client_key_id: None,
                dpop_key: self.seal("dpop_key", id),
            }),
            pds: origin,
            scope: for_upstream(&request.params.scope),
            email: None,
            tokens: SealedTokens {
                access: self.seal("access_token", id),
                refresh: Some(self.seal("refresh_token", id)),
                access_expires_at: now + Duration::from_hours(1),
            },
            generation: 0,
            state: UpstreamState::Active,
            next_refresh_at: now + Duration::from_hours(1),
            failures: 0,
            rejected: None,
            last_error: None,
            refreshed_at: now,
            created_at: now,
        };
        self.storage
            .create_upstream_session(&session)
            .await
            .unwrap();
        id
    }
}

#[async_trait]
impl SignIn for PdsStandIn {
    async fn begin(&self, start: SignInRequest<'_>) -> Result<String, BeginError> {
        let did = match start.subject {
            ALICE | ALICE_HANDLE => ALICE,
            BOB | BOB_HANDLE => BOB,
            other => match SubjectInput::parse(other)? {
                SubjectInput::Server(_) => ALICE,
                SubjectInput::Account(AtIdentifier::Handle(handle)) => {
                    return Err(not_found(&handle));
                }
                SubjectInput::Account(AtIdentifier::Did(did)) => {
                    return Err(BeginError::Discover {
                        error: ResolveError::DidNotFound(did).into(),
                        trace: Trace::default(),
                    });
                }
            },
        };
        let mut flows = self.flows.lock().unwrap();
        flows.push(Flow {
            browser: start.browser,
            request: start.request.map(|it| it.token),
            did: did.parse().unwrap(),
            prompt: start.prompt.map(str::to_owned),
            taken: false,
        });
        Ok(format!(
            "https://pds.example/authorize?flow={}",
            flows.len() - 1
        ))
    }

    async fn finish(
        &self,
        browser: &FlowBrowser<'_>,
        query: &str,
    ) -> Result<SignInResult, SignInFailure> {
        let mut browsers = Vec::from_iter(browser.session);
        for token in browser.flow_cookies {
            let session = self.storage.browser_session(token, self.clock.now()).await;
            browsers.extend(session.unwrap().map(|it| it.id));
        }
        let url = format!("?{query}");
        let number: Option<usize> = param(&url, "flow").and_then(|it| it.parse().ok());
        let flow = {
            let mut flows = self.flows.lock().unwrap();
            let flow = number.and_then(|it| flows.get_mut(it));
            match flow.filter(|it| browsers.contains(&it.browser) && !it.taken) {
                Some(flow) => {
                    flow.taken = true;
                    flow.clone()
                }
                None => {
                    return Err(SignInFailure::UnknownState(
                        "it is unknown, used or too old",
                    ));
                }
            }
        };
        let request = flow.request.map(|token| FlowRequest {
            token,
            browser: flow.browser,
        });
        match param(&url, "outcome").as_deref() {
            Some("denied") => {
                return Err(SignInFailure::Denied {
                    request,
                    error: "access_denied".to_owned(),
                });
            }
            Some("refused") => {
                return Err(SignInFailure::Refused {
                    request,
                    check: "the issuer is another one".to_owned(),
                });
            }
            Some("unavailable") => {
                return Err(SignInFailure::Unavailable {
                    request,
                    what: "no connection".to_owned(),
                });
            }
            _ => {}
        }
        let (handle, pds) = if flow.did.as_str() == ALICE {
            (ALICE_HANDLE, "https://pds.example")
        } else {
            (BOB_HANDLE, "https://pds.example")
        };
        self.storage
            .put_account(&Account {
                did: flow.did.clone(),
                handle: Some(handle.parse().unwrap()),
                pds: Origin::parse(pds).unwrap(),
                proven_at: self.clock.now(),
            })
            .await?;
        let request = match flow.request {
            Some(request) => Some((request, self.new_session(&flow, request).await)),
            None => None,
        };
        Ok(SignInResult {
            did: flow.did,
            signed_in_at: self.clock.now(),
            auth_time: (flow.prompt.as_deref() == Some("login")).then(|| self.clock.now()),
            request,
            browser: flow.browser,
            instead_of: None,
        })
    }
}

fn not_found(handle: &Handle) -> BeginError {
    BeginError::Discover {
        error: ResolveError::HandleNotFound(handle.clone()).into(),
        trace: Trace {
            steps: vec![Step {
                what: "DNS TXT",
                subject: format!("_atproto.{handle}"),
                ok: false,
                outcome: "no such record".to_owned(),
                took: Duration::ZERO,
            }],
        },
    }
}

/// No network: no test here reaches a PDS but through [`PdsStandIn`].
pub(crate) struct NoNetwork;

#[async_trait]
impl Http for NoNetwork {
    async fn send(&self, request: Request<Body>, _: Duration) -> Result<Response<Body>, HttpError> {
        panic!("a request was sent to {}", request.uri());
    }
}

#[async_trait]
impl DnsTxt for NoNetwork {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        panic!("{name} was looked up");
    }
}

/// No account has an address.
pub(crate) struct NoEmails;

#[async_trait]
impl Emails for NoEmails {
    async fn email(&self, _: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        Ok(None)
    }
}

/// Ready unless told otherwise.
#[derive(Default)]
pub(crate) struct Healthy {
    pub(crate) drains: AtomicBool,
    pub(crate) panics: AtomicBool,
}

#[async_trait]
impl Health for Healthy {
    fn started(&self) -> bool {
        true
    }

    async fn ready(&self) -> bool {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        !self.drains.load(Ordering::SeqCst)
    }
}
