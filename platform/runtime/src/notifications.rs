//! Postgres notifications (LISTEN). A notification may be lost or spurious, so it only triggers an immediate poll: the
//! subscriber also polls on its own, more often while [`Notifications::is_listening`] is false.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::Secret;
use crate::postgres::{Opened, PostgresError, open};

/// Between two connections.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// A subscription to one channel of one database, on its own connection. Dropping it closes the connection.
pub struct Notifications {
    received: Arc<Notify>,
    listening: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Notifications {
    /// Subscribes to `channel`, a plain identifier, and reconnects when the connection is lost.
    pub fn listen(url: &Secret, channel: &str) -> Self {
        let received = Arc::new(Notify::new());
        let listening = Arc::new(AtomicBool::new(false));
        let task =
            keep_listening(url.clone(), channel.to_owned(), Arc::clone(&received), Arc::clone(&listening));
        Self { received, listening, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Whether a notification that is sent now would be received.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Returns once there was a notification since the last call. Several count as one. Cancel-safe.
    pub async fn notified(&self) {
        self.received.notified().await;
    }
}

async fn keep_listening(url: Secret, channel: String, received: Arc<Notify>, listening: Arc<AtomicBool>) {
    let mut is_reported = false;
    loop {
        let ended = listen(&url, &channel, &received, &listening).await;
        if listening.swap(false, Ordering::Relaxed) {
            is_reported = false;
        }
        if let Err(error) = ended
            && !std::mem::replace(&mut is_reported, true)
        {
            // A connection pooler may not support LISTEN: then the subscriber only polls.
            tracing::warn!(channel, %error, "cannot receive notifications; polling instead");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Runs until the connection ends.
async fn listen(
    url: &Secret,
    channel: &str,
    received: &Notify,
    listening: &AtomicBool,
) -> Result<(), PostgresError> {
    let Opened { client, mut connection } = open(url).await?;
    let failed = |source| PostgresError::Connect { url: url.clone(), source };
    let statement = format!("LISTEN {channel}");
    let mut subscribing = std::pin::pin!(client.batch_execute(&statement));
    loop {
        tokio::select! {
            subscribed = &mut subscribing, if !listening.load(Ordering::Relaxed) => {
                subscribed.map_err(failed)?;
                listening.store(true, Ordering::Relaxed);
                // Notifications before this moment were not received.
                received.notify_one();
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(_))) => received.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(source)) => return Err(failed(source)),
                None => return Ok(()),
            },
        }
    }
}
