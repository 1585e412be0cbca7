//! The contract of the storage traits, held by both engines: every story below runs on SQLite and
//! on PostgreSQL. One file for each trait, or for each verb that has many rules.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a surprise is a failure"
)]

mod account_events;
mod accounts;
mod app_passwords;
mod approve;
mod assertion_keys;
mod audiences;
mod audit;
mod browsers;
mod claims;
mod client_documents;
mod client_registrations;
mod client_settings;
mod client_tokens;
mod clients;
mod codes;
mod connections;
mod corrupted;
mod delegations;
mod developer_tokens;
mod devices;
mod grants;
mod growth;
mod housekeeping;
mod imports;
mod keeper;
mod locks;
mod logouts;
mod nonces;
mod notices;
mod operations;
mod outages;
mod pooler;
mod rates;
mod refresh;
mod release_before;
mod replay;
mod requests;
mod schema;
mod sign_outs;
mod signing_keys;
mod tls;
mod token_sessions;
mod upstream;
mod world;

/// Makes a test on each engine of every story. A story that is not named here is dead code,
/// which the compiler reports.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::world::World::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::world::World::postgres().await).await;
            })*
        }
    };
}
use on_both_engines;

/// Likewise, and once more on PostgreSQL behind a pooler that gives each transaction another
/// connection: for the verbs that must not be done twice.
macro_rules! on_both_engines_and_behind_a_pooler {
    ($($story:ident),* $(,)?) => {
        crate::on_both_engines!($($story),*);

        mod pooled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::world::World::pooled().await).await;
            })*
        }
    };
}
use on_both_engines_and_behind_a_pooler;
