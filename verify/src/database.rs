//! Snapshots of the databases: read-only, repeatable, streamed row by row.
//!
//! Never: a write (the transactions are READ ONLY, so the server refuses one), a table in memory, or a schema that is
//! not named: the search path is somebody else's. Read next: [`crate::engines`], `log.rs`.

use std::pin::pin;

use futures::stream::TryReadyChunksError;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_postgres::types::{FromSql, ToSql, Type, accepts};
use tokio_postgres::{Client, Row, RowStream};

use crate::Error;
use crate::engines::Engines;

/// Rows handed over at a time at most, and so many of these on the way.
const CHUNK_ROWS: usize = 128;
const CHUNKS_AHEAD: usize = 4;

/// The roles' defaults serve look-ups by index and short transactions. Here everything is read, once, in order: a sort that
/// fits into memory or an index that lies in the order of its rows saves writing the whole log to disk once more.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL enable_seqscan = on;
    SET LOCAL jit = off;
    SET LOCAL work_mem = '32MB';
    SET LOCAL random_page_cost = 1.1;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL statement_timeout = 0;
    SET LOCAL TimeZone = 'UTC';";

/// One owner's schema at one moment. One query at a time; [`Snapshot::beside`] gives another connection.
pub struct Snapshot {
    client: Client,
    pub owner: &'static str,
    name: String,
    /// Whether the database sorts text as bytes; else every ORDER BY has to say so.
    sorts_bytes: bool,
}

impl Snapshot {
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn open(engines: &Engines, owner: &'static str) -> Result<Self, Error> {
        let client = engines.connect(owner).await?;
        let failed = |cause| Error::database(owner, cause);
        client.batch_execute(BEGIN).await.map_err(failed)?;
        let row = client
            .query_one(
                "SELECT pg_export_snapshot(), datlocprovider::text <> 'i' AND datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
                   FROM pg_database WHERE datname = current_database()",
                &[],
            )
            .await
            .map_err(failed)?;
        Ok(Self { client, owner, name: row.get(0), sorts_bytes: row.get(1) })
    }

    /// Another connection that sees the same.
    ///
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn beside(&self, engines: &Engines) -> Result<Self, Error> {
        let client = engines.connect(self.owner).await?;
        let same = format!("{BEGIN} SET TRANSACTION SNAPSHOT '{}'", self.name);
        // The snapshot must be chosen before the first query; settings are none.
        client.batch_execute(&same).await.map_err(|cause| Error::database(self.owner, cause))?;
        Ok(Self { client, owner: self.owner, name: self.name.clone(), sorts_bytes: self.sorts_bytes })
    }

    /// `column`, to be compared and sorted as bytes, as Rust does.
    pub fn as_bytes(&self, column: &str) -> String {
        if self.sorts_bytes { column.to_owned() } else { format!("{column} COLLATE \"C\"") }
    }

    /// The rows as they come: what is in memory at a time is what the network holds.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn stream(&self, sql: &str) -> Result<RowStream, Error> {
        let no_parameters: [&(dyn ToSql + Sync); 0] = [];
        self.client.query_raw(sql, no_parameters).await.map_err(|cause| Error::database(self.owner, cause))
    }

    /// A few rows.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.client.query(sql, parameters).await.map_err(|cause| Error::database(self.owner, cause))
    }
}

/// A column of JSON as the server has it: a text, not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let text = match raw {
            // The number of the format, before the text.
            [1, text @ ..] if *kind == Type::JSONB => text,
            _ if *kind == Type::JSONB => return Err("jsonb of an unknown format".into()),
            text => text,
        };
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }

    accepts!(JSON, JSONB);
}

/// A part of the rows, or their end. Without the end the reading was broken off.
enum Chunk<T> {
    Rows(Vec<(String, T)>),
    End,
}

/// Rows in the order of a text key, the same key on several rows or on one, with a look at the next. A task of their own
/// reads ahead, a few chunks.
pub struct Keyed<T> {
    chunks: mpsc::Receiver<Result<Chunk<T>, tokio_postgres::Error>>,
    chunk: std::vec::IntoIter<(String, T)>,
    has_ended: bool,
    next: Option<(String, T)>,
    owner: &'static str,
}

impl<T: Send + 'static> Keyed<T> {
    /// `sql` must order by what `read` gives as the key, as bytes.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(
        snapshot: &Snapshot,
        sql: &str,
        mut read: impl FnMut(&Row) -> (String, T) + Send + 'static,
    ) -> Result<Self, Error> {
        let rows = snapshot.stream(sql).await?;
        let (to_merge, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            let mut chunks = pin!(rows.map_ok(move |row| read(&row)).try_ready_chunks(CHUNK_ROWS));
            // Whoever takes no more has failed, and says why.
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map(Chunk::Rows).map_err(|TryReadyChunksError(_, cause)| cause);
                let was_broken_off = chunk.is_err();
                if to_merge.send(chunk).await.is_err() || was_broken_off {
                    return;
                }
            }
            let _ = to_merge.send(Ok(Chunk::End)).await;
        });
        let chunk = Vec::new().into_iter();
        let mut keyed = Self { chunks, chunk, has_ended: false, next: None, owner: snapshot.owner };
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
            match chunk.map_err(|cause| Error::database(self.owner, cause))? {
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
