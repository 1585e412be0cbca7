//! `aip clients`: registering apps, and what becomes of them.

use std::time::Duration;

use aip_base::Timestamp;
use aip_config::LoadedConfig;
use aip_oauth::AuthorizationServer;
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_storage::client::{
    ApplicationType, Client, ClientAuthMethod, ClientId, IdTokenAlg, RedirectUri,
};
use clap::{Subcommand, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;

use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format, Row};
use crate::runtime::{on_database, read_keys, whereabouts};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Registers an app. The secret is shown once
    Create(Box<Create>),
    /// Lists all apps
    List,
    /// Shows one app
    Show(Named),
    /// Changes an app; what is not named stays
    Update(Box<Update>),
    /// Deletes an app with everything people allowed it
    Delete(Named),
    /// Gives an app a new secret; the old one is worthless at once
    RotateSecret(Named),
}

#[derive(clap::Args)]
struct Named {
    /// The client id
    id: ClientId,
}

#[derive(clap::Args)]
struct Create {
    /// The client id; a random one unless given
    #[arg(long)]
    id: Option<ClientId>,
    #[command(flatten)]
    settings: Changes,
}

#[derive(clap::Args)]
struct Update {
    /// The client id
    id: ClientId,
    #[command(flatten)]
    settings: Changes,
}

/// What can be said of an app.
#[derive(clap::Args)]
struct Changes {
    /// The name shown to people
    #[arg(long)]
    name: Option<String>,
    /// Where answers may go; may be repeated
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,
    /// How the app proves who it is at the token endpoint (by default `client_secret_basic`).
    /// With a secret both `client_secret_basic` and `client_secret_post` work
    #[arg(long, value_name = "METHOD")]
    auth_method: Option<AuthMethod>,
    /// Whether the secret is taken by the named method only
    #[arg(long, value_name = "BOOL")]
    pin_auth_method: Option<bool>,
    /// Where browsers may go after a logout; may be repeated; a single empty one clears the list
    #[arg(long, value_name = "URI")]
    post_logout_redirect_uri: Vec<String>,
    /// What the app may ask for at most, space-separated
    /// (by default `openid profile atproto`: who somebody is, and nothing else)
    #[arg(long)]
    scope: Option<String>,
    /// Whether it runs on a server or in a browser, or on the person's device
    #[arg(long, value_name = "TYPE")]
    application_type: Option<AppType>,
    /// Whether an authorization without PKCE is refused; true by default
    #[arg(long, value_name = "BOOL")]
    require_pkce: Option<bool>,
    /// Whether an authorization request that was not pushed (RFC 9126) is refused; false by default
    #[arg(long, value_name = "BOOL")]
    require_par: Option<bool>,
    /// Your own app: people are not asked for consent
    #[arg(long, value_name = "BOOL")]
    first_party: Option<bool>,
    /// How ID tokens are signed; ES256 by default
    #[arg(long, value_name = "ALG")]
    id_token_alg: Option<TokenAlg>,
    /// Whether ID tokens carry what userinfo answers with (handle, name, e-mail address), for apps
    /// that look nowhere else, such as Auth.js; false by default
    #[arg(long, value_name = "BOOL")]
    claims_in_id_token: Option<bool>,
    /// Life of an access token in seconds, a day at most
    #[arg(long, value_name = "SECONDS")]
    access_token_ttl: Option<u64>,
    /// Life of an unused refresh token in seconds, a year at most
    #[arg(long, value_name = "SECONDS")]
    refresh_token_ttl: Option<u64>,
    /// How long a repeated refresh gets the same answer, 0 to 60 seconds; at most 10 for Bearer
    /// tokens of apps without a secret
    #[arg(long, value_name = "SECONDS")]
    refresh_grace: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum AuthMethod {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

#[derive(Clone, Copy, ValueEnum)]
enum AppType {
    Web,
    Native,
}

#[derive(Clone, Copy, ValueEnum)]
enum TokenAlg {
    #[value(name = "ES256")]
    Es256,
    #[value(name = "RS256")]
    Rs256,
}

/// What an app may ask for unless the operator says otherwise. A request without `scope` gets all of
/// it, so it is the least that makes sense.
const DEFAULT_SCOPE: &str = "openid profile atproto";

/// A client as it is printed; the names are those of RFC 7591 where it has one.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the registration"
)]
#[derive(Serialize)]
struct ClientRow {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    client_name: String,
    application_type: &'static str,
    token_endpoint_auth_method: &'static str,
    token_endpoint_auth_method_pinned: bool,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    scope: String,
    require_pkce: bool,
    require_pushed_authorization_requests: bool,
    first_party: bool,
    id_token_signed_response_alg: &'static str,
    claims_in_id_token: bool,
    access_token_ttl: u64,
    refresh_token_ttl: u64,
    refresh_grace: u64,
    client_id_issued_at: i64,
    updated_at: i64,
}

