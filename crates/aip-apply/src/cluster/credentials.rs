//! Why the kubeconfig's credentials cannot be used, in our own words: the library's errors repeat
//! arguments, environment and output of a credential plugin, and any of these may be secret.

use aip_base::terminal_excerpt;
use kube::client::AuthError;
use kube::config::ExecConfig;

/// The reason. `plugin` is the one that the context names, if that is known.
pub(super) fn failure(error: &AuthError, plugin: Option<&ExecConfig>) -> String {
    let command = plugin.and_then(|plugin| plugin.command.as_deref());
    let plugin_name = command.map_or("the credential plugin".to_owned(), |command| {
        format!("the credential plugin `{}`", terminal_excerpt(command))
    });
    match error {
        AuthError::AuthExecStart(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let hint = plugin.and_then(|plugin| plugin.install_hint.as_deref());
            let hint = hint.map_or(String::new(), |hint| format!(": {}", hint.trim()));
            format!("{plugin_name} is not installed{hint}")
        }
        AuthError::AuthExecStart(error) => format!("{plugin_name} cannot be started: {error}"),
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = if said.trim().is_empty() {
                String::new()
            } else {
                format!(": {}", terminal_excerpt(&said))
            };
            format!("{plugin_name} failed with {}{said}", out.status)
        }
        AuthError::AuthExecParse(_) => {
            format!("{plugin_name} did not print an ExecCredential")
        }
        AuthError::ExecPluginFailed => {
            format!("{plugin_name} printed an ExecCredential without a status")
        }
        AuthError::UnrefreshableTokenResponse => {
            format!("{plugin_name} returned no token when refreshed")
        }
        AuthError::MalformedTokenExpirationDate(_) => {
            format!("{plugin_name} returned an invalid expirationTimestamp")
        }
        AuthError::ParseTokenKey(_) => format!("{plugin_name} did not print JSON"),
        AuthError::MissingCommand => "`exec` in the kubeconfig has no command".to_owned(),
        AuthError::AuthExecSerialize(_) | AuthError::ExecMissingClusterInfo => {
            format!(
                "{plugin_name} needs cluster information (provideClusterInfo), which is missing"
            )
        }
        // The library's own sentences about `auth-provider`: names of commands and settings.
        AuthError::AuthExec(said) => terminal_excerpt(said),
        AuthError::InvalidBasicAuth(_) => {
            "the user name or password contains characters that are not allowed in an HTTP header"
                .to_owned()
        }
        AuthError::InvalidBearerToken(_) => {
            "the token contains characters that are not allowed in an HTTP header".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("the token file {} cannot be read: {error}", path.display())
        }
        AuthError::NoValidNativeRootCA(_) => {
            "no trusted certificate authorities found on this machine".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{ExitStatus, Output};

    use super::*;

    fn plugin() -> ExecConfig {
        ExecConfig {
            command: Some("aws-iam-authenticator".to_owned()),
            args: Some(vec!["--client-secret=a1".to_owned()]),
            install_hint: Some("see https://example.com/install\n".to_owned()),
            ..ExecConfig::default()
        }
    }

    #[test]
    fn a_plugin_that_fails_is_named_with_what_it_said_on_standard_error_only() {
        let error = AuthError::AuthExecRun {
            cmd: "S=\"b2\" \"aws-iam-authenticator\" \"--client-secret=a1\"".to_owned(),
            out: Box::new(Output {
                status: ExitStatus::from_raw(255 << 8),
                stdout: b"token-c3".to_vec(),
                stderr: b"no session\x1b[31m, log in".to_vec(),
            }),
        };
        for (plugin, name) in [(Some(&plugin()), " `aws-iam-authenticator`"), (None, "")] {
            assert_eq!(
                failure(&error, plugin),
                format!(
                    "the credential plugin{name} failed with exit status: 255: no session [31m, log in"
                )
            );
        }
    }

    #[test]
    fn a_plugin_that_is_missing_is_named_with_its_hint() {
        let error = AuthError::AuthExecStart(std::io::ErrorKind::NotFound.into());
        assert_eq!(
            failure(&error, Some(&plugin())),
            "the credential plugin `aws-iam-authenticator` is not installed: see https://example.com/install"
        );
        let denied = AuthError::AuthExecStart(std::io::ErrorKind::PermissionDenied.into());
        assert!(failure(&denied, None).contains("cannot be started"));
    }
}
