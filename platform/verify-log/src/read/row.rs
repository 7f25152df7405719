//! A row of a read model: as the log gives it, and as it is stored.
//!
//! Each column keeps the type that the database gives it, so that most are compared without formatting them.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::read::database::JsonText;

/// The value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Flag(bool),
    Number(i64),
    Text(String),
    Id(Uuid),
    Day(NaiveDate),
    Moment(DateTime<Utc>),
    /// A text, which may be written in several ways.
    Json(String),
}

/// A row as the log gives it: its columns by name, each once.
#[derive(Debug, Clone, Default)]
pub struct Row(Vec<(&'static str, Cell)>);

/// A row as it is stored: all columns of the table.
#[derive(Debug, Clone)]
pub struct StoredRow {
    columns: Arc<[String]>,
    cells: Vec<Cell>,
}

impl Row {
    /// `columns` names each column once.
    pub fn new<const N: usize>(columns: [(&'static str, Cell); N]) -> Self {
        Self(columns.into())
    }

    pub fn set<const N: usize>(&mut self, columns: [(&'static str, Cell); N]) {
        for (name, now) in columns {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, cell)) => *cell = now,
                None => self.0.push((name, now)),
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, cell)| cell)
    }

    pub fn columns(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.0.iter().map(|(name, cell)| (*name, cell))
    }
}

impl StoredRow {
    #[cfg(test)]
    pub fn new(columns: Arc<[String]>, cells: Vec<Cell>) -> Self {
        Self { columns, cells }
    }

    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.columns().find(|(known, _)| *known == name).map(|(_, cell)| cell)
    }

    /// The column called `name`, which is most likely at this index.
    pub fn near(&self, index: usize, name: &str) -> Option<&Cell> {
        let is_here = self.columns.get(index).is_some_and(|known| known == name);
        if is_here { self.cells.get(index) } else { self.get(name) }
    }

    pub fn columns(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.columns.iter().map(String::as_str).zip(&self.cells)
    }
}

/// Reads the columns of a row from the one numbered `first` on.
pub fn reading(first: usize) -> impl FnMut(&tokio_postgres::Row) -> StoredRow + Send + 'static {
    let mut named: Option<Arc<[String]>> = None;
    move |row| {
        let names =
            || row.columns().iter().skip(first).map(|column| column.name().to_owned()).collect::<Vec<_>>();
        let columns = Arc::clone(named.get_or_insert_with(|| names().into()));
        StoredRow { cells: (first..row.len()).map(|index| cell(row, index)).collect(), columns }
    }
}

fn cell(row: &tokio_postgres::Row, index: usize) -> Cell {
    let kind = row.columns()[index].type_();
    let read = match *kind {
        Type::BOOL => row.try_get::<_, Option<bool>>(index).map(Cell::from),
        Type::INT4 => row.try_get::<_, Option<i32>>(index).map(Cell::from),
        Type::INT8 => row.try_get::<_, Option<i64>>(index).map(Cell::from),
        Type::UUID => row.try_get::<_, Option<Uuid>>(index).map(Cell::from),
        Type::DATE => row.try_get::<_, Option<NaiveDate>>(index).map(Cell::from),
        Type::TIMESTAMPTZ => row.try_get::<_, Option<DateTime<Utc>>>(index).map(Cell::from),
        Type::JSON | Type::JSONB => row.try_get::<_, Option<JsonText>>(index).map(Cell::from),
        _ => row.try_get::<_, Option<String>>(index).map(Cell::from),
    };
    // No log gives a value of another type; the report shows it as it is.
    read.unwrap_or_else(|_| Cell::Text(format!("a value of the type {kind}")))
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! cells {
    ($($kind:ident($of:ty),)+) => {
        $(impl From<$of> for Cell {
            fn from(value: $of) -> Self {
                Self::$kind(value.into())
            }
        })+
    };
}
cells! {
    Flag(bool),
    Number(i32),
    Number(i64),
    Text(&str),
    Text(String),
    Id(Uuid),
    Day(NaiveDate),
    Moment(DateTime<Utc>),
}

impl From<JsonText> for Cell {
    /// The query side answers JSON `null` and SQL NULL alike.
    fn from(JsonText(text): JsonText) -> Self {
        if text == "null" { Self::Null } else { Self::Json(text) }
    }
}

impl Cell {
    /// As serde writes the events' own value types.
    pub fn json(value: &impl Serialize) -> Self {
        serde_json::to_string(value).map_or(Self::Null, |text| JsonText(text).into())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Id(id) => write!(f, "\"{id}\""),
            Self::Day(day) => write!(f, "\"{day}\""),
            Self::Moment(moment) => write!(f, "{:?}", moment.to_rfc3339()),
            Self::Json(text) => f.write_str(text),
        }
    }
}

fn show<'a>(columns: impl Iterator<Item = (&'a str, &'a Cell)>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, (name, cell)) in columns.enumerate() {
        write!(f, "{}\"{name}\":{cell}", if index == 0 { "{" } else { "," })?;
    }
    f.write_str("}")
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.columns(), f)
    }
}

impl fmt::Display for StoredRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.columns(), f)
    }
}
