//! What the consent page says of the device that asked: when it did, and from which network. Whoever sends
//! a person the code of a device of their own (RFC 8628 §5.4) is most often elsewhere.

use std::time::Duration;

use aip_oauth::authorize::DeviceOrigin;
use aip_storage::StorageError;

use crate::caller::Caller;
use crate::flow::Pending;
use crate::incoming_request::IncomingRequest;
use crate::pages::minute;
use crate::state::AppState;

/// When and from where a device asked, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeviceFacts {
    /// How long ago: `3 minutes ago`.
    pub(crate) ago: String,
    /// The minute: `1 March 2026, 14:05 UTC`.
    pub(crate) minute: String,
    /// The network, if it is known.
    pub(crate) network: Option<String>,
    /// Whether that is the network of the browser, too.
    pub(crate) is_here: bool,
}

impl DeviceFacts {
    /// `age` is the time since the device asked, `browser` where the page is asked for from.
    fn new(origin: DeviceOrigin, age: Duration, browser: Caller) -> Self {
        // An address that is not of the Internet is most often that of a proxy, with everybody behind it: it
        // must not tell a person that somebody else's device is near.
        let here = browser.is_public().then(|| browser.network());
        Self {
            ago: ago(age),
            minute: minute(origin.asked_at),
            is_here: here.is_some() && here == origin.asked_from,
            network: origin.asked_from,
        }
    }
}

impl AppState {
    /// What the person is told of the device that waits for their answer. `None`: none does.
    pub(crate) async fn device_facts(
        &self,
        incoming: &IncomingRequest,
        pending: &Pending,
    ) -> Result<Option<DeviceFacts>, StorageError> {
        let Some(code) = pending.request.params.delivery.device() else {
            return Ok(None);
        };
        let origin = self.server().device_origin(code).await?;
        Ok(origin.map(|origin| {
            let age = self.now().since(origin.asked_at);
            DeviceFacts::new(origin, age, self.caller(incoming))
        }))
    }
}

/// How long ago, in minutes: a device waits for half an hour at most.
fn ago(age: Duration) -> String {
    match age.as_secs() / 60 {
        0 => "Less than a minute ago".to_owned(),
        1 => "1 minute ago".to_owned(),
        minutes => format!("{minutes} minutes ago"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use aip_base::{PeerAddr, Timestamp};
    use http::{Extensions, HeaderMap};

    use super::*;
    use crate::caller::TrustedProxies;

    fn caller(address: &str) -> Caller {
        let mut extensions = Extensions::new();
        let peer = SocketAddr::new(address.parse().unwrap(), 1);
        extensions.insert(PeerAddr(peer));
        TrustedProxies::default().caller(&extensions, &HeaderMap::new())
    }

    #[test]
    fn the_network_of_a_device_is_compared_with_that_of_the_browser() {
        for (device, browser, is_here) in [
            (Some("203.0.113.9"), "203.0.113.9", true),
            (Some("203.0.113.9"), "::ffff:203.0.113.9", true),
            (Some("203.0.113.9"), "203.0.113.10", false),
            (Some("203.0.113.9"), "2001:db8:1:2::9", false),
            (Some("2001:db8:1:2::/64"), "2001:db8:1:2:3:4:5:6", true),
            (Some("2001:db8:1:2::/64"), "2001:db8:1:3::1", false),
            // A proxy or a gateway stands for everybody behind it.
            (Some("10.0.0.1"), "10.0.0.1", false),
            (Some("127.0.0.1"), "127.0.0.1", false),
            (Some("fd12::/64"), "fd12::1", false),
            (None, "203.0.113.9", false),
            (None, "10.0.0.1", false),
        ] {
            let origin = DeviceOrigin {
                asked_at: Timestamp::from_secs(1_767_225_600),
                asked_from: device.map(str::to_owned),
            };
            let facts = DeviceFacts::new(origin, Duration::from_mins(2), caller(browser));
            let expected = DeviceFacts {
                ago: "2 minutes ago".to_owned(),
                minute: "1 January 2026, 00:00 UTC".to_owned(),
                network: device.map(str::to_owned),
                is_here,
            };
            assert_eq!(facts, expected, "{browser}");
        }
    }

    #[test]
    fn how_long_ago_is_said_in_minutes() {
        for (seconds, words) in [
            (0, "Less than a minute ago"),
            (59, "Less than a minute ago"),
            (60, "1 minute ago"),
            (119, "1 minute ago"),
            (120, "2 minutes ago"),
            (1799, "29 minutes ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }
}
