//! Snapshots of the databases: read-only, repeatable, streamed row by row.
//!
//! Never: a write (the transactions are READ ONLY, so the server refuses one), a table in memory, or a schema that is
//! not named: the search path is somebody else's. Read next: [`crate::engines`], `log.rs`.

use futures::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream};

use crate::Error;
use crate::engines::Engines;

/// The roles' defaults serve look-ups by index and short transactions. Here everything is read, once, in order.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL enable_seqscan = on;
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

/// Rows in the order of a text key, the same key on several rows or on one, with a look at the next.
pub struct Keyed<T> {
    rows: std::pin::Pin<Box<RowStream>>,
    read: fn(&Row) -> (String, T),
    next: Option<(String, T)>,
    owner: &'static str,
}

impl<T> Keyed<T> {
    /// `sql` must order by what `read` gives as the key, as bytes.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(snapshot: &Snapshot, sql: &str, read: fn(&Row) -> (String, T)) -> Result<Self, Error> {
        let rows = Box::pin(snapshot.stream(sql).await?);
        let mut keyed = Self { rows, read, next: None, owner: snapshot.owner };
        keyed.advance().await?;
        Ok(keyed)
    }

    async fn advance(&mut self) -> Result<Option<(String, T)>, Error> {
        let row = self.rows.try_next().await.map_err(|cause| Error::database(self.owner, cause))?;
        let read = self.read;
        Ok(std::mem::replace(&mut self.next, row.map(|row| read(&row))))
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
        self.advance().await
    }

    /// All rows of `key`, where the next row is one of them.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn take(&mut self, key: &str) -> Result<Vec<T>, Error> {
        let mut taken = Vec::new();
        while self.peek() == Some(key) {
            taken.extend(self.advance().await?.map(|(_, row)| row));
        }
        Ok(taken)
    }
}
