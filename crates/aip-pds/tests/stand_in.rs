//! The whole way on real sockets: through the outbound guard to a stand-in PDS, which demands
//! nonces and kills the session of a replayed refresh token as the reference PDS does.

#![allow(clippy::unwrap_used, reason = "a set-up step that fails ends the test")]

use std::sync::Arc;

use aip_atproto::{Did, Issuer, Origin, ScopeSet};
use aip_base::{Clock, DnsError, Http, Rng, SystemClock, SystemRng};
use aip_jose::{Alg, SigningKey};
use aip_outbound::{Development, Outbound, OutboundConfig, Resolve};
use aip_pds::{
    Callback, ClientIdentity, MemoryNonces, PdsClient, ProofError, PushedRequest, RefreshError,
    Resolver, ResolverConfig, SessionKeys, SignedIn, SubjectInput, Trace, UpstreamCredentials,
};
use aip_sandbox::{Endpoint, PdsOptions, Sandbox, SandboxOptions, approve, deny};
use async_trait::async_trait;
use secrecy::ExposeSecret as _;

const CALLBACK: &str = "http://127.0.0.1:8080/oauth/atp/callback";

struct NoAddresses;

#[async_trait]
impl Resolve for NoAddresses {
    async fn addresses(&self, _: &str) -> Result<Vec<std::net::IpAddr>, DnsError> {
        Err(DnsError::NoRecord)
    }
}

/// A client of the stand-in PDS, with the keys and the scope of one sign-in.
struct SignInFixture {
    sandbox: Sandbox,
    client: PdsClient,
    keys: SessionKeys,
    scope: ScopeSet,
}

impl SignInFixture {
    async fn start() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let development = Development {
            allow_loopback: true,
            ..Development::default()
        };
        let config = OutboundConfig {
            development: Some(development),
            ..Default::default()
        };
        let http: Arc<dyn Http> = Arc::new(Outbound::new(config, Arc::new(NoAddresses)).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let config = ResolverConfig {
            plc: vec![Origin::parse(sandbox.plc.origin()).unwrap()],
            development: true,
            ..ResolverConfig::default()
        };
        let dns = Arc::new(sandbox.dns.clone());
        let resolver = Resolver::new(Arc::clone(&http), dns, Arc::clone(&clock), config);
        let nonces = Arc::new(MemoryNonces::new(100, Arc::clone(&clock)));
        let client = PdsClient::new(http, clock, rng, nonces, Arc::new(resolver));
        let scope = ScopeSet::parse("atproto account:email").unwrap();
        let keys = SessionKeys {
            session: "0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap(),
            client: ClientIdentity::loopback(CALLBACK, &scope),
            dpop: Arc::new(SigningKey::generate(Alg::Es256, None).unwrap()),
        };
        Self {
            sandbox,
            client,
            keys,
            scope,
        }
    }

    fn alice(&self) -> Did {
        Did::parse(self.sandbox.accounts.alice.did.as_str()).unwrap()
    }

    fn issuer(&self) -> Issuer {
        Issuer::parse(self.sandbox.pds.issuer()).unwrap()
    }

    /// Signs alice in by her handle.
    async fn sign_in(&self) -> SignedIn {
        let input = SubjectInput::parse("@alice.test").unwrap();
        let found = self
            .client
            .discover(&input, &mut Trace::default())
            .await
            .unwrap();
        let started = self
            .client
            .start_sign_in(PushedRequest {
                server: &found.server,
                keys: &self.keys,
                redirect_uri: CALLBACK,
                scope: &self.scope,
                state: "state-1",
                login_hint: found.login_hint.as_deref(),
                prompt: None,
            })
            .await
            .unwrap();
        let alice = &self.sandbox.accounts.alice;
        let back = approve(started.authorization_url.as_str(), alice)
            .await
            .unwrap();
        let callback = Callback::parse(back.query().unwrap()).unwrap();
        assert_eq!(callback.state(), "state-1");
        let code = callback.code_from(&found.server.issuer).unwrap();
        let expected = found.expected.map(|account| account.did);
        self.client
            .complete_sign_in(
                &self.keys,
                &found.server,
                CALLBACK,
                &code,
                &started.verifier,
                expected.as_ref(),
            )
            .await
            .unwrap()
    }

    fn credentials(&self, signed_in: &SignedIn) -> UpstreamCredentials {
        let refresh_token = signed_in.tokens.refresh.clone().unwrap();
        UpstreamCredentials {
            keys: self.keys.clone(),
            refresh_token,
            scope: signed_in.tokens.scope.clone(),
        }
    }
}

