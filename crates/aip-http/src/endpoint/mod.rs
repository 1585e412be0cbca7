//! The table of endpoints: what each is ([`Endpoint::spec`]), a row in `table`. Router, preflights,
//! `Allow`, discovery and the reference page derive from it. What is not in the table is not mounted, and
//! what is not mounted is not advertised (RFC 8414 §2, RFC 9728 §2). What each does is in `endpoints`.

mod spec;
mod table;

use aip_atproto::BaseUrl;

pub(crate) use self::spec::BODY_LIMIT;
pub use self::spec::{CachePolicy, Cors, ErrorFormat, Payload, Spec, Verb};
pub use self::table::Endpoint;

impl Endpoint {
    /// The URL of this endpoint, which has no variable part, at the public base URL.
    pub fn url(self, base: &BaseUrl) -> String {
        base.join(self.spec().path)
    }

    /// Whether it is one of the paths of AIP v1, which are mounted with `compat.v1` alone.
    pub const fn is_of_v1(self) -> bool {
        self.spec().is_of_v1
    }
}
