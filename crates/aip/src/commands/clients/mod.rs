//! `aip clients`: registering apps, and what becomes of them.

mod flags;
mod registration_tokens;
mod shown;
mod subject;

use aip_config::LoadedConfig;
use aip_oauth::AuthorizationServer;
use aip_oauth::client_registration::ClientRegistrationError;
use aip_oauth::registration::RegistrationError;
use aip_storage::client::{Client, ClientId};
use clap::Subcommand;
use secrecy::SecretString;
use serde_json::json;

use self::flags::{Changes, Ttls, new_client};
use self::shown::{ClientRow, show};
use self::subject::{Subjects, server_with_network};
use crate::cli::Global;
use crate::environment::load;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::runtime::{database_location, on_database, read_keys};

/// How often an update is made anew because somebody else changed the app meanwhile.
const MAX_UPDATES: usize = 20;

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
    Show(ClientArg),
    /// Changes an app; what is not named stays
    Update(Box<Update>),
    /// Deletes an app with everything people allowed it
    Delete(ClientArg),
    /// Gives an app a new secret; the old one is worthless at once
    RotateSecret(ClientArg),
    /// Tokens with which apps register themselves
    RegistrationToken(registration_tokens::Args),
}

#[derive(clap::Args)]
struct ClientArg {
    /// The client id
    id: ClientId,
}

#[derive(clap::Args)]
struct Create {
    /// The client id; a random one unless given
    #[arg(long)]
    id: Option<ClientId>,
    #[command(flatten)]
    subjects: Subjects,
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
        run_action(args.action, &server, &defaults, &loaded, global.output).await
    })
}

async fn run_action(
    action: Action,
    server: &AuthorizationServer,
    defaults: &Ttls,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    match action {
        Action::Create(create) => {
            let base = create.subjects.base(new_client(defaults));
            let settings = create.subjects.apply_to(create.settings.apply_to(base)?)?;
            let (client, secret) = server_with_network(server, &settings, loaded)?
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
            let rows: Vec<ClientRow> = clients.iter().map(|it| ClientRow::of(it, None)).collect();
            Ok(format.list(&rows)?)
        }
        Action::Show(ClientArg { id }) => show(&find(server, id).await?, None, format),
        Action::Update(change) => {
            let (client, secret) = update(&change, server, loaded).await?;
            show(&client, secret.as_ref(), format)
        }
        Action::Delete(ClientArg { id }) => {
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
        Action::RotateSecret(ClientArg { id }) => {
            let secret = server.rotate_client_secret(&id).await.map_err(failure)?;
            show(&find(server, id).await?, Some(&secret), format)
        }
        Action::RegistrationToken(args) => {
            registration_tokens::run_action(args, server, loaded, format).await
        }
    }
}

/// Changes an app. What somebody else changes at the same time stays, too: then the change is made anew.
async fn update(
    change: &Update,
    server: &AuthorizationServer,
    loaded: &LoadedConfig,
) -> Result<(Client, Option<SecretString>), Failure> {
    for _ in 0..MAX_UPDATES {
        let old = find(server, change.id.clone()).await?;
        let settings = change.settings.clone().apply_to(old.settings.clone())?;
        let updated = server_with_network(server, &settings, loaded)?
            .update_client_as_read(old, settings)
            .await;
        match updated {
            Ok(updated) => return Ok(updated),
            Err(ClientRegistrationError::ChangedMeanwhile) => {}
            Err(ClientRegistrationError::Settings(error)) => return Err(failure(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ClientRegistrationError::ChangedMeanwhile.into())
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
        | RegistrationError::NoSecret(_)
        | RegistrationError::FromDocument(_) => error.into(),
        _ => Failure::usage(error),
    }
}

/// What the developer needs next, and where the app is registered now.
fn next_steps(loaded: &LoadedConfig) {
    let base = &loaded.external_base;
    output::print_status(&format!(
        "Registered in {}.\nThe app finds everything at {base}/.well-known/openid-configuration \
         (issuer {base}).",
        database_location(loaded)
    ));
}
