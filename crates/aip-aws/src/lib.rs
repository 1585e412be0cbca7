//! AWS by its SDK: where credentials and regions come from, and the calls that are made.
//!
//! | module | what |
//! | --- | --- |
//! | `access` | what every call needs: HTTP, time, credentials, region |
//! | `acm` | certificates of AWS Certificate Manager |
//! | `call` | what went wrong with a call to a service |
//! | `credentials` | credentials until they expire, and why there are none |
//! | `http` | the SDK's HTTP client, by way of [`aip_base::Http`] |
//! | `kms` | a data key, wrapped and unwrapped by the Key Management Service |
//! | `route53` | the zones and records of Route 53 |
//! | `text` | what may be shown of what AWS says |

mod access;
mod acm;
mod call;
mod credentials;
mod http;
mod kms;
mod route53;
mod text;

pub use access::Aws;
pub use acm::{Acm, Certificate, CertificateStatus, DnsRecord, Validation};
pub use call::{CallFailure, ServiceError};
pub use credentials::{Credentials, CredentialsError, CurrentCredentials, Profile};
pub use http::SdkHttp;
pub use kms::{Kms, KmsError};
pub use route53::{HostedZone, RecordState, Route53};
pub use text::xml_field;
