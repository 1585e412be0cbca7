//! Where AWS credentials come from, in the order of the AWS SDKs: environment, web identity,
//! shared profile, container, instance metadata.
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>)

use std::time::Duration;

use aip_base::{Http, Limits};
use bytes::Bytes;
use http::Request;
use secrecy::SecretString;
use serde::Deserialize;

use super::profile;
use crate::environment::Environment;

/// AWS access key, with a session token if temporary.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretString,
    /// The token of temporary credentials.
    pub session_token: Option<SecretString>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What a URL may say about AWS; everything else comes from the environment and the profile.
#[derive(Debug, Clone, Default)]
pub struct AwsConfig {
    /// `region=`.
    pub region: Option<String>,
    /// `profile=`.
    pub profile: Option<String>,
}

impl AwsConfig {
    /// The region: the URL's, `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's.
    pub fn region(&self, environment: &Environment) -> Option<String> {
        self.region
            .clone()
            .or_else(|| environment.non_empty("AWS_REGION").map(str::to_owned))
            .or_else(|| {
                environment
                    .non_empty("AWS_DEFAULT_REGION")
                    .map(str::to_owned)
            })
            .or_else(|| {
                profile::load(environment, self.profile.as_deref())
                    .ok()??
                    .get("region")
                    .cloned()
            })
    }
}

/// No source returned credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No source has any.
    #[error(
        "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, \
         or run `aws configure`"
    )]
    None,
    /// The profile does not exist.
    #[error("the AWS profile `{name}` is not in ~/.aws/config or ~/.aws/credentials")]
    NoProfile {
        /// The profile.
        name: String,
    },
    /// A file is not readable.
    #[error("{path} is not readable: {source}")]
    File {
        /// The file.
        path: String,
        /// The underlying error.
        source: std::io::Error,
    },
    /// A program that should print credentials failed.
    #[error("`{command}` returned no AWS credentials: {reason}")]
    Process {
        /// The program.
        command: String,
        /// The underlying error.
        reason: String,
    },
    /// The AWS CLI is too old for what the profile wants.
    #[error(
        "the AWS profile `{profile}` needs version 2 of the AWS CLI: `aws --version` says version 1"
    )]
    AwsCli1 {
        /// The profile.
        profile: String,
    },
    /// A credential service refused or is not reachable.
    #[error("{what} returned no AWS credentials: {reason}")]
    Service {
        /// The service.
        what: &'static str,
        /// The underlying error.
        reason: String,
    },
}

/// The answer of container and instance endpoints and of `credential_process`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireCredentials {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
}

impl From<WireCredentials> for Credentials {
    fn from(wire: WireCredentials) -> Self {
        Self {
            access_key_id: wire.access_key_id,
            secret_access_key: SecretString::from(wire.secret_access_key),
            session_token: wire.token.map(SecretString::from),
        }
    }
}

/// Finds credentials.
pub async fn resolve(
    config: &AwsConfig,
    environment: &Environment,
    http: &dyn Http,
) -> Result<Credentials, CredentialsError> {
    // A profile that the URL names is more specific than the environment.
    if config.profile.is_none() {
        if let Some(credentials) = from_variables(environment) {
            return Ok(credentials);
        }
        if let Some(credentials) = web_identity(config, environment, http).await? {
            return Ok(credentials);
        }
    }
    if let Some(credentials) = profile::credentials(environment, config.profile.as_deref()).await? {
        return Ok(credentials);
    }
    if let Some(credentials) = container(environment, http).await? {
        return Ok(credentials);
    }
    instance(environment, http).await
}

fn from_variables(environment: &Environment) -> Option<Credentials> {
    Some(Credentials {
        access_key_id: environment.non_empty("AWS_ACCESS_KEY_ID")?.to_owned(),
        secret_access_key: SecretString::from(
            environment.non_empty("AWS_SECRET_ACCESS_KEY")?.to_owned(),
        ),
        session_token: environment
            .non_empty("AWS_SESSION_TOKEN")
            .map(|token| SecretString::from(token.to_owned())),
    })
}

const METADATA_LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(5),
};

async fn fetch(
    http: &dyn Http,
    what: &'static str,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Bytes, CredentialsError> {
    let failed = |reason: String| CredentialsError::Service { what, reason };
    let answer = http
        .fetch(request, limits)
        .await
        .map_err(|e| failed(e.to_string()))?;
    if answer.status.is_success() {
        Ok(answer.body)
    } else {
        // STS says why in XML.
        let text = String::from_utf8_lossy(&answer.body);
        let field =
            |name| super::xml_field(&text, name).map_or(String::new(), |said| format!(": {said}"));
        Err(failed(format!(
            "it answered {}{}{}",
            answer.status,
            field("Code"),
            field("Message")
        )))
    }
}

