//! Nonces and rate limits: each change is one script, which the server runs as one step.
//!
//! Times are whole microseconds. Lua counts in doubles, which hold every whole number below 2⁵³:
//! exact until the year 2255.

use std::time::Duration;

use aip_atproto::Origin;
use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use aip_storage::rates::{Quota, RateLimits, Verdict};
use async_trait::async_trait;
use redis::{Cmd, Value};

use super::{CommandError, Valkey};

/// The decision of `aip_storage::gcra`: keeps the new arrival time and returns 0, or returns by how many
/// microseconds the call came too early.
const TAKE_SCRIPT: &str = "\
local now, every, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now)
local early = due - now - tolerance
if early > 0 then return early end
due = due + every
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
return 0";

/// Keeps `MICROSECONDS NONCE` unless what is kept is newer.
const OFFER_SCRIPT: &str = "\
local kept = redis.call('GET', KEYS[1])
local at = kept and tonumber(string.match(kept, '^%d+'))
if not at or at < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
end
return 0";

/// How long a nonce is kept. Servers take one for some minutes.
const NONCE_LIFE: Duration = Duration::from_hours(1);

fn script(text: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(key);
    command
}

fn nonce_key(role: ServerRole, origin: &Origin) -> String {
    format!("aip:nonce:{}:{origin}", role.as_str())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl RateLimits for Valkey {
    async fn take(&self, key: &str, quota: Quota, now: Timestamp) -> Result<Verdict, StorageError> {
        let mut command = script(TAKE_SCRIPT, &format!("aip:rate:{key}"));
        command
            .arg(now.as_micros())
            .arg(micros(quota.every))
            .arg(micros(quota.tolerance()));
        match self.run(command).await? {
            Value::Int(0) => Ok(Verdict::Permitted),
            Value::Int(early) => {
                let early = u64::try_from(early).map_err(|_| CommandError::Unexpected)?;
                Ok(Verdict::Refused {
                    retry_after: Duration::from_micros(early),
                })
            }
            _ => Err(CommandError::Unexpected.into()),
        }
    }
}

#[async_trait]
impl SharedNonces for Valkey {
    async fn newest_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
    ) -> Result<Option<ReceivedNonce>, StorageError> {
        let mut command = redis::cmd("GET");
        command.arg(nonce_key(role, origin));
        let answer = self.run(command).await?;
        let kept: Option<String> =
            redis::from_redis_value(answer).map_err(|_| CommandError::Unexpected)?;
        // What somebody else wrote there is no nonce.
        Ok(kept.as_deref().and_then(given))
    }

    async fn offer_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
        given: &ReceivedNonce,
    ) -> Result<(), StorageError> {
        let mut command = script(OFFER_SCRIPT, &nonce_key(role, origin));
        command
            .arg(given.at.as_micros())
            .arg(&given.nonce)
            .arg(NONCE_LIFE.as_secs() * 1000);
        self.run(command).await?;
        Ok(())
    }
}

/// Reads `MICROSECONDS NONCE`.
fn given(text: &str) -> Option<ReceivedNonce> {
    let (at, nonce) = text.split_once(' ')?;
    Some(ReceivedNonce {
        nonce: nonce.to_owned(),
        at: Timestamp::from_micros(at.parse().ok()?),
    })
}