#[tokio::test]
async fn alice_signs_in_by_her_handle_and_stays_signed_in() {
    let fixture = SignInFixture::start().await;
    let signed_in = fixture.sign_in().await;
    assert_eq!(signed_in.identity.did(), &fixture.alice());
    assert_eq!(signed_in.tokens.scope, fixture.scope);

    let session = fixture.credentials(&signed_in);
    let proven = fixture
        .client
        .prove(&fixture.alice(), &fixture.issuer(), None)
        .await
        .unwrap();
    let new = fixture.client.refresh(&session, &proven).await.unwrap();
    assert_ne!(
        new.access.expose_secret(),
        signed_in.tokens.access.expose_secret()
    );

    let email = fixture
        .client
        .session_email(&fixture.keys, &new.access, proven.pds())
        .await
        .unwrap();
    assert!(email.is_some_and(|email| email.address.contains('@')));

    // The stand-in answers a replay as the reference PDS does: the session is over.
    let error = fixture.client.refresh(&session, &proven).await.unwrap_err();
    assert!(
        matches!(error, RefreshError::InvalidGrant { .. }),
        "{error}"
    );
    assert_eq!(fixture.sandbox.pds.live_sessions(&fixture.alice()), 0);
    fixture.sandbox.finish().unwrap();
}

#[tokio::test]
async fn a_denial_comes_back_as_an_error_with_its_issuer() {
    let fixture = SignInFixture::start().await;
    let input = SubjectInput::parse(fixture.sandbox.pds.origin()).unwrap();
    let found = fixture
        .client
        .discover(&input, &mut Trace::default())
        .await
        .unwrap();
    let request = PushedRequest {
        server: &found.server,
        keys: &fixture.keys,
        redirect_uri: CALLBACK,
        scope: &fixture.scope,
        state: "state-1",
        login_hint: None,
        prompt: None,
    };
    let started = fixture.client.start_sign_in(request).await.unwrap();
    let alice = &fixture.sandbox.accounts.alice;
    let back = deny(started.authorization_url.as_str(), alice)
        .await
        .unwrap();
    let error = Callback::parse(back.query().unwrap())
        .unwrap()
        .code_from(&found.server.issuer);
    let error = error.map(|_| ()).unwrap_err();
    let denied =
        matches!(&error, aip_pds::CallbackError::Denied { error, .. } if error == "access_denied");
    assert!(denied, "{error}");
}

#[tokio::test]
async fn outages_are_distinguished_by_whether_the_token_may_be_used_up() {
    let fixture = SignInFixture::start().await;
    let signed_in = fixture.sign_in().await;
    let session = fixture.credentials(&signed_in);
    let proven = fixture
        .client
        .prove(&fixture.alice(), &fixture.issuer(), None)
        .await
        .unwrap();
    let pds = &fixture.sandbox.pds;

    pds.next(Endpoint::Token).is_unavailable();
    let error = fixture.client.refresh(&session, &proven).await.unwrap_err();
    assert!(
        matches!(
            error,
            RefreshError::Transient {
                status: Some(503),
                ..
            }
        ),
        "{error}"
    );

    pds.next(Endpoint::Token).rate_limits(7);
    let error = fixture.client.refresh(&session, &proven).await.unwrap_err();
    let retry_after = match error {
        RefreshError::Transient { retry_after, .. } => retry_after,
        other => panic!("{other}"),
    };
    assert_eq!(retry_after, Some(std::time::Duration::from_secs(7)));

    pds.go_down().await;
    let error = fixture.client.refresh(&session, &proven).await.unwrap_err();
    assert!(matches!(error, RefreshError::NotSent(_)), "{error}");
    let error = fixture
        .client
        .prove(&fixture.alice(), &fixture.issuer(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ProofError::Indeterminate(_)), "{error}");
    pds.come_up().await.unwrap();

    pds.next(Endpoint::Token).drops_response();
    let error = fixture.client.refresh(&session, &proven).await.unwrap_err();
    assert!(matches!(error, RefreshError::MayHaveArrived(_)), "{error}");
    pds.finish().unwrap();
}

#[tokio::test]
async fn an_account_that_moved_is_detected_by_the_proof() {
    let fixture = SignInFixture::start().await;
    fixture.sign_in().await;
    let new = fixture
        .sandbox
        .another_pds(PdsOptions::default())
        .await
        .unwrap();
    fixture
        .sandbox
        .plc
        .move_to(&fixture.sandbox.accounts.alice.did, new.origin());
    let error = fixture
        .client
        .prove(&fixture.alice(), &fixture.issuer(), None)
        .await
        .unwrap_err();
    let actual = Issuer::parse(new.issuer()).unwrap();
    assert_eq!(
        error,
        ProofError::Moved {
            did: fixture.alice(),
            claimed: fixture.issuer(),
            actual
        }
    );
}
