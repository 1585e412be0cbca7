//! Notices over publish and subscribe, on the one connection (RESP3 pushes).

use std::sync::{Arc, Weak};

use aip_storage::StorageError;
use aip_storage::notices::{Notice, Notices};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use redis::{Msg, PushInfo, PushKind};

use super::connect::{Connection, PushHandler};
use super::{Inner, Valkey};

/// Where notices are published.
pub(super) const CHANNEL: &str = "aip:notices";

/// The handler of the push messages of connection `number`, which notices its end.
pub(super) fn push_handler(inner: &Arc<Inner>, number: u64) -> PushHandler {
    let inner = Arc::downgrade(inner);
    Arc::new(move |push| receive_push(&inner, number, push))
}

fn receive_push(inner: &Weak<Inner>, number: u64, push: PushInfo) {
    let Some(inner) = inner.upgrade() else {
        return;
    };
    if push.kind == PushKind::Disconnection {
        let live = inner.live.borrow().clone();
        // A cluster heals itself.
        if !matches!(
            live.map(|live| live.connection),
            Some(Connection::Cluster(_))
        ) {
            inner.end(number, "closed by the server");
        }
        return;
    }
    let text = Msg::from_push_info(push).and_then(|message| message.get_payload::<String>().ok());
    if let Some(notice) = text.as_deref().and_then(Notice::from_text) {
        inner.local_notices.broadcast(notice);
    }
}

impl Valkey {
    /// Publishes a notice, or says that it could not.
    pub(crate) async fn send_notice(&self, notice: &Notice) -> Result<(), StorageError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(CHANNEL).arg(notice.to_text());
        self.run(command).await?;
        Ok(())
    }
}

#[async_trait]
impl Notices for Valkey {
    async fn publish(&self, notice: &Notice) {
        if let Err(error) = self.send_notice(notice).await {
            tracing::debug!(%error, "notice not published");
        }
    }

    fn subscribe(&self) -> BoxStream<'static, Notice> {
        self.inner.local_notices.subscribe()
    }
}
