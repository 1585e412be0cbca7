//! Until when an access token may be used.
//!
//! The reference PDS looks at the end of an access token twice: at the `exp` of the JWT, and, when
//! it has read its own store, at the row. A token that runs out between the two ends the whole
//! session there, refresh token and all. Under load seconds lie between the two looks. So a token
//! is not used close to its end, whatever else is impossible at that time.

use std::time::Duration;

use aip_base::Timestamp;

/// So long before its end a token is not used any more, or a tenth of its life if that is shorter.
const MARGIN: Duration = Duration::from_secs(15);

/// The instant from which on a token must not be used that was asked for at `asked_at` and expires
/// at `expires_at`.
pub fn usable_until(asked_at: Timestamp, expires_at: Timestamp) -> Timestamp {
    let life = expires_at.since(asked_at);
    expires_at - MARGIN.min(life / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_used_in_its_last_15_seconds_or_tenth() {
        let asked = Timestamp::from_secs(1_800_000_000);
        let seconds = Duration::from_secs;
        for (life, usable) in [
            (seconds(3600), seconds(3585)),
            (seconds(150), seconds(135)),
            (seconds(100), seconds(90)),
            (seconds(2), Duration::from_millis(1800)),
            (seconds(0), seconds(0)),
        ] {
            assert_eq!(
                usable_until(asked, asked + life),
                asked + usable,
                "{life:?}"
            );
        }
    }
}
