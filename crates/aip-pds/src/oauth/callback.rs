//! What the authorization server sends the browser back with (RFC 6749 §4.1.2, RFC 9207).

use aip_atproto::Issuer;
use secrecy::SecretString;
use url::form_urlencoded;

/// The longest value of a parameter.
const MAX_VALUE: usize = 4096;

/// The parameters of a callback. The code stays inside until the issuer was compared.
#[derive(Debug)]
pub struct Callback {
    state: String,
    iss: Option<String>,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Code(SecretString),
    Error {
        error: String,
        description: Option<String>,
    },
}

/// Why a callback gives no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// A parameter is there twice.
    #[error("the parameter `{0}` appears more than once")]
    Repeated(&'static str),
    /// A parameter is too long.
    #[error("the parameter `{0}` is too long")]
    TooLong(&'static str),
    /// No `state`.
    #[error("the parameter `state` is missing")]
    NoState,
    /// Neither `code` nor `error`, or both.
    #[error("there must be either `code` or `error`")]
    NoAnswer,
    /// A JARM response, which was not asked for.
    #[error("the parameter `response` is not supported")]
    Jarm,
    /// `iss` is missing.
    #[error("the parameter `iss` is missing")]
    NoIssuer,
    /// `iss` is not the server that the browser was sent to.
    #[error("the answer comes from another authorization server")]
    OtherIssuer,
    /// The authorization server refused.
    #[error("the authorization server answered `{error}`")]
    Denied {
        /// The error code, for the app.
        error: String,
        /// The server's words, if any.
        description: Option<String>,
    },
}

impl Callback {
    /// Parses the query string of the callback.
    pub fn parse(query: &str) -> Result<Self, CallbackError> {
        const PARAMETER_NAMES: [&str; 6] = [
            "state",
            "iss",
            "code",
            "error",
            "error_description",
            "response",
        ];
        let mut values: [Option<String>; 6] = Default::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(index) = PARAMETER_NAMES.iter().position(|known| *known == name) else {
                continue;
            };
            if value.len() > MAX_VALUE {
                return Err(CallbackError::TooLong(PARAMETER_NAMES[index]));
            }
            if values[index].replace(value.into_owned()).is_some() {
                return Err(CallbackError::Repeated(PARAMETER_NAMES[index]));
            }
        }
        let [state, iss, code, error, description, response] = values;
        if response.is_some() {
            return Err(CallbackError::Jarm);
        }
        let answer = match (code, error) {
            (Some(code), None) => Answer::Code(code.into()),
            (None, Some(error)) => Answer::Error { error, description },
            _ => return Err(CallbackError::NoAnswer),
        };
        Ok(Self {
            state: state.ok_or(CallbackError::NoState)?,
            iss,
            answer,
        })
    }

    /// The reference to the sign-in.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The code, if `issuer`, to which the browser was sent, is the one that answers. The
    /// comparison comes first: somebody else's error is not the app's business either.
    pub fn code_from(self, issuer: &Issuer) -> Result<SecretString, CallbackError> {
        let iss = self.iss.ok_or(CallbackError::NoIssuer)?;
        if iss != issuer.as_str() {
            return Err(CallbackError::OtherIssuer);
        }
        match self.answer {
            Answer::Code(code) => Ok(code),
            Answer::Error { error, description } => {
                Err(CallbackError::Denied { error, description })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn code(query: &str) -> Result<String, CallbackError> {
        let issuer = Issuer::parse("https://pds.org").unwrap();
        let code = Callback::parse(query)?.code_from(&issuer)?;
        Ok(code.expose_secret().to_owned())
    }

    #[test]
    fn the_code_is_given_out_only_for_the_right_issuer() {
        assert_eq!(
            code("state=s&code=c&iss=https%3A%2F%2Fpds.org"),
            Ok("c".to_owned())
        );
        assert_eq!(code("state=s&code=c"), Err(CallbackError::NoIssuer));
        for other in [
            "https%3A%2F%2Fevil.org",
            "https%3A%2F%2Fpds.org%2F",
            "https%3A%2F%2FPDS.org",
        ] {
            let query = format!("state=s&code=c&iss={other}");
            assert_eq!(code(&query), Err(CallbackError::OtherIssuer), "{other}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_distinguished_and_needs_the_issuer_too() {
        let query = "state=s&error=access_denied&error_description=No+thanks";
        assert_eq!(code(query), Err(CallbackError::NoIssuer));
        let denied = CallbackError::Denied {
            error: "access_denied".to_owned(),
            description: Some("No thanks".to_owned()),
        };
        assert_eq!(code(&format!("{query}&iss=https://pds.org")), Err(denied));
        assert_eq!(Callback::parse(query).unwrap().state(), "s");
    }

    #[test]
    fn repeated_missing_and_contradicting_parameters_are_refused() {
        use CallbackError as E;
        for (query, error) in [
            ("state=s&state=t&code=c", E::Repeated("state")),
            ("state=s&code=c&code=d", E::Repeated("code")),
            ("code=c", E::NoState),
            ("state=s", E::NoAnswer),
            ("state=s&code=c&error=e", E::NoAnswer),
            ("state=s&response=jwt", E::Jarm),
        ] {
            assert_eq!(Callback::parse(query).unwrap_err(), error, "{query}");
        }
        let long = format!("state=s&code={}", "c".repeat(MAX_VALUE + 1));
        assert_eq!(Callback::parse(&long).unwrap_err(), E::TooLong("code"));
    }
}
