//! The credentials of a registry, where `docker login` and its credential helpers keep them
//! (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>).
//!
//! By hand, because `docker_credential` 1.4.0 (2026-11-30) reads the environment of the process itself, waits
//! for a helper without limit, and repeats what a helper that fails has printed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;

use aip_base::{Environment, terminal_excerpt};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error_text::json_error_position;

/// Where Docker Hub's credentials are kept; its registry is `index.docker.io`.
const DOCKER_HUB: (&str, &str) = ("index.docker.io", "https://index.docker.io/v1/");
/// What a helper says in the place of a user, if its secret is an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";
/// What a helper says if it knows no credentials for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// It does not implement `Debug`.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// The file `config.json`, as far as it is read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `USER:PASSWORD` in Base64.
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The credentials for a registry; none if nobody has logged in. The error is for the operator.
pub(super) async fn of(registry: &str, environment: &Environment) -> Result<Option<Login>, String> {
    let Some(path) = file(environment) else {
        return Ok(None);
    };
    let shown = path.display();
    let text = match tokio::fs::read(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let config: DockerConfig = serde_json::from_slice(&text)
        .map_err(|error| format!("{shown}: {}", json_error_position(&error)))?;
    if let Some(helper) = of_host(&config.cred_helpers, registry) {
        return ask_helper(helper, registry, environment).await;
    }
    let entry = of_host(&config.auths, registry);
    if entry.is_some_and(|entry| is_set(entry.identitytoken.as_ref())) {
        return Err(identity_token(registry));
    }
    if let Some(auth) = entry.and_then(|entry| entry.auth.as_ref().filter(|auth| !auth.is_empty()))
    {
        let login = decoded(auth).ok_or_else(|| {
            format!("{shown}: the entry for {registry} is not USER:PASSWORD in Base64")
        })?;
        return Ok(Some(login));
    }
    match config.creds_store.filter(|store| !store.is_empty()) {
        Some(store) => ask_helper(&store, registry, environment).await,
        None => Ok(None),
    }
}

fn file(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.non_empty("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(environment.home()?.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// The entry of a registry, which may be written as a URL.
fn of_host<'m, T>(entries: &'m BTreeMap<String, T>, registry: &str) -> Option<&'m T> {
    let host = |key: &str| {
        let key = key
            .strip_prefix("https://")
            .or_else(|| key.strip_prefix("http://"))
            .unwrap_or(key);
        key.split('/').next() == Some(registry)
    };
    entries
        .iter()
        .find(|(key, _)| host(key))
        .map(|(_, entry)| entry)
}

fn is_set(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn identity_token(registry: &str) -> String {
    format!(
        "the login at {registry} is an identity token, which aip-deploy does not use: log in with user and \
         password"
    )
}

fn decoded(auth: &str) -> Option<Login> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker has ended passwords with a null byte.
    Some(Login {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

/// Runs `docker-credential-NAME get`
/// (<https://github.com/docker/docker-credential-helpers#development>).
async fn ask_helper(
    name: &str,
    registry: &str,
    environment: &Environment,
) -> Result<Option<Login>, String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !name.bytes().all(is_name) {
        return Err(format!(
            "`{}` is not the name of a credential helper",
            terminal_excerpt(name)
        ));
    }
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| format!("the credential helper `{program}` failed: {reason}");
    let mut child = Command::new(&program)
        .arg("get")
        .env_clear()
        .envs(environment.iter())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let server = match registry {
        registry if registry == DOCKER_HUB.0 => DOCKER_HUB.1,
        registry => registry,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing may have ended already.
        let _unread = stdin.write_all(server.as_bytes()).await;
    }
    let output = child.wait_with_output().await;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        // The protocol has the message on standard output; nothing else of it may be shown.
        let is_known = String::from_utf8_lossy(&output.stdout).trim() == NOT_FOUND;
        return if is_known {
            Ok(None)
        } else {
            Err(failed(output.status.to_string()))
        };
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(json_error_position(&error)))?;
    if answer.username == IDENTITY_TOKEN_USER {
        return Err(identity_token(registry));
    }
    Ok(Some(Login {
        user: answer.username,
        password: answer.secret,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Home {
        folder: tempfile::TempDir,
        environment: Environment,
    }

    impl Home {
        fn with(config: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let docker = folder.path().join(".docker");
            std::fs::create_dir(&docker).unwrap();
            std::fs::write(docker.join("config.json"), config).unwrap();
            let path = format!("{}:/usr/bin:/bin", folder.path().display());
            let home = folder.path().display().to_string();
            let environment = Environment::new([("HOME", home), ("PATH", path)]);
            Self {
                folder,
                environment,
            }
        }

        fn helper(&self, name: &str, script: &str) {
            let path = self.folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        async fn of(&self, registry: &str) -> Result<Option<(String, String)>, String> {
            let login = of(registry, &self.environment).await;
            login.map(|login| login.map(|login| (login.user, login.password)))
        }
    }

    fn login(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[tokio::test]
    async fn an_entry_is_found_by_its_host_however_it_is_written() {
        // "aip:correct:horse", "hub:word" without padding, and an empty entry.
        let home = Home::with(
            r#"{"auths": {
                "https://registry.example.com/v2/": {"auth": "YWlwOmNvcnJlY3Q6aG9yc2U="},
                "https://index.docker.io/v1/": {"auth": "aHViOndvcmQ"},
                "empty.example.com": {}
            }, "HttpHeaders": {"a": "b"}}"#,
        );
        assert_eq!(
            home.of("registry.example.com").await,
            Ok(Some(login("aip", "correct:horse")))
        );
        assert_eq!(
            home.of("index.docker.io").await,
            Ok(Some(login("hub", "word")))
        );
        for unknown in [
            "empty.example.com",
            "example.com",
            "registry.example.com:5000",
        ] {
            assert_eq!(home.of(unknown).await, Ok(None), "{unknown}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_without_its_content() {
        for (config, says) in [
            (
                "{\"auths\": {\"r\": {\"auth\": \"!secret!\"}}}",
                "not USER:PASSWORD",
            ),
            (
                "{\"auths\": {\"r\": {\"auth\": \"c2VjcmV0\"}}}",
                "not USER:PASSWORD",
            ),
            ("{\"auths\": {\"r\": {\"auth\": 5}}} secret", "line 1"),
            ("secret", "line 1"),
            (
                "{\"auths\": {\"r\": {\"identitytoken\": \"secret\"}}}",
                "identity token",
            ),
        ] {
            let error = Home::with(config).of("r").await.unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
        let nobody = Environment::new([("HOME", "/nonexistent")]);
        assert!(of("r", &nobody).await.unwrap().is_none());
        assert!(of("r", &Environment::default()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_its_registry_and_a_store_for_the_others() {
        let home = Home::with(r#"{"credHelpers": {"r1": "one"}, "credsStore": "all"}"#);
        home.helper(
            "one",
            r#"echo "{\"Username\":\"$1\",\"Secret\":\"$(cat)\"}""#,
        );
        home.helper(
            "all",
            r#"read -r server; echo "{\"Username\":\"x\",\"Secret\":\"$server\"}""#,
        );
        assert_eq!(home.of("r1").await, Ok(Some(login("get", "r1"))));
        // `read` wants a line and fails without its end, but has the text.
        assert_eq!(
            home.of("index.docker.io").await,
            Ok(Some(login("x", DOCKER_HUB.1)))
        );

        home.helper("one", &format!("echo '{NOT_FOUND}'; exit 1"));
        assert_eq!(home.of("r1").await, Ok(None));
        for (script, says) in [
            ("echo secret; echo secret >&2; exit 3", "exit status: 3"),
            ("echo secret", "line 1"),
            (
                r#"echo '{"Username":"<token>","Secret":"secret"}'"#,
                "identity token",
            ),
        ] {
            home.helper("one", script);
            let error = home.of("r1").await.unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
        let missing = Home::with(r#"{"credHelpers": {"r": "none", "s": "../x"}}"#);
        let error = missing.of("r").await.unwrap_err();
        assert!(error.contains("docker-credential-none"), "{error}");
        let error = missing.of("s").await.unwrap_err();
        assert!(
            error.contains("not the name of a credential helper"),
            "{error}"
        );
    }
}
