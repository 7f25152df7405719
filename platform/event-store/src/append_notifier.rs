//! Says that the log has grown, to whoever listens: the relay then need not wait for its next look.
//!
//! A NOTIFY of its own, after the commit: within the append's transaction it would put every commit of the server in one
//! line. While one is under way others are not sent but remembered, so a busy log costs one now and then. It is a hint:
//! one that is lost costs the time until the relay looks by itself.
//! Never: anything on the way of a command, or an error because nobody could be told. Read next: `platform/relay/src/pump.rs`.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use event_log::ContextName;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Between two of them: a busy log is not faster for more.
const PAUSE: Duration = Duration::from_millis(1);

/// What is said on this channel of the context's database says that its log has grown.
pub fn append_channel(context: impl Into<ContextName>) -> String {
    let context = context.into();
    format!("tradewind_{context}_grew")
}

/// The way to the task that says so. It ends when this is dropped.
pub(crate) struct AppendNotifier {
    grown: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl AppendNotifier {
    pub(crate) fn start(context: ContextName, pool: Pool) -> Self {
        let grown = Arc::new(Notify::new());
        let task = tokio::spawn(say(context, pool, Arc::clone(&grown)));
        Self { grown, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn notify(&self) {
        self.grown.notify_one();
    }
}

async fn say(context: ContextName, pool: Pool, grown: Arc<Notify>) {
    // Nothing is lost with the commit of a notification: no wait for the disk.
    let statement = format!("SET LOCAL synchronous_commit = off; NOTIFY {}", append_channel(context));
    loop {
        grown.notified().await;
        let said = match pool.get().await {
            Ok(client) => client.batch_execute(&statement).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(cause) = said {
            tracing::debug!(%context, cause, "nobody was told that the log grew");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
