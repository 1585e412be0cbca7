//! Device authorization (RFC 8628): a device without a browser gets a device code to poll with, and a
//! user code that a person enters in a browser elsewhere. From there on it is an authorization request
//! of that browser, whose answer the device fetches.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::ScopeSet;
use aip_base::{Rng, Timestamp};
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::client::{Client, GrantType};
use aip_storage::device::DeviceAuthorization;
use aip_storage::prompt::Prompts;
use aip_storage::request::{AuthorizationParams, Delivery};
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;
use secrecy::SecretString;

use super::checks::{self, RequestedScope};
use super::error::{ClientRequestError, RefusalCode};
use super::{RequestSource, ValidRequest};
use crate::AuthorizationServer;
use crate::client_auth::ClientRequest;
use crate::params::Params;

/// How long a person has to enter the code and to decide.
const DEVICE_TTL: Duration = Duration::from_mins(30);

/// How long a device waits between two polls.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The letters of user codes (RFC 8628 §6.1): no vowels, so that they spell no words.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The letters of a user code: 34 bits, with the limit on tries in `aip-http` (§5.1).
const USER_CODE_LENGTH: usize = 8;

/// How often another user code is made when one is taken.
const USER_CODE_TRIES: usize = 3;

/// What a device asks for, after every check. Made only by
/// [`AuthorizationServer::check_device_authorization`].
#[derive(Debug)]
pub struct CheckedDevice {
    client: Arc<Client>,
    scope: ScopeSet,
    asked: ScopeSet,
    resources: ResourceList,
}

/// What the device gets (RFC 8628 §3.2).
#[derive(Debug)]
pub struct DeviceResponse {
    /// To poll with.
    pub device_code: SecretString,
    /// To be entered by the person.
    pub user_code: String,
    /// Seconds until both expire.
    pub expires_in: u64,
    /// Seconds between two polls.
    pub interval: u64,
}

/// When and from where a device asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOrigin {
    /// When.
    pub asked_at: Timestamp,
    /// From which network, as [`DeviceAuthorization::asked_from`].
    pub asked_from: Option<String>,
}

impl CheckedDevice {
    /// The app on the device.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl AuthorizationServer {
    /// Checks what a device asks for: client first, then whether it may ask this way, then the scope
    /// and the resource servers.
    pub async fn check_device_authorization(
        &self,
        request: ClientRequest<'_>,
    ) -> Result<CheckedDevice, ClientRequestError> {
        let params = Params::parse(request.body)?;
        let (client, _) = self
            .authenticate::<ClientRequestError>(request, &params)
            .await?;
        let client = client.shared();
        if !client.may_use(GrantType::DeviceCode) {
            let what = "the client is not registered for the grant type of device codes";
            let code = RefusalCode::UnauthorizedClient;
            return Err(ClientRequestError::Refused(code, what.to_owned()));
        }
        let scope = checks::scope(&params, &client);
        let RequestedScope { asked, scope } =
            scope.map_err(|(code, what)| ClientRequestError::Refused(code, what))?;
        let resources = self
            .requested_resources(&params, &client)
            .map_err(|error| {
                ClientRequestError::Refused(RefusalCode::InvalidTarget, error.to_string())
            })?;
        Ok(CheckedDevice {
            client,
            scope,
            asked,
            resources,
        })
    }

    /// Stores what a device asks for from the network `asked_from`, and makes its codes.
    pub async fn authorize_device(
        &self,
        checked: CheckedDevice,
        asked_from: String,
    ) -> Result<DeviceResponse, StorageError> {
        for _ in 0..USER_CODE_TRIES {
            let device_code = TokenKind::DeviceCode.mint(&*self.rng);
            let user_code = random_user_code(&*self.rng);
            let authorization = DeviceAuthorization {
                code: self.hash(&device_code),
                user_code: self.user_code_hash(&user_code),
                client_id: checked.client.id.clone(),
                scope: checked.scope.clone(),
                asked: checked.asked.clone(),
                resources: checked.resources.clone(),
                asked_from: Some(asked_from.clone()),
                interval: POLL_INTERVAL,
                expires_at: self.clock.now() + DEVICE_TTL,
            };
            if self.storage.put_device_code(&authorization).await? {
                let (first, second) = user_code.split_at(USER_CODE_LENGTH / 2);
                return Ok(DeviceResponse {
                    device_code,
                    user_code: format!("{first}-{second}"),
                    expires_in: DEVICE_TTL.as_secs(),
                    interval: POLL_INTERVAL.as_secs(),
                });
            }
        }
        Err(StorageError::Inconsistent {
            table: "device_codes",
            row: checked.client.id.to_string(),
            what: format!("{USER_CODE_TRIES} random user codes are there already"),
        })
    }

