//! An app as it is printed.

use aip_oauth::client_fields::{CLIENT_FIELDS, FieldValue};
use aip_storage::client::Client;
use anyhow::anyhow;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Format, Row};

/// A client as it is printed: the fields that it is registered with, and what AIP adds.
pub(super) struct ClientRow<'a> {
    client: &'a Client,
    /// If it was just made.
    secret: Option<&'a SecretString>,
}

/// One JSON object; what the client has not is not in it.
impl Serialize for ClientRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let client = self.client;
        let mut members = vec![("client_id", json!(client.id.as_str()))];
        if let Some(secret) = self.secret {
            members.push(("client_secret", json!(secret.expose_secret())));
        }
        members.extend(CLIENT_FIELDS.iter().filter_map(|field| {
            let value = field.value(&client.settings)?;
            Some((field.name, value.to_json()))
        }));
        members.extend([
            ("from_document", json!(client.from_document)),
            ("client_id_issued_at", json!(client.created_at.as_secs())),
            ("updated_at", json!(client.updated_at.as_secs())),
        ]);
        serializer.collect_map(members)
    }
}

impl Row for ClientRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "client id",
        "name",
        "type",
        "authentication",
        "redirect uris",
    ];
    const NONE: &'static str = "There is no app; `aip clients create` registers one.";

    fn cells(&self) -> Vec<String> {
        let settings = &self.client.settings;
        let uris = settings.redirect_uris.iter().map(ToString::to_string);
        vec![
            self.client.id.to_string(),
            settings.name.clone(),
            settings.application_type.as_str().to_owned(),
            settings.auth_method.as_str().to_owned(),
            uris.collect::<Vec<_>>().join(" "),
        ]
    }
}

impl<'a> ClientRow<'a> {
    /// The client, with its secret if that was just made.
    pub(super) fn of(client: &'a Client, secret: Option<&'a SecretString>) -> Self {
        Self { client, secret }
    }

    /// What is shown to people, the most wanted first.
    fn members(&self) -> Vec<(&'static str, String)> {
        let client = self.client;
        let mut members = vec![("client_id", client.id.to_string())];
        if let Some(secret) = self.secret {
            members.push(("client_secret", secret.expose_secret().to_owned()));
        }
        members.extend(CLIENT_FIELDS.iter().map(|field| {
            let text = field.value(&client.settings).map(text).unwrap_or_default();
            let text = if text.is_empty() {
                "-".to_owned()
            } else {
                text
            };
            (field.name, text)
        }));
        members.extend([
            ("from_document", client.from_document.to_string()),
            ("created_at", output::instant(client.created_at)),
            ("updated_at", output::instant(client.updated_at)),
        ]);
        members
    }
}

/// Prints a client, with its secret if that was just made.
pub(super) fn show(
    client: &Client,
    secret: Option<&SecretString>,
    format: Format,
) -> Result<(), Failure> {
    let shown = ClientRow::of(client, secret);
    if secret.is_none() {
        match format {
            Format::Json => output::json(&shown)?,
            Format::Table | Format::Wide => output::members(&shown.members())?,
        }
        return Ok(());
    }
    let id = &client.id;
    output::print_secret(format, &shown, &shown.members()).map_err(|error| {
        anyhow!(
            "{id} has a new secret, which could not be printed: {error}. Nobody knows it; make another: \
             `aip clients rotate-secret {id}`"
        )
    })?;
    output::print_status("The secret is shown this once; AIP keeps only a hash of it.");
    Ok(())
}

/// A value for people.
fn text(value: FieldValue) -> String {
    match value {
        FieldValue::Flag(is_set) => is_set.to_string(),
        FieldValue::Text(text) => text,
        FieldValue::List(words) => words.join(" "),
        FieldValue::Seconds(time) => output::human_duration(time),
        FieldValue::Keys(keys) => format!("{} registered", keys.keys().len()),
    }
}
