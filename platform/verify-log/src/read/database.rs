//! Snapshots of the databases, read row by row. Their transactions are READ ONLY, so the server refuses a write.
//!
//! Every query names its schema: the search path of the role is not known here.

use tokio_postgres::types::{FromSql, ToSql, Type, accepts};
use tokio_postgres::{Client, Row, RowStream};

use crate::Error;
use crate::read::connections::Connections;

/// The roles' defaults serve look-ups by index and short transactions. A verification reads everything once, in order: a sort
/// in memory, or an index whose order is that of the rows, saves writing the whole log to disk once more.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL enable_seqscan = on;
    SET LOCAL jit = off;
    SET LOCAL work_mem = '32MB';
    SET LOCAL random_page_cost = 1.1;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL statement_timeout = 0;
    SET LOCAL TimeZone = 'UTC';";

/// One owner's schema at one moment. It runs one query at a time; [`Snapshot::beside`] gives another connection.
pub struct Snapshot {
    client: Client,
    pub owner: String,
    name: String,
    /// Whether the database sorts text as bytes; if not, every ORDER BY has to say so.
    sorts_bytes: bool,
}

impl Snapshot {
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn open(connections: &Connections, owner: &str) -> Result<Self, Error> {
        let client = connections.connect(owner).await?;
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
        Ok(Self { client, owner: owner.to_owned(), name: row.get(0), sorts_bytes: row.get(1) })
    }

    /// Another connection to the same snapshot.
    ///
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn beside(&self, connections: &Connections) -> Result<Self, Error> {
        let client = connections.connect(&self.owner).await?;
        let same = format!("{BEGIN} SET TRANSACTION SNAPSHOT '{}'", self.name);
        // The snapshot must be set before the first query; a SET is not a query.
        client.batch_execute(&same).await.map_err(|cause| Error::database(&self.owner, cause))?;
        Ok(Self { client, owner: self.owner.clone(), name: self.name.clone(), sorts_bytes: self.sorts_bytes })
    }

    /// `column` as an expression that compares and sorts as bytes, as Rust does.
    pub fn as_bytes(&self, column: &str) -> String {
        if self.sorts_bytes { column.to_owned() } else { format!("{column} COLLATE \"C\"") }
    }

    /// The rows as they arrive; memory holds only what the network delivers at a time.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn stream(&self, sql: &str) -> Result<RowStream, Error> {
        let no_parameters: [&(dyn ToSql + Sync); 0] = [];
        self.client.query_raw(sql, no_parameters).await.map_err(|cause| Error::database(&self.owner, cause))
    }

    /// A few rows.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.client.query(sql, parameters).await.map_err(|cause| Error::database(&self.owner, cause))
    }
}

/// A column of JSON as the server sends it: a text, not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(pub String);

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let text = match raw {
            // The first byte is the number of the format.
            [1, text @ ..] if *kind == Type::JSONB => text,
            _ if *kind == Type::JSONB => return Err("jsonb of an unknown format".into()),
            text => text,
        };
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }

    accepts!(JSON, JSONB);
}
