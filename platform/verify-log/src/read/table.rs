//! A table of the read model, read in the order of its key.

use crate::Error;
use crate::read::database::Snapshot;
use crate::read::keyed::Keyed;
use crate::read::row::{StoredRow, reading};
use crate::report::Property;

/// A table of the read model, and the property that its rows are what the logs give.
#[derive(Debug)]
pub struct Table {
    pub property: &'static Property,
    pub name: &'static str,
    /// The consumer under whose name its parked and discarded events are stored.
    pub consumer: &'static str,
    /// The columns that sort its rows, the key first.
    pub sorted_by: &'static [&'static str],
}

impl Table {
    pub fn key(&self) -> &'static str {
        self.sorted_by.first().expect("a table has a key")
    }

    /// All rows.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(&self, snapshot: &Snapshot) -> Result<Keyed<StoredRow>, Error> {
        let (name, key, owner) = (self.name, self.key(), &snapshot.owner);
        let by = snapshot.as_bytes(&format!("t.{key}"));
        let further: String = self.sorted_by.iter().skip(1).map(|column| format!(", t.{column}")).collect();
        let sql = format!("SELECT t.{key}, t.* FROM {owner}.{name} t ORDER BY {by}{further}");
        let mut columns = reading(1);
        let read = move |row: &tokio_postgres::Row| (row.get(0), columns(row));
        Keyed::open(snapshot, &sql, read).await
    }
}
