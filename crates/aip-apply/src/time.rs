//! Times as documents hold them.

use aip_base::Timestamp;

/// The time in the form of every document: RFC 3339, UTC. A time that RFC 3339 cannot express is
/// the beginning of 1970.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
