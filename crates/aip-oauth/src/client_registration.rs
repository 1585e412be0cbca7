//! Clients that register themselves (RFC 7591, OpenID Connect Registration 1.0) and look after that
//! (RFC 7592). How metadata is written is the rim's; the rules for all clients are in
//! [`registration`](crate::registration).
//!
//! Nobody is asked who they are, so such a client gets less than one of the operator's: people are
//! asked for consent, and asked again once it has another name or other redirect URIs; it has no
//! tokens of its own, it is deleted if nobody ever uses it, and where anybody may register it has
//! scopes that PDSs know already: everybody's client document grows with each new one.

use std::time::Duration;

use aip_atproto::{Scope, ScopeSet};
use aip_base::RowId;
use aip_keys::{TokenHash, TokenKind};
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::{Client, ClientId, ClientSettings, GrantType, GrantTypes, IdTokenAlg};
use aip_storage::client_registration::{
    Admission, ChangeRegistration, ChangedRegistration, InitialAccessToken, NewRegistration,
    RegisterClient,
};
use aip_storage::display_uri::DisplayUris;
use secrecy::{ExposeSecret as _, SecretString};

use crate::AuthorizationServer;
use crate::pairwise::PairwiseError;
use crate::registration::{RegistrationError, is_another_app};

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Nobody.
    Off,
    /// Whoever has an initial access token.
    Token,
    /// Anybody.
    Open,
}

/// Which clients may register themselves, and as what.
#[derive(Debug, Clone)]
pub struct RegistrationPolicy {
    /// Who may.
    pub mode: RegistrationMode,
    /// Scopes that a client may take without a token of the operator's, word for word.
    pub open_scopes: ScopeSet,
    /// How many clients may have registered themselves at a time.
    pub max_clients: u64,
    /// After which time a client is deleted that nobody has allowed anything.
    pub unused_ttl: Duration,
    /// Whether clients that can prove who they are must use PKCE, too.
    pub require_pkce: bool,
    /// Life of an access token.
    pub access_token_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// How long a repeated refresh gets the same successor.
    pub refresh_grace: Duration,
}

/// A registration that may go on. Made only by [`AuthorizationServer::admit_registration`].
#[derive(Debug)]
pub struct AdmittedRegistration(Admission);

/// For so long a client that changed its registration, and lost the answer with its new registration access
/// token, may send the change again with the token before.
const REPEAT_GRACE: Duration = Duration::from_mins(1);

/// A registration whose client proved that it is its own. Made only by
/// [`AuthorizationServer::own_registration`] and [`AuthorizationServer::own_registration_to_change`].
#[derive(Debug)]
pub struct OwnRegistration {
    client: Client,
    token: TokenHash,
    /// The token after the next change.
    next_token: SecretString,
}

/// A client as it is registered now, with what it must remember.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// Its secret, if that is new.
    pub secret: Option<SecretString>,
    /// Its registration access token, which is new.
    pub token: SecretString,
}

