//! Stories: the whole application in one process, on SQLite and on PostgreSQL, between an app, a
//! person's browser and stand-ins for PDS, PLC directory and DNS; real sockets on the loopback
//! interface, one clock moved by hand.
//!
//! Every story ends with two searches for every secret that it saw: in all that the database
//! holds, and in the trace-level log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

mod accounts;
mod answer;
mod answer_forms;
mod app;
mod app_password_calls;
mod app_password_endpoint;
mod app_passwords;
mod atproto_proxy;
mod audit_away;
mod authentication_only;
mod authentication_time;
mod authorize;
mod back_channel_logout;
mod base_path;
mod browser;
mod browser_session;
mod client_assertions;
mod client_auth;
mod client_configuration;
mod client_credentials;
mod client_document_rules;
mod client_documents;
mod client_registration;
mod clients;
mod consent;
mod consent_needed;
mod credentials;
mod delegation;
mod developer_tokens;
mod devices;
mod documented_calls;
mod dpop;
mod eddsa;
mod endings;
mod events;
mod expiry;
mod fapi2;
mod form_post;
mod front_channel_logout;
mod garbage;
mod grant_types;
mod grants_apart;
mod hostile_pds;
mod html;
mod importing;
mod jwt_access_tokens;
mod keeping;
mod key_rotation;
mod kills;
mod limits;
mod login_hint;
mod logout;
mod main_story;
mod management;
mod moving;
mod oidc_parameters;
mod openid;
mod own_upstream_document;
mod pages;
mod pairwise;
mod par;
mod parameters;
mod permission_sets;
mod plc_mirror;
mod private_key_jwt;
mod profile_claims;
mod proxy;
mod proxy_forms;
mod proxy_reads;
mod races;
mod request_line;
mod resolve;
mod resources;
mod rotation;
mod secrecy;
mod service_auth;
mod session_endpoint;
mod signed_answers;
mod signing;
mod tokens;
mod v1_names;
mod valkey;
mod wire;
mod world;

/// Makes a test on each engine of every story. A story that is not named here is dead code,
/// which the compiler reports.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let world = crate::world::World::begin(crate::world::Engine::Sqlite).await;
                super::$story(&world).await;
                world.end().await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let world = crate::world::World::begin(crate::world::Engine::Postgres).await;
                super::$story(&world).await;
                world.end().await;
            })*
        }
    };
}
use on_both_engines;
