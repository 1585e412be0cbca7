//! The Key Management Service, as far as a data key needs it: wrap and unwrap 32 bytes.
//!
//! A key is named by a URL, as in go-cloud's `awskms`: `awskms://alias/NAME`, `awskms://KEY-ID`,
//! `awskms:///ARN`, with `region`, `profile`, `endpoint` and `context_NAME` as parameters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aip_base::{Backoff, Clock, Fetched, Http, HttpError, Limits, SystemRng};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::credentials::{AwsConfig, CredentialsError, resolve};
use super::sigv4::{Scope, sign};
use crate::environment::Environment;

/// A key of the service and the way to reach it.
pub struct Kms {
    key_id: String,
    context: BTreeMap<String, String>,
    config: AwsConfig,
    region: String,
    endpoint: String,
    environment: Environment,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
}

/// Why a data key is not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The URL does not name a key.
    #[error("`{url}` does not name a key: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What the parser or check reported; never a secret value.
        reason: String,
    },
    /// No region is known.
    #[error("the region of the key is not known: add ?region=… to the URL or set AWS_REGION")]
    NoRegion,
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The service is not reachable.
    #[error("AWS KMS at {endpoint}: {source}")]
    Unreachable {
        /// The service's URL.
        endpoint: String,
        /// The underlying error.
        source: HttpError,
    },
    /// The service refuses.
    #[error("AWS KMS refused: {code}: {message}")]
    Refused {
        /// Its code, such as `AccessDeniedException`.
        code: String,
        /// Its words.
        message: String,
    },
    /// Something answered that is not the service, or the service is ill.
    #[error("AWS KMS at {endpoint} answered {status}{said}")]
    NotTheService {
        /// The service's URL.
        endpoint: String,
        /// The HTTP status.
        status: http::StatusCode,
        /// What else is known.
        said: &'static str,
    },
    /// The answer or the request is not understood.
    #[error("AWS KMS returned an invalid response")]
    Answer,
}

/// Refusals of the caller or of the key: other credentials, other rights or another state of the
/// key are needed.
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>)
const DENIED_CODES: [&str; 13] = [
    "AccessDeniedException",
    "DisabledException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSInvalidStateException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "UnrecognizedClientException",
];

impl KmsError {
    /// Whether other credentials, other rights or another state of the key are needed.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Credentials(_) => true,
            Self::Refused { code, .. } => DENIED_CODES.contains(&code.as_str()),
            Self::Url { .. }
            | Self::NoRegion
            | Self::Unreachable { .. }
            | Self::NotTheService { .. }
            | Self::Answer => false,
        }
    }

    /// Whether the URL names no key that the service has, or not the one of the value.
    pub fn is_misconfigured(&self) -> bool {
        match self {
            Self::Url { .. } | Self::NoRegion => true,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "NotFoundException"
                    | "IncorrectKeyException"
                    | "InvalidCiphertextException"
                    | "ValidationException"
                    | "InvalidKeyUsageException"
            ),
            Self::Credentials(_)
            | Self::Unreachable { .. }
            | Self::NotTheService { .. }
            | Self::Answer => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    plaintext: Option<String>,
    ciphertext_blob: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

const MAX_REQUEST_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(2),
};

