//! The little of AWS that stack files and state buckets need: credentials as the AWS tools find
//! them, request signing, and three calls of the Key Management Service.

mod credentials;
mod kms;
mod profile;
mod sigv4;

/// The text of an element of a flat XML answer, as far as it can be shown: printable and short.
pub fn xml_field(answer: &str, name: &str) -> Option<String> {
    const MAX_CHARS: usize = 300;
    let rest = answer.split_once(&format!("<{name}>"))?.1;
    let text = rest.split_once(&format!("</{name}>"))?.0;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    Some(text.chars().take(MAX_CHARS).map(printable).collect())
}

pub use credentials::{AwsConfig, Credentials, CredentialsError, resolve};
pub use kms::{Kms, KmsError};
pub use sigv4::{Scope, sign};
