//! `grant_type=urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 §3.4): a device asks whether
//! somebody has decided, and gets its tokens once.

use aip_keys::TokenKind;
use aip_storage::device::{DevicePoll, PollDevice};

use super::{CheckedTokenRequest, NarrowedTo, TokenError, TokenResponse, Unusable, missing};
use crate::AuthorizationServer;
use crate::dpop::ProvenKey;

/// Why a device gets no tokens (RFC 8628 §3.5). The words are the `error_description`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DeviceWait {
    /// Ask again after the interval.
    #[error("nobody has decided about the code yet")]
    AuthorizationPending,
    /// Ask again after the interval, which is 5 seconds longer from now on.
    #[error("nobody has decided about the code yet; wait 5 seconds longer between two requests")]
    SlowDown,
    /// It has ended.
    #[error("the person did not allow the app")]
    AccessDenied,
    /// It has ended.
    #[error("the code has expired")]
    ExpiredToken,
}

impl DeviceWait {
    /// The error on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl AuthorizationServer {
    pub(super) async fn redeem_device_code(
        &self,
        redeeming: &CheckedTokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let CheckedTokenRequest {
            params,
            client,
            key,
        } = redeeming;
        let client = client.client();
        let code = params
            .get("device_code")
            .ok_or_else(|| missing("device_code"))?;
        let code = TokenKind::DeviceCode
            .parse(code)
            .map_err(|_| Unusable::Malformed)?;
        let code = self.hasher.hash_token(code);
        let narrowed = if params.get("resource").is_some() {
            let asked = self
                .storage
                .device_resources(&code, &client.id, self.clock.now());
            self.narrowed_resources(params, asked.await?)?
        } else {
            NarrowedTo::default()
        };
        let minted = self.mint(client, TokenKind::RefreshToken.mint(&*self.rng), narrowed);
        let poll = DevicePoll {
            code,
            client_id: client.id.clone(),
            dpop_jkt: key.as_ref().map(ProvenKey::thumbprint).map(str::to_owned),
            tokens: minted.tokens.clone(),
            now: self.clock.now(),
        };
        let wait = match self.storage.poll_device(&poll).await? {
            PollDevice::Redeemed(grant) => {
                let key = key.as_ref();
                return self.respond(client, &grant, None, minted, key).await;
            }
            PollDevice::Refused(why) => return Err(Unusable::from(why).into()),
            PollDevice::Pending => DeviceWait::AuthorizationPending,
            PollDevice::TooFast => DeviceWait::SlowDown,
            PollDevice::Denied => DeviceWait::AccessDenied,
            PollDevice::Expired => DeviceWait::ExpiredToken,
        };
        Err(TokenError::Device(wait))
    }
}
