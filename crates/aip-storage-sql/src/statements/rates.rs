//! Rate limits: the decision is the condition of the one statement that counts the call.

use aip_base::Timestamp;
use aip_storage::StorageError;
use aip_storage::rates::{Quota, RateLimits, Verdict};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl RateLimits for Store {
    async fn take(&self, key: &str, quota: Quota, now: Timestamp) -> Result<Verdict, StorageError> {
        let latest = now + quota.tolerance();
        let counted = sql("INSERT INTO rate_limits (key, arrival) VALUES ($1, $2 + $3)
             ON CONFLICT (key) DO UPDATE SET arrival = $3
                 + CASE WHEN rate_limits.arrival > $2 THEN rate_limits.arrival ELSE $2 END
             WHERE rate_limits.arrival <= $4")
        .bind((&key.to_owned(), &now, &quota.every, &latest))
        .execute(self.unfenced())
        .await?;
        if counted == 1 {
            return Ok(Verdict::Permitted);
        }
        // Refused, and nothing was written. When to come back is only advice: it may change
        // between the two statements.
        let read = |row: &Row| Fields::of("rate_limits", "key", row)?.get::<Timestamp>("arrival");
        let arrival = sql("SELECT key, arrival FROM rate_limits WHERE key = $1")
            .bind(&key.to_owned())
            .one(self.reader(), read)
            .await?;
        Ok(Verdict::Refused {
            retry_after: arrival.map_or(quota.every, |arrival| arrival.since(latest)),
        })
    }
}