impl Row for ClientRow {
    const COLUMNS: &'static [&'static str] = &[
        "client id",
        "name",
        "type",
        "authentication",
        "redirect uris",
    ];
    const NONE: &'static str = "There is no app; `aip clients create` registers one.";

    fn cells(&self) -> Vec<String> {
        vec![
            self.client_id.clone(),
            self.client_name.clone(),
            self.application_type.to_owned(),
            self.token_endpoint_auth_method.to_owned(),
            self.redirect_uris.join(" "),
        ]
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let loaded = load(global)?;
    let keys = read_keys(&loaded)?;
    let tokens = &loaded.config.tokens;
    let defaults = Ttls {
        access: tokens.access_ttl,
        refresh: tokens.refresh_ttl,
        grace: tokens.refresh_grace,
    };
    on_database(&loaded, async |runtime| {
        let server = runtime.authorization_server(&loaded, &keys).await?;
        act(args.action, &server, &defaults, &loaded, global.output).await
    })
}

/// The configured lives of tokens.
struct Ttls {
    access: Duration,
    refresh: Duration,
    grace: Duration,
}

async fn act(
    action: Action,
    server: &AuthorizationServer,
    defaults: &Ttls,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    match action {
        Action::Create(create) => {
            let settings = create.settings.over(new_client(defaults))?;
            let (client, secret) = server
                .register_client(create.id, settings)
                .await
                .map_err(failure)?;
            show(&client, secret.as_ref(), format)?;
            if format != Format::Json {
                next_steps(loaded);
            }
            Ok(())
        }
        Action::List => {
            let clients = server.storage.list_clients().await?;
            let rows: Vec<ClientRow> = clients.iter().map(|client| shown(client, None)).collect();
            Ok(format.list(&rows)?)
        }
        Action::Show(Named { id }) => show(&find(server, id).await?, None, format),
        Action::Update(update) => {
            let old = find(server, update.id).await?;
            let settings = update.settings.over(settings_of(&old))?;
            let (client, secret) = server
                .update_client(&old.id, settings)
                .await
                .map_err(failure)?;
            show(&client, secret.as_ref(), format)
        }
        Action::Delete(Named { id }) => {
            let now = server.clock.now();
            if !server.storage.delete_client(&id, now).await? {
                return Err(failure(RegistrationError::Unknown(id)));
            }
            let words = format!(
                "Deleted {id}. Its sessions at PDSs are revoked by the server in the next minutes."
            );
            Ok(format.done(
                &json!({"client_id": id.to_string(), "deleted": true}),
                &words,
            )?)
        }
        Action::RotateSecret(Named { id }) => {
            let secret = server.rotate_client_secret(&id).await.map_err(failure)?;
            show(&find(server, id).await?, Some(&secret), format)
        }
    }
}

async fn find(server: &AuthorizationServer, id: ClientId) -> Result<Client, Failure> {
    let found = server.storage.client(&id).await?;
    found.ok_or_else(|| failure(RegistrationError::Unknown(id)))
}

