//! Device codes. A poll is counted, and a code is spent, by the statement that checks everything.

use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::device::{
    DeviceAuthorization, DeviceCodes, DevicePoll, FETCH_TIME, POLL_TOLERANCE, PollDevice, SLOW_DOWN,
};
use aip_storage::grant::{Grant, TokenFault};
use aip_storage::resource_uri::ResourceList;
use async_trait::async_trait;

use super::code::store_first_tokens;
use super::sql::{Fields, Row, sql, unavailable};
use super::{DbConnection, Store};

/// The columns that [`read_authorization`] reads.
macro_rules! device_columns {
    () => {
        "code, user_code, client_id, scope, asked, resources, asked_from, poll_interval, expires_at"
    };
}

/// Whether nobody has decided yet.
macro_rules! is_undecided {
    () => {
        " grant_id IS NULL AND NOT refused "
    };
}

#[async_trait]
impl DeviceCodes for Store {
    async fn put_device_code(&self, asked: &DeviceAuthorization) -> Result<bool, StorageError> {
        let stored = sql("INSERT INTO device_codes
                 (code, user_code, client_id, scope, asked, poll_interval, expires_at,
                  next_poll_at, slowed, refused, resources, asked_from)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, FALSE, FALSE, $8, $9)
             ON CONFLICT DO NOTHING")
        .bind((&asked.code, &asked.user_code, &asked.client_id))
        .bind((&asked.scope, &asked.asked))
        .bind((&asked.interval, &asked.expires_at))
        .bind((&asked.resources.if_any(), &asked.asked_from))
        .execute(self.writer())
        .await?;
        Ok(stored == 1)
    }

