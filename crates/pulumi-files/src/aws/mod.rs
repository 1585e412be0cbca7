//! The little of AWS that stack files and state buckets need: credentials as the AWS tools find
//! them, request signing, and three calls of the Key Management Service.

mod credentials;
mod kms;
mod profile;
mod sigv4;

pub use credentials::{AwsConfig, Credentials, CredentialsError, resolve};
pub use kms::{Kms, KmsError};
pub use sigv4::{Scope, sign};