/// What the operator said wrongly is a usage error, the rest failed.
fn failure(error: RegistrationError) -> Failure {
    match error {
        RegistrationError::Storage(_)
        | RegistrationError::Exists(_)
        | RegistrationError::Unknown(_)
        | RegistrationError::NoSecret(_) => error.into(),
        _ => Failure::usage(error),
    }
}

fn new_client(defaults: &Ttls) -> ClientSettings {
    ClientSettings {
        name: String::new(),
        application_type: ApplicationType::Web,
        auth_method: ClientAuthMethod::SecretBasic,
        auth_method_pinned: false,
        redirect_uris: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        scope: DEFAULT_SCOPE.parse().unwrap_or_default(),
        require_pkce: true,
        require_par: false,
        first_party: false,
        id_token_alg: IdTokenAlg::Es256,
        claims_in_id_token: false,
        access_token_ttl: defaults.access,
        refresh_token_ttl: defaults.refresh,
        refresh_grace: defaults.grace,
    }
}

fn settings_of(client: &Client) -> ClientSettings {
    ClientSettings {
        name: client.name.clone(),
        application_type: client.application_type,
        auth_method: client.auth_method,
        auth_method_pinned: client.auth_method_pinned,
        redirect_uris: texts(&client.redirect_uris),
        post_logout_redirect_uris: texts(&client.post_logout_redirect_uris),
        scope: client.scope.clone(),
        require_pkce: client.require_pkce,
        require_par: client.require_par,
        first_party: client.first_party,
        id_token_alg: client.id_token_alg,
        claims_in_id_token: client.claims_in_id_token,
        access_token_ttl: client.access_token_ttl,
        refresh_token_ttl: client.refresh_token_ttl,
        refresh_grace: client.refresh_grace,
    }
}

impl Changes {
    /// `base` with what was said on the command line.
    fn over(self, base: ClientSettings) -> Result<ClientSettings, Failure> {
        let scope = self
            .scope
            .map(|text| text.parse())
            .transpose()
            .map_err(Failure::usage)?;
        let seconds = |said: Option<u64>, base| said.map_or(base, Duration::from_secs);
        let list = |said: Vec<String>, base| match said.as_slice() {
            [] => base,
            [one] if one.is_empty() => Vec::new(),
            _ => said,
        };
        Ok(ClientSettings {
            name: self.name.unwrap_or(base.name),
            application_type: self
                .application_type
                .map_or(base.application_type, Into::into),
            auth_method: self.auth_method.map_or(base.auth_method, Into::into),
            auth_method_pinned: self.pin_auth_method.unwrap_or(base.auth_method_pinned),
            redirect_uris: list(self.redirect_uri, base.redirect_uris),
            post_logout_redirect_uris: list(
                self.post_logout_redirect_uri,
                base.post_logout_redirect_uris,
            ),
            scope: scope.unwrap_or(base.scope),
            require_pkce: self.require_pkce.unwrap_or(base.require_pkce),
            require_par: self.require_par.unwrap_or(base.require_par),
            first_party: self.first_party.unwrap_or(base.first_party),
            id_token_alg: self.id_token_alg.map_or(base.id_token_alg, Into::into),
            claims_in_id_token: self.claims_in_id_token.unwrap_or(base.claims_in_id_token),
            access_token_ttl: seconds(self.access_token_ttl, base.access_token_ttl),
            refresh_token_ttl: seconds(self.refresh_token_ttl, base.refresh_token_ttl),
            refresh_grace: seconds(self.refresh_grace, base.refresh_grace),
        })
    }
}

impl From<AuthMethod> for ClientAuthMethod {
    fn from(method: AuthMethod) -> Self {
        match method {
            AuthMethod::None => Self::None,
            AuthMethod::ClientSecretBasic => Self::SecretBasic,
            AuthMethod::ClientSecretPost => Self::SecretPost,
        }
    }
}

impl From<AppType> for ApplicationType {
    fn from(kind: AppType) -> Self {
        match kind {
            AppType::Web => Self::Web,
            AppType::Native => Self::Native,
        }
    }
}

