//! Every verb of the storage traits, in SQL that both engines read alike.
//!
//! This folder is compiled once for each engine (see the crate's documentation). Its parent gives
//! it `Store` and `Db`, as macros the few fragments of SQL that differ (`for_update!`,
//! `skip_locked!`, `database_now!`), and in `rotation` the one verb worth a way of its own.

use self::pool::DbConnection;
use super::{BEGIN, Db, Store, rotation};

mod account;
mod approve;
mod audit;
mod browser;
mod client;
mod code;
mod faults;
pub(super) mod grant;
mod housekeeping;
mod keeper;
mod nonces;
mod operations;
pub(super) mod pool;
pub(super) mod pooled;
mod rates;
pub(super) mod refresh;
mod replay;
mod request;
mod revoke;
pub(super) mod schema;
mod session_list;
mod session_row;
pub(super) mod sql;
mod upstream;
