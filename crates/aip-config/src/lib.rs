//! The settings of `aip`: flags > environment > `aip.toml` > defaults.
//!
//! One table ([`settings`]) says everything about a setting: its name and its names in the
//! environment, its type, its default and what it is for. Reading, `aip config show`, the JSON
//! Schema and the reference page follow from it. The texts are handed in as [`Sources`]: nothing
//! here looks at the environment. Every mistake is reported at once, with where the value came
//! from.

mod checks;
mod duration;
mod error;
mod file;
mod load;
mod older_names;
mod reader;
mod schema;
mod settings;
mod show;
mod source;
mod sources;
mod table;
mod types;
mod value;
mod warnings;

pub use checks::{MAX_TOKEN_LIFETIME, OWN_PATHS, PUBLIC_KEYS_CACHE_TIME};
pub use error::{ConfigError, Problem};
pub use load::LoadedConfig;
pub use schema::schema;
pub use settings::{
    Brand, ClientDocument, Clients, Compat, Config, Database, Keys, Log, Redis, Server, Telemetry,
    Tokens, Upstream,
};
pub use show::DisplayRow;
pub use source::Source;
pub use sources::{CONFIG_FILE_VARIABLE, ConfigFile, Flag, Sources};
pub use types::{
    ClientRegistration, DevelopmentHost, EventStreamUrl, JsonWebKeys, LogFilter, LogFormat,
    NameServer, RedisUrl,
};
