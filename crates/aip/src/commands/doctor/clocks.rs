//! Whether this machine's clock goes with the others': assertions and proofs that it signs carry
//! its time, and leases carry the database's.

use std::time::Duration;

use aip_base::{Clock as _, Http as _, Limits, SystemClock, Timestamp};
use http::Request;
use http::header::DATE;

use super::finding::Finding;
use super::installation::Installation;
use crate::output::human_duration;

/// More than this is worth a look: a `Date` header has whole seconds.
const WARN_SKEW: Duration = Duration::from_secs(3);
/// More than this is refused by others: proofs and assertions may not come from the future.
const FAIL_SKEW: Duration = Duration::from_secs(10);

const ADVICE: &str = "let time synchronisation (NTP) run on both machines";

pub(super) async fn of_database(installation: &Installation) -> Finding {
    let storage = match installation.storage.needed("database") {
        Ok(storage) => storage,
        Err(finding) => return finding,
    };
    let now = SystemClock.now();
    match storage.database_time(now).await {
        Ok(there) => judge("the database", there, now, SystemClock.now()),
        Err(error) => Finding::fail(error.to_string(), "see the check of the database"),
    }
}

/// The clock of the PDS of some session, or of the PLC directory where there is none.
pub(super) async fn of_network(installation: &Installation) -> Finding {
    let network = match installation.network.needed("way out") {
        Ok(network) => network,
        Err(finding) => return finding,
    };
    let asked = match installation.any_session().await {
        Some(session) => format!("{}/xrpc/_health", session.pds),
        None => match installation.loaded.config.upstream.plc_urls.last() {
            Some(plc) => format!("{plc}/_health"),
            None => return Finding::skipped("no server to ask"),
        },
    };
    let Ok(request) = Request::get(&asked).body(bytes::Bytes::new()) else {
        return Finding::skipped("no server to ask");
    };
    let before = SystemClock.now();
    let answer = match network.http.fetch(request, Limits::DOCUMENT).await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::warn(
                format!("{asked}: {error}"),
                "see the other checks of the network",
            );
        }
    };
    let date = answer.headers.get(DATE).and_then(|it| it.to_str().ok());
    match date.and_then(parse_date) {
        Some(there) => judge(&asked, there, before, SystemClock.now()),
        None => Finding::skipped(format!("{asked} tells no time")),
    }
}

/// The other clock was read at some time between `before` and `after`.
fn judge(whose: &str, there: Timestamp, before: Timestamp, after: Timestamp) -> Finding {
    let (skew, word) = if there < before {
        (before.since(there), "behind")
    } else {
        (there.since(after), "ahead")
    };
    let found = format!("{whose} is {} {word}", human_duration(skew));
    if skew > FAIL_SKEW {
        Finding::fail(found, ADVICE)
    } else if skew > WARN_SKEW {
        Finding::warn(found, ADVICE)
    } else {
        Finding::ok(format!("goes with {whose}"))
    }
}

/// An HTTP date (RFC 9110 §5.6.7), which is a date of RFC 5322.
fn parse_date(text: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_secs(parsed.timestamp().as_second()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_reported_and_one_that_is_far_off_fails() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (seconds, status) in [
            (0, Status::Ok),
            (2, Status::Ok),
            (5, Status::Warn),
            (11, Status::Fail),
        ] {
            let skew = Duration::from_secs(seconds);
            for there in [now + skew, now - skew] {
                let line = judge("it", there, now, now).line("clock");
                assert_eq!(line.status, status, "{seconds} s");
            }
        }
        // While it was asked, any time between is right.
        let slow = judge("it", now, now - WARN_SKEW, now + WARN_SKEW).line("clock");
        assert_eq!(slow.status, Status::Ok);
    }

    #[test]
    fn an_http_date_is_read() {
        let read = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read, Some(Timestamp::from_secs(784_111_777)));
        assert_eq!(parse_date("yesterday"), None);
    }
}
