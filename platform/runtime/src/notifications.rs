//! Postgres says that something happened (LISTEN): a hint to look at once. One may be missed, or come for nothing.
//!
//! Never: a truth. Whoever listens looks by itself as well, now and then, and oftener while nothing can be heard.
//! Read next: `postgres.rs`.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::Secret;
use crate::postgres::{Dialled, PostgresError, dial};

/// Between two attempts to listen.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// An ear at one channel of one database, on a connection of its own; it closes when this is dropped.
pub struct Notifications {
    heard: Arc<Notify>,
    listening: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Notifications {
    /// Listens to `channel`, a plain identifier, and connects again whenever the connection is lost.
    pub fn listen(url: &Secret, channel: &str) -> Self {
        let heard = Arc::new(Notify::new());
        let listening = Arc::new(AtomicBool::new(false));
        let task =
            keep_listening(url.clone(), channel.to_owned(), Arc::clone(&heard), Arc::clone(&listening));
        Self { heard, listening, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Whether what is said now would be heard.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Returns when something was said since the last time, however often. May be dropped at any time.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }
}

async fn keep_listening(url: Secret, channel: String, heard: Arc<Notify>, listening: Arc<AtomicBool>) {
    let mut told = false;
    loop {
        let ended = listen(&url, &channel, &heard, &listening).await;
        if listening.swap(false, Ordering::Relaxed) {
            told = false;
        }
        if let Err(error) = ended
            && !std::mem::replace(&mut told, true)
        {
            // A pooler in between may not allow it at all: then it stays at looking.
            tracing::warn!(channel, %error, "notifications cannot be heard; looking now and then instead");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Until the connection ends.
async fn listen(
    url: &Secret,
    channel: &str,
    heard: &Notify,
    listening: &AtomicBool,
) -> Result<(), PostgresError> {
    let Dialled { client, mut connection } = dial(url).await?;
    let failed = |source| PostgresError::Connect { url: url.clone(), source };
    let statement = format!("LISTEN {channel}");
    let mut asked = std::pin::pin!(client.batch_execute(&statement));
    loop {
        tokio::select! {
            answered = &mut asked, if !listening.load(Ordering::Relaxed) => {
                answered.map_err(failed)?;
                listening.store(true, Ordering::Relaxed);
                // What was said before nobody heard.
                heard.notify_one();
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(source)) => return Err(failed(source)),
                None => return Ok(()),
            },
        }
    }
}