fn invalid(what: &'static str) -> impl Fn(http::Error) -> CredentialsError {
    move |error| CredentialsError::Service {
        what,
        reason: error.to_string(),
    }
}

fn parse(what: &'static str, body: &[u8]) -> Result<Credentials, CredentialsError> {
    let wire: WireCredentials =
        serde_json::from_slice(body).map_err(|_| CredentialsError::Service {
            what,
            reason: "the response is invalid".to_owned(),
        })?;
    Ok(wire.into())
}

/// `AssumeRoleWithWebIdentity`: the way of service accounts on EKS.
async fn web_identity(
    config: &AwsConfig,
    environment: &Environment,
    http: &dyn Http,
) -> Result<Option<Credentials>, CredentialsError> {
    const WHAT: &str = "AWS STS";
    let (Some(file), Some(role)) = (
        environment.non_empty("AWS_WEB_IDENTITY_TOKEN_FILE"),
        environment.non_empty("AWS_ROLE_ARN"),
    ) else {
        return Ok(None);
    };
    let token = std::fs::read_to_string(file).map_err(|source| CredentialsError::File {
        path: file.to_owned(),
        source,
    })?;
    let region = config
        .region(environment)
        .unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = environment
        .non_empty("AWS_ENDPOINT_URL_STS")
        .or_else(|| environment.non_empty("AWS_ENDPOINT_URL"))
        .map_or_else(
            || format!("https://sts.{region}.amazonaws.com"),
            str::to_owned,
        );
    let session = environment
        .non_empty("AWS_ROLE_SESSION_NAME")
        .unwrap_or("aip-deploy");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", token.trim()),
    ];
    let body = form
        .map(|(name, value)| format!("{name}={}", percent_encode(value)))
        .join("&");
    let request = Request::post(format!("{}/", endpoint.trim_end_matches('/')))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .map_err(invalid(WHAT))?;
    let answer = fetch(http, WHAT, request, Limits::DOCUMENT).await?;
    let answer = String::from_utf8_lossy(&answer);
    let field = |name: &str| {
        let rest = answer.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let credentials = || {
        Some(Credentials {
            access_key_id: field("AccessKeyId")?,
            secret_access_key: SecretString::from(field("SecretAccessKey")?),
            session_token: Some(SecretString::from(field("SessionToken")?)),
        })
    };
    let not_understood = || CredentialsError::Service {
        what: WHAT,
        reason: "the response is invalid".to_owned(),
    };
    credentials().map(Some).ok_or_else(not_understood)
}

fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// ECS tasks and EKS Pod Identity.
async fn container(
    environment: &Environment,
    http: &dyn Http,
) -> Result<Option<Credentials>, CredentialsError> {
    const WHAT: &str = "the container credential endpoint";
    let url = match environment.non_empty("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) => format!("http://169.254.170.2{path}"),
        None => match environment.non_empty("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            Some(url) => url.to_owned(),
            None => return Ok(None),
        },
    };
    let token = match environment.non_empty("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => {
            Some(
                std::fs::read_to_string(path).map_err(|source| CredentialsError::File {
                    path: path.to_owned(),
                    source,
                })?,
            )
        }
        None => environment
            .non_empty("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(str::to_owned),
    };
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header("authorization", token.trim());
    }
    let request = request.body(Bytes::new()).map_err(invalid(WHAT))?;
    parse(WHAT, &fetch(http, WHAT, request, METADATA_LIMITS).await?).map(Some)
}

/// The instance metadata service, version 2 only: version 1 hands keys to any SSRF.
async fn instance(
    environment: &Environment,
    http: &dyn Http,
) -> Result<Credentials, CredentialsError> {
    const WHAT: &str = "the instance metadata service";
    const LINK_LOCAL: Limits = Limits {
        max_bytes: 64 * 1024,
        deadline: Duration::from_secs(1),
    };
    if environment
        .get("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        return Err(CredentialsError::None);
    }
    let base = environment
        .non_empty("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .unwrap_or("http://169.254.169.254");
    let base = base.trim_end_matches('/');
    let request = Request::put(format!("{base}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
        .body(Bytes::new())
        .map_err(invalid(WHAT))?;
    // Nobody answers outside EC2: then there simply are no credentials.
    let Ok(token) = fetch(http, WHAT, request, LINK_LOCAL).await else {
        return Err(CredentialsError::None);
    };
    let get = |path: String| {
        Request::get(format!(
            "{base}/latest/meta-data/iam/security-credentials/{path}"
        ))
        .header("x-aws-ec2-metadata-token", token.as_ref())
        .body(Bytes::new())
        .map_err(invalid(WHAT))
    };
    let role = fetch(http, WHAT, get(String::new())?, METADATA_LIMITS).await?;
    let role = String::from_utf8_lossy(&role).trim().to_owned();
    parse(WHAT, &fetch(http, WHAT, get(role)?, METADATA_LIMITS).await?)
}
