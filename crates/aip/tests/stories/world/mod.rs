//! The world of a story: AIP on a loopback port with a database of its own, stand-ins for all that
//! it talks to, and one clock for everybody.

mod database;
mod network;
mod secrets;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aip::app::{Application, ClientDocument, Setup};
use aip_atproto::Origin;
use aip_base::{Clock, Http as _, Limits, SystemRng};
use aip_keys::{Aad, KeySet, MasterKeys};
use aip_listen::{ListenConfig, Server};
use aip_pds::ResolverConfig;
use aip_sandbox::{Pds, Person, PlainHttp, Sandbox, SandboxOptions};
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_testkit::clock::ManualClock;
use aip_testkit::logs::Captured;
use bytes::Bytes;
use http::Request;
use hyper_util::service::TowerToHyperService;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;
use url::Url;

use self::database::Db;
use self::network::StandInDns;
use crate::answer::Answer;
use crate::app::App;
use crate::browser::Browser;

pub(crate) use self::database::{Dump, Engine};
pub(crate) use self::secrets::Secrets;