impl Kms {
    /// The key that `url` names.
    pub fn new(
        url: &str,
        environment: &Environment,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KmsError> {
        let bad = |reason: String| KmsError::Url {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url).map_err(|e| bad(e.to_string()))?;
        if parsed.scheme() != "awskms" {
            return Err(bad(
                "only awskms:// keys and passphrases are supported".to_owned()
            ));
        }
        // `Url` leaves an empty host out of `awskms:///arn…`.
        let key_id = format!("{}{}", parsed.host_str().unwrap_or(""), parsed.path());
        let key_id = key_id.trim_start_matches('/').to_owned();
        if key_id.is_empty() {
            return Err(bad("the key is missing".to_owned()));
        }
        let mut config = AwsConfig::default();
        let mut context = BTreeMap::new();
        let mut endpoint = None;
        for (name, value) in parsed.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                "region" => config.region = Some(value),
                "profile" => config.profile = Some(value),
                "endpoint" => endpoint = Some(value),
                // Which SDK a Go program uses; there is one here.
                "awssdk" => {}
                name => match name.strip_prefix("context_") {
                    Some(name) => drop(context.insert(name.to_owned(), value)),
                    None => return Err(bad(format!("unknown parameter `{name}`"))),
                },
            }
        }
        let of_arn = || {
            key_id
                .starts_with("arn:")
                .then(|| key_id.split(':').nth(3).map(str::to_owned))
                .flatten()
        };
        let region = config
            .region(environment)
            .or_else(of_arn)
            .ok_or(KmsError::NoRegion)?;
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let endpoint = endpoint
            .or_else(|| {
                environment
                    .non_empty("AWS_ENDPOINT_URL_KMS")
                    .map(str::to_owned)
            })
            .or_else(|| environment.non_empty("AWS_ENDPOINT_URL").map(str::to_owned))
            .unwrap_or_else(|| format!("https://kms.{region}.amazonaws.com{suffix}"));
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        Ok(Self {
            key_id,
            context,
            config,
            region,
            endpoint,
            environment: environment.clone(),
            http,
            clock,
        })
    }

    /// Wraps a data key.
    pub async fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
        let body = json!({
            "KeyId": self.key_id,
            "Plaintext": STANDARD.encode(plaintext),
            "EncryptionContext": self.context,
        });
        let blob = self
            .call("TrentService.Encrypt", &body)
            .await?
            .ciphertext_blob
            .ok_or(KmsError::Answer)?;
        STANDARD.decode(blob).map_err(|_| KmsError::Answer)
    }

    /// Unwraps a data key. The blob names its key, so this works whatever the URL calls it.
    pub async fn decrypt(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let body =
            json!({ "CiphertextBlob": STANDARD.encode(blob), "EncryptionContext": self.context });
        let plaintext = self
            .call("TrentService.Decrypt", &body)
            .await?
            .plaintext
            .map(Zeroizing::new);
        let plaintext = plaintext.ok_or(KmsError::Answer)?;
        STANDARD
            .decode(plaintext.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| KmsError::Answer)
    }

    async fn call(&self, target: &str, body: &serde_json::Value) -> Result<Answer, KmsError> {
        let mut attempt = 0;
        loop {
            let answer = self.send(target, body).await;
            attempt += 1;
            let again = match &answer {
                Ok(fetched) => fetched.status.is_server_error() || is_throttled(fetched),
                Err(KmsError::Unreachable { .. }) => true,
                Err(_) => false,
            };
            if again && attempt < MAX_REQUEST_ATTEMPTS {
                tokio::time::sleep(BACKOFF.delay(attempt - 1, &SystemRng)).await;
                continue;
            }
            let answer = answer?;
            if answer.status.is_success() {
                return serde_json::from_slice(&answer.body).map_err(|_| {
                    if is_markup(&answer.body) {
                        self.not_the_service(&answer)
                    } else {
                        KmsError::Answer
                    }
                });
            }
            return Err(refusal(&answer).unwrap_or_else(|| self.not_the_service(&answer)));
        }
    }

    fn not_the_service(&self, answer: &Fetched) -> KmsError {
        KmsError::NotTheService {
            endpoint: self.endpoint.clone(),
            status: answer.status,
            said: if is_markup(&answer.body) {
                " with an HTML page: something else is answering, such as a proxy that requires a login"
            } else {
                ""
            },
        }
    }

    async fn send(&self, target: &str, body: &serde_json::Value) -> Result<Fetched, KmsError> {
        let credentials = resolve(&self.config, &self.environment, self.http.as_ref()).await?;
        let request = Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(Bytes::from(body.to_string()))
            .and_then(|request| {
                let scope = Scope {
                    region: &self.region,
                    service: "kms",
                };
                sign(request, &credentials, scope, self.clock.now())
            })
            .map_err(|e| KmsError::Url {
                url: self.endpoint.clone(),
                reason: e.to_string(),
            })?;
        let unreachable = |source| KmsError::Unreachable {
            endpoint: self.endpoint.clone(),
            source,
        };
        self.http
            .fetch(request, Limits::DOCUMENT)
            .await
            .map_err(unreachable)
    }
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// The refusal that an answer holds: JSON, or XML where the credentials are refused before the
/// service is asked.
fn refusal(answer: &Fetched) -> Option<KmsError> {
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body) {
        let code = refusal.kind.rsplit('#').next().unwrap_or_default();
        return (!code.is_empty()).then(|| KmsError::Refused {
            code: code.to_owned(),
            message: refusal.message,
        });
    }
    let text = String::from_utf8_lossy(&answer.body);
    Some(KmsError::Refused {
        code: super::xml_field(&text, "Code")?,
        message: super::xml_field(&text, "Message").unwrap_or_default(),
    })
}

fn is_throttled(answer: &Fetched) -> bool {
    let body = String::from_utf8_lossy(&answer.body);
    answer.status.as_u16() == 429
        || (answer.status.as_u16() == 400 && body.contains("ThrottlingException"))
}
