//! `~/.aws/config` and `~/.aws/credentials`: static keys, `credential_process`, and everything
//! else (SSO, assumed roles) through `aws configure export-credentials`.
//! (<https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>)

use std::collections::HashMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::credentials::{Credentials, CredentialsError, WireCredentials};
use crate::environment::Environment;

pub(super) type Profile = HashMap<String, String>;

/// The settings of a profile from both files; `None` when nobody asked for one and there is none.
pub(super) fn load(
    environment: &Environment,
    named: Option<&str>,
) -> Result<Option<Profile>, CredentialsError> {
    let asked_for = named.or_else(|| environment.non_empty("AWS_PROFILE"));
    let name = asked_for.unwrap_or("default");
    let file = |variable: &str, default: &str| {
        environment
            .non_empty(variable)
            .map(PathBuf::from)
            .or_else(|| Some(environment.home()?.join(".aws").join(default)))
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let config = section(
        &file("AWS_CONFIG_FILE", "config"),
        &[&format!("profile {name}"), name],
    );
    let keys = section(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), &[name]);
    match (config, keys, asked_for) {
        (None, None, Some(name)) => Err(CredentialsError::NoProfile {
            name: name.to_owned(),
        }),
        (None, None, None) => Ok(None),
        (config, keys, _) => {
            let mut profile = config.unwrap_or_default();
            profile.extend(keys.unwrap_or_default());
            Ok(Some(profile))
        }
    }
}

/// Credentials from the profile, if there is one.
pub(super) async fn credentials(
    environment: &Environment,
    named: Option<&str>,
) -> Result<Option<Credentials>, CredentialsError> {
    let Some(profile) = load(environment, named)? else {
        return Ok(None);
    };
    if let (Some(id), Some(secret)) = (
        profile.get("aws_access_key_id"),
        profile.get("aws_secret_access_key"),
    ) && !profile.contains_key("role_arn")
    {
        return Ok(Some(Credentials {
            access_key_id: id.clone(),
            secret_access_key: SecretString::from(secret.clone()),
            session_token: profile
                .get("aws_session_token")
                .map(|token| SecretString::from(token.clone())),
        }));
    }
    if let Some(command) = profile.get("credential_process") {
        let words = words(command);
        let (program, arguments) =
            words
                .split_first()
                .ok_or_else(|| CredentialsError::Process {
                    command: command.clone(),
                    reason: "`credential_process` is empty".to_owned(),
                })?;
        return run(program, arguments, environment).await.map(Some);
    }
    let delegated = ["sso_session", "sso_start_url", "role_arn", "login_session"];
    if delegated
        .iter()
        .any(|setting| profile.contains_key(*setting))
    {
        let name = named
            .or_else(|| environment.non_empty("AWS_PROFILE"))
            .unwrap_or("default");
        let arguments = [
            "configure",
            "export-credentials",
            "--format",
            "process",
            "--profile",
            name,
        ];
        let exported = run("aws", &arguments.map(str::to_owned), environment).await;
        return match exported {
            Err(_) if is_aws_cli_1(environment).await => Err(CredentialsError::AwsCli1 {
                profile: name.to_owned(),
            }),
            exported => exported.map(Some),
        };
    }
    Ok(None)
}

async fn run(
    program: &str,
    arguments: &[String],
    environment: &Environment,
) -> Result<Credentials, CredentialsError> {
    let failed = |reason: String| CredentialsError::Process {
        command: program.to_owned(),
        reason,
    };
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_mins(1), output)
        .await
        .map_err(|_| failed("it did not finish within one minute".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(300)
            .collect::<String>();
        return Err(failed(format!("{}: {said}", output.status)));
    }
    let wire: WireCredentials = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its output is invalid".to_owned()))?;
    Ok(wire.into())
}

/// Whether the AWS CLI is of version 1, which can neither sign in to SSO nor export what it has.
async fn is_aws_cli_1(environment: &Environment) -> bool {
    let output = tokio::process::Command::new("aws")
        .arg("--version")
        .env_clear()
        .envs(environment.iter())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), output).await;
    let Ok(Ok(output)) = output else { return false };
    // Under Python 2 it tells its version on standard error.
    [output.stdout, output.stderr]
        .iter()
        .any(|said| said.starts_with(b"aws-cli/1."))
}

/// The settings of the first section that has one of these names.
fn section(file: &str, names: &[&str]) -> Option<Profile> {
    let mut found: Option<Profile> = None;
    let mut inside = false;
    for line in file.lines() {
        let line = line.trim_end();
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let header = header.split_whitespace().collect::<Vec<_>>().join(" ");
            inside = names.contains(&header.as_str());
            if inside {
                found.get_or_insert_default();
            }
        } else if let (true, Some((name, value)), false) =
            (inside, line.split_once('='), line.starts_with([' ', '\t']))
        {
            found
                .get_or_insert_default()
                .insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

/// Splits a command line at blanks outside double quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