    /// The device whose user code somebody typed, in any case and with or without dash (RFC 8628
    /// §6.1), by the keyed hash of its device code. `None`: there is none, or it is decided or
    /// expired.
    pub async fn device_of_user_code(
        &self,
        typed: &str,
    ) -> Result<Option<TokenHash>, StorageError> {
        let Some(user_code) = read_user_code(typed) else {
            return Ok(None);
        };
        let (hash, now) = (self.user_code_hash(&user_code), self.clock.now());
        let found = self.storage.device_of_user_code(&hash, now).await?;
        Ok(found.map(|it| it.code))
    }

    /// What the device of that code asks for, as a browser goes on with it. `None`: it is decided or
    /// expired, or its client may not use device codes any more.
    pub async fn device_request(
        &self,
        code: &TokenHash,
    ) -> Result<Option<ValidRequest>, StorageError> {
        let found = self.storage.undecided_device(code, self.clock.now());
        let Some(found) = found.await? else {
            return Ok(None);
        };
        let client = self.read_client(&found.client_id).await?;
        let client = client.filter(|it| it.may_use(GrantType::DeviceCode));
        Ok(client.map(|client| ValidRequest {
            client,
            params: AuthorizationParams {
                delivery: Delivery::Device(found.code),
                scope: found.scope,
                asked: found.asked,
                nonce: None,
                code_challenge: None,
                dpop_jkt: None,
                login_hint: None,
                prompts: Prompts::default(),
                max_age: None,
                subjects: Vec::new(),
                claims: RequestedClaims::default(),
                resources: found.resources,
            },
            source: RequestSource::Device(*code),
        }))
    }

    /// When and from where the device of that code asked, for the person who is to allow it (RFC 8628
    /// §5.4). `None`: it is decided or expired.
    pub async fn device_origin(
        &self,
        code: &TokenHash,
    ) -> Result<Option<DeviceOrigin>, StorageError> {
        let found = self.storage.undecided_device(code, self.clock.now());
        Ok(found.await?.map(|found| DeviceOrigin {
            // Until somebody decides, it expires that long after it asked.
            asked_at: found.expires_at - DEVICE_TTL,
            asked_from: found.asked_from,
        }))
    }

    fn user_code_hash(&self, user_code: &str) -> TokenHash {
        self.hasher.hash(&format!("user_code {user_code}"))
    }
}

/// A user code, without dash. Bytes from 240 on are drawn again, so that every letter is as likely.
fn random_user_code(rng: &dyn Rng) -> String {
    let mut code = String::new();
    while code.len() < USER_CODE_LENGTH {
        let mut bytes = [0];
        rng.fill(&mut bytes);
        let [byte] = bytes;
        let letters = USER_CODE_LETTERS.len();
        let fair = usize::from(byte) < 256 / letters * letters;
        if let Some(letter) = USER_CODE_LETTERS
            .get(usize::from(byte) % letters)
            .filter(|_| fair)
        {
            code.push(char::from(*letter));
        }
    }
    code
}

/// The user code that somebody typed; `None` if it cannot be one.
fn read_user_code(typed: &str) -> Option<String> {
    let code: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let is_letter = |byte: u8| USER_CODE_LETTERS.contains(&byte);
    (code.len() == USER_CODE_LENGTH && code.bytes().all(is_letter)).then_some(code)
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;

    #[test]
    fn user_codes_are_random_letters_that_spell_no_words() {
        let codes: Vec<_> = (0..200).map(|_| random_user_code(&SystemRng)).collect();
        for code in &codes {
            assert_eq!(read_user_code(code).as_ref(), Some(code));
        }
        let seen = codes.concat();
        let letters = USER_CODE_LETTERS.iter();
        assert!(letters.copied().all(|it| seen.contains(char::from(it))));
    }

    #[test]
    fn a_user_code_is_read_in_any_case_with_or_without_dash() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk\t", "b-c-d-f-g-h-j-k"] {
            assert_eq!(
                read_user_code(typed).as_deref(),
                Some("BCDFGHJK"),
                "{typed}"
            );
        }
        let long = "B".repeat(100_000);
        for typed in [
            "",
            "BCDF-GHJ",
            "BCDF-GHJKL",
            "ABCD-FGHJ",
            "BCDF-GHJ0",
            "BCDF\u{2010}GHJK",
            &long,
        ] {
            assert_eq!(read_user_code(typed), None, "{typed}");
        }
    }
}
