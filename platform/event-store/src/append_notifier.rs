//! Sends a NOTIFY when the log has grown, so that the relay need not wait for its next poll.
//!
//! The NOTIFY runs in its own transaction after the commit: inside the append's transaction it would serialise all
//! commits of the server. Growth during one NOTIFY is combined into the next one. A notification is a hint; if one is
//! lost, the relay finds the events at its next poll.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use event_log::ContextName;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// The pause between two notifications; more of them would not make a busy log faster.
const PAUSE: Duration = Duration::from_millis(1);

/// The channel on which the context's database announces that its log has grown.
pub fn append_channel(context: impl Into<ContextName>) -> String {
    let context = context.into();
    format!("tradewind_{context}_grew")
}

/// Handle of the task that sends the notifications. Dropping it ends the task.
pub(crate) struct AppendNotifier {
    grown: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl AppendNotifier {
    pub(crate) fn start(context: ContextName, pool: Pool) -> Self {
        let grown = Arc::new(Notify::new());
        let task = tokio::spawn(send_notifications(context, pool, Arc::clone(&grown)));
        Self { grown, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn notify(&self) {
        self.grown.notify_one();
    }
}

async fn send_notifications(context: ContextName, pool: Pool, grown: Arc<Notify>) {
    // A lost notification loses no data, so the commit need not wait for the disk.
    let statement = format!("SET LOCAL synchronous_commit = off; NOTIFY {}", append_channel(context));
    loop {
        grown.notified().await;
        let sent = match pool.get().await {
            Ok(client) => client.batch_execute(&statement).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(cause) = sent {
            tracing::debug!(%context, cause, "log growth notification not sent");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
