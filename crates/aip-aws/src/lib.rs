//! AWS by its SDK: where credentials and regions come from, and the calls that are made.
//!
//! | module | what |
//! | --- | --- |
//! | `access` | what every call needs: HTTP, time, credentials, region |
//! | `credentials` | credentials until they expire, and why there are none |
//! | `http` | the SDK's HTTP client, by way of [`aip_base::Http`] |
//! | `kms` | a data key, wrapped and unwrapped by the Key Management Service |
//! | `text` | what may be shown of what AWS says |

mod access;
mod credentials;
mod http;
mod kms;
mod text;

pub use access::Aws;
pub use credentials::{Credentials, CredentialsError, CurrentCredentials, Profile};
pub use http::SdkHttp;
pub use kms::{Kms, KmsError};
pub use text::xml_field;