    async fn device_of_user_code(
        &self,
        user_code: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeviceAuthorization>, StorageError> {
        sql(concat!(
            "SELECT ",
            device_columns!(),
            " FROM device_codes WHERE user_code = $1 AND expires_at > $2 AND",
            is_undecided!()
        ))
        .bind((user_code, &now))
        .one(self.reader(), read_authorization)
        .await
    }

    async fn undecided_device(
        &self,
        code: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<DeviceAuthorization>, StorageError> {
        sql(concat!(
            "SELECT ",
            device_columns!(),
            " FROM device_codes WHERE code = $1 AND expires_at > $2 AND",
            is_undecided!()
        ))
        .bind((code, &now))
        .one(self.reader(), read_authorization)
        .await
    }

    async fn refuse_device(&self, code: &TokenHash, now: Timestamp) -> Result<bool, StorageError> {
        let mut tx = self.begin().await?;
        let refused = refuse(&mut tx, code, now).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(refused)
    }

    async fn device_resources(
        &self,
        code: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<ResourceList>, StorageError> {
        sql("SELECT client_id, resources FROM device_codes
             WHERE code = $1 AND client_id = $2 AND expires_at > $3")
        .bind((code, client, &now))
        .one(self.reader(), |row| {
            let resources: Option<ResourceList> =
                Fields::of("device_codes", "client_id", row)?.get("resources")?;
            Ok(resources.unwrap_or_default())
        })
        .await
    }

    async fn poll_device(&self, poll: &DevicePoll) -> Result<PollDevice, StorageError> {
        // The usual case first, in one statement.
        let counted = sql(concat!(
            "UPDATE device_codes SET
                 slowed = (next_poll_at > $3),
                 poll_interval = CASE WHEN next_poll_at > $3
                     THEN poll_interval + $4 ELSE poll_interval END,
                 next_poll_at = $3 - $5 + CASE WHEN next_poll_at > $3
                     THEN poll_interval + $4 ELSE poll_interval END
             WHERE code = $1 AND client_id = $2 AND expires_at > $3 AND",
            is_undecided!(),
            "RETURNING client_id, slowed"
        ))
        .bind((&poll.code, &poll.client_id, &poll.now))
        .bind((&SLOW_DOWN, &POLL_TOLERANCE))
        .one(self.writer(), |row| {
            Fields::of("device_codes", "client_id", row)?.get("slowed")
        })
        .await?;
        match counted {
            Some(true) => return Ok(PollDevice::TooFast),
            Some(false) => return Ok(PollDevice::Pending),
            None => {}
        }
        let mut tx = self.begin().await?;
        let spent = sql("UPDATE device_codes SET spent_at = $3
             WHERE code = $1 AND client_id = $2 AND expires_at > $3 AND spent_at IS NULL
                 AND EXISTS (SELECT 1 FROM grants
                     WHERE grants.id = device_codes.grant_id AND grants.revoked_at IS NULL)
             RETURNING grant_id")
        .bind((&poll.code, &poll.client_id, &poll.now))
        .first(&mut *tx)
        .await?;
        let Some(row) = spent else {
            // Its connection is given back before another one is taken.
            drop(tx);
            return self.why_nothing(poll).await;
        };
        let id: RowId = Fields::of("device_codes", "grant_id", &row)?.get("grant_id")?;
        let jkt = poll.dpop_jkt.as_ref();
        let Some(grant) = store_first_tokens(&mut tx, id, jkt, &poll.tokens, poll.now).await?
        else {
            return Ok(PollDevice::Refused(TokenFault::Raced));
        };
        tx.commit().await.map_err(unavailable)?;
        Ok(PollDevice::Redeemed(Box::new(grant)))
    }
}

impl Store {
    /// Why a poll neither waits nor gets tokens.
    async fn why_nothing(&self, poll: &DevicePoll) -> Result<PollDevice, StorageError> {
        let row = sql(
            "SELECT d.client_id, d.refused, d.expires_at, d.spent_at IS NOT NULL AS spent,
                 g.revoked_at IS NOT NULL AS ended
             FROM device_codes d LEFT JOIN grants g ON g.id = d.grant_id WHERE d.code = $1",
        )
        .bind(&poll.code)
        .first(self.reader())
        .await?;
        let Some(row) = row else {
            return Ok(PollDevice::Refused(TokenFault::Unknown));
        };
        let fields = Fields::of("device_codes", "client_id", &row)?;
        let client: ClientId = fields.get("client_id")?;
        let expires_at: Timestamp = fields.get("expires_at")?;
        let (refused, spent, ended): (bool, bool, bool) = (
            fields.get("refused")?,
            fields.get("spent")?,
            fields.get("ended")?,
        );
        Ok(if client != poll.client_id {
            PollDevice::Refused(TokenFault::OtherClient(client))
        } else if spent {
            PollDevice::Refused(TokenFault::Spent)
        } else if refused {
            PollDevice::Denied
        } else if expires_at <= poll.now {
            PollDevice::Expired
        } else if ended {
            PollDevice::Refused(TokenFault::GrantEnded)
        } else {
            PollDevice::Refused(TokenFault::Raced)
        })
    }
}

/// Lets the device fetch the tokens of `grant`. `false`: it was decided before, expired, or is
/// another client's.
pub(super) async fn allow(
    conn: &mut DbConnection,
    code: &TokenHash,
    grant: &Grant,
) -> Result<bool, StorageError> {
    let now = grant.created_at;
    let allowed = sql(concat!(
        "UPDATE device_codes SET grant_id = $3, asked_from = NULL,
             expires_at = CASE WHEN expires_at < $5 THEN $5 ELSE expires_at END
         WHERE code = $1 AND client_id = $2 AND expires_at > $4 AND",
        is_undecided!()
    ))
    .bind((code, &grant.client_id, &grant.id))
    .bind((&now, &(now + FETCH_TIME)))
    .execute(conn)
    .await?;
    Ok(allowed == 1)
}

/// Ends it with a no. `false`: it was decided before, or expired.
pub(super) async fn refuse(
    conn: &mut DbConnection,
    code: &TokenHash,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let refused = sql(concat!(
        "UPDATE device_codes SET refused = TRUE, asked_from = NULL
         WHERE code = $1 AND expires_at > $2 AND",
        is_undecided!()
    ))
    .bind((code, &now))
    .execute(conn)
    .await?;
    Ok(refused == 1)
}

fn read_authorization(row: &Row) -> Result<DeviceAuthorization, StorageError> {
    let fields = Fields::of("device_codes", "client_id", row)?;
    let resources: Option<ResourceList> = fields.get("resources")?;
    Ok(DeviceAuthorization {
        code: fields.get("code")?,
        user_code: fields.get("user_code")?,
        client_id: fields.get("client_id")?,
        scope: fields.get("scope")?,
        asked: fields.get("asked")?,
        resources: resources.unwrap_or_default(),
        asked_from: fields.get("asked_from")?,
        interval: fields.get("poll_interval")?,
        expires_at: fields.get("expires_at")?,
    })
}