impl From<TokenAlg> for IdTokenAlg {
    fn from(alg: TokenAlg) -> Self {
        match alg {
            TokenAlg::Es256 => Self::Es256,
            TokenAlg::Rs256 => Self::Rs256,
        }
    }
}

fn show(client: &Client, secret: Option<&SecretString>, format: Format) -> Result<(), Failure> {
    let shown = shown(client, secret);
    match format {
        Format::Json => output::json(&shown)?,
        Format::Table | Format::Wide => output::members(&members(&shown, client))?,
    }
    if secret.is_some() {
        output::say("The secret is shown this once; AIP keeps only a hash of it.");
    }
    Ok(())
}

/// What is shown to people, the most wanted first.
fn members(shown: &ClientRow, client: &Client) -> Vec<(&'static str, String)> {
    let text = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let list = |uris: &[String]| text(&uris.join(" "));
    let lasts = |seconds| output::words_for(Duration::from_secs(seconds));
    let mut members = vec![("client_id", shown.client_id.clone())];
    if let Some(secret) = &shown.client_secret {
        members.push(("client_secret", secret.clone()));
    }
    members.extend([
        ("client_name", shown.client_name.clone()),
        ("application_type", text(shown.application_type)),
        (
            "token_endpoint_auth_method",
            text(shown.token_endpoint_auth_method),
        ),
        (
            "token_endpoint_auth_method_pinned",
            shown.token_endpoint_auth_method_pinned.to_string(),
        ),
        ("redirect_uris", list(&shown.redirect_uris)),
        (
            "post_logout_redirect_uris",
            list(&shown.post_logout_redirect_uris),
        ),
        ("scope", text(&shown.scope)),
        ("require_pkce", shown.require_pkce.to_string()),
        (
            "require_pushed_authorization_requests",
            shown.require_pushed_authorization_requests.to_string(),
        ),
        ("first_party", shown.first_party.to_string()),
        (
            "id_token_signed_response_alg",
            text(shown.id_token_signed_response_alg),
        ),
        ("claims_in_id_token", shown.claims_in_id_token.to_string()),
        ("access_token_ttl", lasts(shown.access_token_ttl)),
        ("refresh_token_ttl", lasts(shown.refresh_token_ttl)),
        ("refresh_grace", lasts(shown.refresh_grace)),
        ("created_at", output::instant(client.created_at)),
        ("updated_at", output::instant(client.updated_at)),
    ]);
    members
}

/// What the developer needs next, and where the app is registered now.
fn next_steps(loaded: &LoadedConfig) {
    let base = &loaded.external_base;
    output::say(&format!(
        "Registered in {}.\nThe app finds everything at {base}/.well-known/openid-configuration \
         (issuer {base}).",
        whereabouts(loaded)
    ));
}

fn shown(client: &Client, secret: Option<&SecretString>) -> ClientRow {
    let seconds = |instant: Timestamp| instant.as_secs();
    ClientRow {
        client_id: client.id.to_string(),
        client_secret: secret.map(|it| it.expose_secret().to_owned()),
        client_name: client.name.clone(),
        application_type: client.application_type.as_str(),
        token_endpoint_auth_method: client.auth_method.as_str(),
        token_endpoint_auth_method_pinned: client.auth_method_pinned,
        redirect_uris: texts(&client.redirect_uris),
        post_logout_redirect_uris: texts(&client.post_logout_redirect_uris),
        scope: client.scope.to_string(),
        require_pkce: client.require_pkce,
        require_pushed_authorization_requests: client.require_par,
        first_party: client.first_party,
        id_token_signed_response_alg: client.id_token_alg.as_str(),
        claims_in_id_token: client.claims_in_id_token,
        access_token_ttl: client.access_token_ttl.as_secs(),
        refresh_token_ttl: client.refresh_token_ttl.as_secs(),
        refresh_grace: client.refresh_grace.as_secs(),
        client_id_issued_at: seconds(client.created_at),
        updated_at: seconds(client.updated_at),
    }
}

fn texts(uris: &[RedirectUri]) -> Vec<String> {
    uris.iter().map(|uri| uri.as_str().to_owned()).collect()
}
