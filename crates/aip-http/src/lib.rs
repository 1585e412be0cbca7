//! HTTP: one table of endpoints, their wire formats, the pages, and what every answer carries.
//!
//! Reading order: [`Endpoint`] is the table from which the router, preflights, `Allow`, discovery
//! and the reference page derive; `serve` is the one way from a request to an answer; each file
//! under `endpoints` turns one request into one answer, with the steps in `flow`, `bearer` and
//! `sign_in_form` that several share; `error_mapping` is where errors become statuses.
//! The health of the process is behind a trait, [`Health`].

mod account_names;
mod api_error;
mod assets;
mod base_path;
mod bearer;
mod browser;
mod caller;
mod cookies;
mod csrf;
mod device_facts;
mod display_text;
mod endpoint;
mod endpoints;
mod error_mapping;
mod flow;
mod flow_cookie;
mod hash_text;
mod headers;
mod health;
mod host;
mod incoming_request;
mod internal;
mod limits;
mod lookups;
mod navigation;
mod own_document;
mod pages;
mod public_keys;
mod reference;
mod request_line;
mod request_metrics;
mod respond;
mod serve;
mod service_auth;
mod sign_in_form;
mod sign_in_target;
mod sign_out;
mod state;
mod subject_quota;
mod trace_context;
mod upstream_document;
mod v1_names;

pub use caller::TrustedProxies;
pub use endpoint::{CachePolicy, Cors, Endpoint, ErrorFormat, Payload, Spec, Verb};
pub use endpoints::read_client_document;
pub use health::Health;
pub use internal::internal_router;
pub use limits::RateLimiter;
pub use reference::reference_markdown;
pub use serve::router;
pub use service_auth::ServiceIdentity;
pub use state::{AppState, Parts};
pub use upstream_document::UpstreamDocument;
pub use v1_names::{V1Names, is_at_origins};