/// Why a client cannot register, or not look after its registration. The words are the
/// `error_description`.
#[derive(Debug, thiserror::Error)]
pub enum ClientRegistrationError {
    /// 404: there is no such endpoint here.
    #[error("apps cannot register themselves here; the operator registers them")]
    Off,
    /// 401, without an error code (RFC 6750 §3.1).
    #[error("a token is required")]
    NoToken,
    /// 401 `invalid_token`, and nobody learns why: it may be of another client, or of none.
    #[error("the token is unknown, expired or used up, or not for this client")]
    InvalidToken,
    /// 429: the operator set a limit.
    #[error("this server takes no further apps at present")]
    Full,
    /// 400 `invalid_client_metadata`.
    #[error(
        "this server gives apps that register themselves no tokens of their own, so not the grant type `client_credentials`"
    )]
    ClientCredentials,
    /// 400 `invalid_client_metadata`.
    #[error(
        "an app that registers itself cannot have the scope {0}: the operator can register it, or add the scope to client_document.scope"
    )]
    Scope(String),
    /// 400 `invalid_client_metadata`: nothing that goes to a device shows that the app is of the sector
    /// that its redirect URIs are of.
    #[error(
        "an app that registers itself uses no device codes with the subject type `pairwise`: the operator can register it"
    )]
    PairwiseDevice,
    /// 400 `invalid_client_metadata`.
    #[error(
        "the scope aip:credentials is given by the operator alone, with `aip clients update ID --scope`"
    )]
    Credentials,
    /// 400 `invalid_client_metadata` (RFC 7592 §2.2: a client cannot choose its secret).
    #[error("`client_secret` is not the secret of this client; leave it out to be given a new one")]
    Secret,
    /// 503: somebody else is changing it, too. Nothing is changed, and the token is as good as before.
    #[error("the registration was changed at the same time; try again")]
    ChangedMeanwhile,
    /// 400 `invalid_client_metadata`: the operator allows it no other way.
    #[error("this client authenticates with {0}, as the operator has it, and not otherwise")]
    Pinned(&'static str),
    /// 400 `invalid_client_metadata` or `invalid_redirect_uri`.
    #[error(transparent)]
    Settings(#[from] RegistrationError),
}

impl From<StorageError> for ClientRegistrationError {
    fn from(error: StorageError) -> Self {
        Self::Settings(error.into())
    }
}

impl Default for RegistrationPolicy {
    /// Nobody may register.
    fn default() -> Self {
        Self {
            mode: RegistrationMode::Off,
            open_scopes: ScopeSet::default(),
            max_clients: 1000,
            unused_ttl: Duration::from_hours(30 * 24),
            require_pkce: false,
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(90 * 24),
            refresh_grace: Duration::from_secs(30),
        }
    }
}

impl RegistrationPolicy {
    /// A client that says nothing of itself, as OpenID Connect Registration §2 has it.
    pub fn new_client(&self) -> ClientSettings {
        ClientSettings {
            grant_types: GrantTypes::only(GrantType::AuthorizationCode),
            require_pkce: self.require_pkce,
            id_token_alg: IdTokenAlg::Rs256,
            access_token_ttl: self.access_token_ttl,
            refresh_token_ttl: self.refresh_token_ttl,
            refresh_grace: self.refresh_grace,
            ..ClientSettings::default()
        }
    }

    /// What a client is that replaces all that it said of itself by nothing (RFC 7592 §2.2). What
    /// only the operator can set stays. So do the demands that a client can make on itself, as
    /// nobody knows any more whose they were.
    pub fn changed_client(&self, client: &Client) -> ClientSettings {
        let new = self.new_client();
        let old = client.settings.clone();
        ClientSettings {
            name: new.name,
            application_type: new.application_type,
            auth_method: if old.auth_method_pinned {
                old.auth_method
            } else {
                new.auth_method
            },
            keys: new.keys,
            grant_types: new.grant_types,
            redirect_uris: new.redirect_uris,
            post_logout_redirect_uris: new.post_logout_redirect_uris,
            backchannel_logout: new.backchannel_logout,
            frontchannel_logout: new.frontchannel_logout,
            scope: new.scope,
            require_pkce: old.require_pkce || new.require_pkce,
            // Nobody vouches any more for what it is called and where it sends people.
            first_party: false,
            id_token_alg: new.id_token_alg,
            userinfo_alg: new.userinfo_alg,
            ..old
        }
    }
}

impl OwnRegistration {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl AuthorizationServer {
    /// Makes an initial access token for `uses` registrations. It is in the answer and nowhere else.
    pub async fn create_initial_token(
        &self,
        uses: u32,
        lives: Duration,
    ) -> Result<(InitialAccessToken, SecretString), StorageError> {
        let secret = TokenKind::RegistrationToken.mint(&*self.rng);
        let now = self.clock.now();
        let token = InitialAccessToken {
            id: RowId::new(&*self.clock, &*self.rng),
            token: self.hash(&secret),
            uses_left: uses,
            created_at: now,
            expires_at: now + lives,
        };
        self.storage.put_initial_token(&token).await?;
        Ok((token, secret))
    }

    /// Whether somebody with this token may register. Nothing is spent yet.
    pub async fn admit_registration(
        &self,
        token: Option<&str>,
    ) -> Result<AdmittedRegistration, ClientRegistrationError> {
        match self.registration.mode {
            RegistrationMode::Off => Err(ClientRegistrationError::Off),
            RegistrationMode::Open => Ok(AdmittedRegistration(Admission::Open)),
            RegistrationMode::Token => {
                let token = self.hasher.hash(registration_token(token)?);
                if !self.storage.admits(&token, self.clock.now()).await? {
                    return Err(ClientRegistrationError::InvalidToken);
                }
                Ok(AdmittedRegistration(Admission::Token(token)))
            }
        }
    }

    /// Registers a client under a random id, and spends a use of its initial access token.
    pub async fn register_itself(
        &self,
        admitted: AdmittedRegistration,
        settings: ClientSettings,
    ) -> Result<Registered, ClientRegistrationError> {
        let AdmittedRegistration(admission) = admitted;
        if admission == Admission::Open {
            self.check_open_scopes(&settings.scope, &ScopeSet::default())?;
        }
        let settings = for_itself(settings, false)?;
        let now = self.clock.now();
        let id = ClientId::random(&*self.rng);
        let uses_secret = settings.auth_method.uses_secret();
        let secret = uses_secret.then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let secret_hash = secret.as_ref().map(|it| self.hash(it));
        let client = Client {
            registered_itself: true,
            ..self.checked_client(id, settings, secret_hash, now).await?
        };
        self.check_sector(&client.settings, &[])
            .await
            .map_err(RegistrationError::from)?;
        let token = TokenKind::RegistrationToken.mint(&*self.rng);
        let registration = NewRegistration {
            client,
            token: self.hash(&token),
            admission,
            max_clients: self.registration.max_clients,
            unused_until: now + self.registration.unused_ttl,
            now,
        };
        let outcome = self.storage.register_client(&registration).await?;
        let client = registration.client;
        match outcome {
            RegisterClient::Registered => {
                self.note_registration(AuditKind::ClientRegistered, &client)
                    .await;
                Ok(Registered {
                    client,
                    secret,
                    token,
                })
            }
            RegisterClient::NotAdmitted => Err(ClientRegistrationError::InvalidToken),
            RegisterClient::Full => Err(ClientRegistrationError::Full),
            RegisterClient::Exists => Err(RegistrationError::Exists(client.id).into()),
        }
    }

    /// The registration that is at `id`, for whoever has its token.
    pub async fn own_registration(
        &self,
        id: &str,
        token: Option<&str>,
    ) -> Result<OwnRegistration, ClientRegistrationError> {
        let token = registration_token(token)?;
        let found = self.registration_with(id, token).await?;
        let (client, hash) = found.ok_or(ClientRegistrationError::InvalidToken)?;
        Ok(OwnRegistration {
            client,
            token: hash,
            next_token: self.successor(token, b"", self.minute()),
        })
    }

    /// The same, to be changed as it is `sent`: also for whoever has the token before and sends the same again,
    /// by which that token was spent in the last minute. The answer was lost, and with it the only copy of the
    /// token that there is; it is given again. To whoever sends anything else the token before is worthless.
    pub async fn own_registration_to_change(
        &self,
        id: &str,
        token: Option<&str>,
        sent: &[u8],
    ) -> Result<OwnRegistration, ClientRegistrationError> {
        let (token, minute) = (registration_token(token)?, self.minute());
        if let Some((client, hash)) = self.registration_with(id, token).await? {
            return Ok(OwnRegistration {
                client,
                token: hash,
                next_token: self.successor(token, sent, minute),
            });
        }
        let since = self.clock.now() - REPEAT_GRACE;
        // The operator's changes count as changes of the client, too, and must not make a token good again
        // that was spent long ago: so the minute is in the token. The clock of another replica may be ahead.
        for minute in [minute, minute - 1, minute + 1] {
            let current = self.successor(token, sent, minute);
            let found = self.registration_with(id, current.expose_secret()).await?;
            if let Some((client, hash)) = found.filter(|(client, _)| client.updated_at > since) {
                return Ok(OwnRegistration {
                    client,
                    token: hash,
                    next_token: current,
                });
            }
        }
        Err(ClientRegistrationError::InvalidToken)
    }

    /// The client of that id, if that is its registration access token, with the keyed hash of the token.
    async fn registration_with(
        &self,
        id: &str,
        token: &str,
    ) -> Result<Option<(Client, TokenHash)>, ClientRegistrationError> {
        let hash = self.hasher.hash(token);
        let id: ClientId = id
            .parse()
            .map_err(|_| ClientRegistrationError::InvalidToken)?;
        let client = self.storage.own_registration(&id, &hash).await?;
        Ok(client.map(|client| (client, hash)))
    }

    /// The token that follows a token at a change in that minute that was sent so. It is always the same one,
    /// so that it can be given again.
    fn successor(&self, token: &str, sent: &[u8], minute: i64) -> SecretString {
        let sent = String::from_utf8_lossy(sent);
        let from = SecretString::from(format!("{minute} {token} {sent}"));
        self.hasher
            .derive(TokenKind::RegistrationToken, from.expose_secret())
    }

    /// The present minute, since the epoch.
    fn minute(&self) -> i64 {
        self.clock.now().as_secs().div_euclid(60)
    }

    /// Replaces all that the client said of itself (RFC 7592 §2.2), and the registration access
    /// token. A client with a secret keeps it by naming it, and otherwise gets a new one.
    pub async fn replace_registration(
        &self,
        own: OwnRegistration,
        secret: Option<&str>,
        settings: ClientSettings,
    ) -> Result<Registered, ClientRegistrationError> {
        let OwnRegistration {
            client: old,
            token,
            next_token,
        } = own;
        // Whoever took the registration access token must not get codes without a page from people who
        // allowed another app.
        let forgets_consents = is_another_app(&old.settings, &settings);
        self.check_open_scopes(&settings.scope, &old.settings.scope)?;
        if settings.pairwise != old.settings.pairwise {
            return Err(RegistrationError::from(PairwiseError::Fixed).into());
        }
        let method = old.settings.auth_method;
        if old.settings.auth_method_pinned && settings.auth_method != method {
            return Err(ClientRegistrationError::Pinned(method.as_str()));
        }
        // The operator gave it to an app of that name at those addresses, which proves itself like that.
        let proves_itself_as_before =
            settings.auth_method == method && settings.keys == old.settings.keys;
        let keeps_credentials = old.settings.scope.contains(&Scope::Credentials)
            && !forgets_consents
            && proves_itself_as_before;
        let mut settings = for_itself(settings, keeps_credentials)?;
        if forgets_consents {
            // It was the operator's word to PDSs for an app of that name at those addresses.
            settings.own_upstream_document = false;
            settings.client_assertions = false;
            settings.display_uris = DisplayUris::default();
        }
        if !proves_itself_as_before {
            // Anybody could ask for those of an app that no longer authenticates.
            settings.client_assertions = false;
        }
        let named = secret.map(|secret| self.hasher.hash(secret));
        if named.is_some() && named != old.secret_hash {
            return Err(ClientRegistrationError::Secret);
        }
        let uses_secret = settings.auth_method.uses_secret();
        let kept = named.filter(|_| uses_secret);
        let fresh = uses_secret && kept.is_none();
        let secret = fresh.then(|| TokenKind::ClientSecret.mint(&*self.rng));
        let secret_hash = secret.as_ref().map(|it| self.hash(it)).or(kept);
        let checked = self.checked_client(old.id, settings, secret_hash, old.created_at);
        let client = Client {
            registered_itself: true,
            ..checked.await?
        };
        let known = &old.settings.redirect_uris;
        self.check_sector(&client.settings, known)
            .await
            .map_err(RegistrationError::from)?;
        let change = ChangedRegistration {
            client,
            read_at: old.updated_at,
            replaces_secret: fresh,
            forgets_consents,
            token,
            next_token: self.hash(&next_token),
        };
        let changed = self.storage.change_registration(&change).await?;
        let client = change.client;
        self.known_clients.forget(&client.id);
        match changed {
            ChangeRegistration::Changed => {}
            ChangeRegistration::Refused => return Err(ClientRegistrationError::InvalidToken),
            ChangeRegistration::ChangedMeanwhile => {
                return Err(ClientRegistrationError::ChangedMeanwhile);
            }
        }
        let kind = AuditKind::ClientRegistrationChanged;
        self.note_registration(kind, &client).await;
        Ok(Registered {
            client,
            secret,
            token: next_token,
        })
    }

    /// Deletes a client at its own wish (RFC 7592 §2.3), with all tokens and grants.
    pub async fn delete_registration(
        &self,
        own: OwnRegistration,
    ) -> Result<(), ClientRegistrationError> {
        let OwnRegistration { client, token, .. } = own;
        let now = self.clock.now();
        let deletion = self.storage.delete_registration(&client.id, &token, now);
        let deleted = deletion.await?;
        self.known_clients.forget(&client.id);
        self.known_tokens
            .forget_grants(|grant| grant.client_id == client.id);
        if !deleted {
            return Err(ClientRegistrationError::InvalidToken);
        }
        let kind = AuditKind::ClientRegistrationDeleted;
        self.note_registration(kind, &client).await;
        Ok(())
    }

    /// Refuses scopes that neither everybody may have nor this client has already.
    fn check_open_scopes(
        &self,
        scope: &ScopeSet,
        had: &ScopeSet,
    ) -> Result<(), ClientRegistrationError> {
        let open = &self.registration.open_scopes;
        let beyond = scope
            .iter()
            .find(|it| !open.contains(it) && !had.contains(it));
        beyond.map_or(Ok(()), |scope| {
            let shown = scope.to_string().chars().take(100).collect();
            Err(ClientRegistrationError::Scope(shown))
        })
    }

    /// Notes what is done already. Where that fails, the answer goes out all the same: it may have
    /// the only copy of new credentials.
    async fn note_registration(&self, kind: AuditKind, client: &Client) {
        let event = AuditEvent::new(&*self.clock, &*self.rng, kind, "");
        self.storage.note(&event.of_client(&client.id)).await;
    }
}

/// The token, if it can be one.
fn registration_token(token: Option<&str>) -> Result<&str, ClientRegistrationError> {
    let token = token.ok_or(ClientRegistrationError::NoToken)?;
    TokenKind::RegistrationToken
        .parse(token)
        .map_err(|_| ClientRegistrationError::InvalidToken)?;
    Ok(token)
}

/// What holds for every client that registers itself, whatever it says. Only one that has the scope
/// `aip:credentials` from the operator may go on having it.
fn for_itself(
    mut settings: ClientSettings,
    keeps_credentials: bool,
) -> Result<ClientSettings, ClientRegistrationError> {
    if settings.scope.contains(&Scope::Credentials) && !keeps_credentials {
        return Err(ClientRegistrationError::Credentials);
    }
    if settings.grant_types.allows(GrantType::ClientCredentials) {
        return Err(ClientRegistrationError::ClientCredentials);
    }
    if settings.pairwise.is_some() && settings.grant_types.allows(GrantType::DeviceCode) {
        return Err(ClientRegistrationError::PairwiseDevice);
    }
    settings.require_pkce |= !settings.auth_method.is_confidential();
    Ok(settings)
}
