//! Every verb of the storage traits, in SQL that both engines read alike.
//!
//! This folder is compiled once for each engine (see the crate's documentation). Its parent gives
//! it `Store` and `Driver`, as macros the few fragments of SQL that differ (`for_update!`,
//! `skip_locked!`, `database_now!`, `json_with!`), and in `rotation` the one verb worth a way of its own.

use self::sql::DbConnection;
use super::{Driver, Store};

mod account;
mod account_events;
mod approve;
mod assertion_key;
mod audit;
mod browser;
mod client;
mod client_document;
mod client_registration;
mod client_resource;
mod client_token;
mod code;
mod delegation;
mod developer_token;
mod device;
mod ending;
mod grant;
pub(super) mod grant_row;
mod housekeeping;
mod imports;
mod keeper;
mod logout;
mod nonces;
mod operations;
mod rates;
mod refresh;
mod replay;
mod request;
mod revoke;
mod session_row;
mod signing_keys;
pub(super) mod sql;
pub(super) mod tokens;
mod upstream;
mod upstream_document;
