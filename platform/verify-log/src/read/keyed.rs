//! Rows in the order of a text key, several of one key or one, with a look at the next key. A task reads a few chunks ahead.

use std::pin::pin;

use futures::stream::TryReadyChunksError;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_postgres::Row;

use crate::Error;
use crate::read::database::Snapshot;

/// The most rows in a chunk, and the most chunks that are read ahead.
const CHUNK_ROWS: usize = 128;
const CHUNKS_AHEAD: usize = 4;

/// Some rows, or the end of them. A channel that closes without an end was interrupted.
enum Chunk<T> {
    Rows(Vec<(String, T)>),
    End,
}

pub struct Keyed<T> {
    chunks: mpsc::Receiver<Result<Chunk<T>, tokio_postgres::Error>>,
    chunk: std::vec::IntoIter<(String, T)>,
    has_ended: bool,
    next: Option<(String, T)>,
    owner: String,
}

impl<T: Send + 'static> Keyed<T> {
    /// `sql` must sort by the key that `read` returns, as bytes.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(
        snapshot: &Snapshot,
        sql: &str,
        mut read: impl FnMut(&Row) -> (String, T) + Send + 'static,
    ) -> Result<Self, Error> {
        let rows = snapshot.stream(sql).await?;
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            let mut chunks = pin!(rows.map_ok(move |row| read(&row)).try_ready_chunks(CHUNK_ROWS));
            // The receiver is gone when another reader has failed; that one reports why.
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map(Chunk::Rows).map_err(|TryReadyChunksError(_, cause)| cause);
                let has_failed = chunk.is_err();
                if sender.send(chunk).await.is_err() || has_failed {
                    return;
                }
            }
            let _ = sender.send(Ok(Chunk::End)).await;
        });
        let chunk = Vec::new().into_iter();
        let mut keyed = Self { chunks, chunk, has_ended: false, next: None, owner: snapshot.owner.clone() };
        keyed.pop().await?;
        Ok(keyed)
    }

    /// The key of the next row.
    pub fn peek(&self) -> Option<&str> {
        self.next.as_ref().map(|(key, _)| key.as_str())
    }

    /// The next row.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn pop(&mut self) -> Result<Option<(String, T)>, Error> {
        let mut following = self.chunk.next();
        while following.is_none() && !self.has_ended {
            let chunk = self.chunks.recv().await.ok_or(Error::Stopped)?;
            match chunk.map_err(|cause| Error::database(&self.owner, cause))? {
                Chunk::Rows(rows) => self.chunk = rows.into_iter(),
                Chunk::End => self.has_ended = true,
            }
            following = self.chunk.next();
        }
        Ok(std::mem::replace(&mut self.next, following))
    }

    /// All rows of `key`, where the next row is one of them.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn take(&mut self, key: &str) -> Result<Vec<T>, Error> {
        let mut taken = Vec::new();
        while self.peek() == Some(key) {
            taken.extend(self.pop().await?.map(|(_, row)| row));
        }
        Ok(taken)
    }
}
