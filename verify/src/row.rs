//! A row of a read model: as the log gives it, and as it was read.
//!
//! Each column keeps the type that the database gives it, so that most are compared without a text being made of them.
//! Never: a column left out because its type is not known here. Read next: `compare.rs`, `fold/mod.rs`.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::database::Json;

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
    /// As a text, which may be written in several ways.
    Json(String),
}

/// A row that the log gives: its columns by name, each once.
#[derive(Debug, Clone, Default)]
pub struct Row(Vec<(&'static str, Cell)>);

/// A row as it was read: all columns that the table has.
#[derive(Debug, Clone)]
pub struct Given {
    columns: Arc<[String]>,
    cells: Vec<Cell>,
}

impl Row {
    /// `columns` must name each once.
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

impl Given {
    #[cfg(test)]
    pub fn new(columns: Arc<[String]>, cells: Vec<Cell>) -> Self {
        Self { columns, cells }
    }

    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.columns().find(|(known, _)| *known == name).map(|(_, cell)| cell)
    }

    /// The column called `name`, which is most likely in this place.
    pub fn near(&self, place: usize, name: &str) -> Option<&Cell> {
        let is_here = self.columns.get(place).is_some_and(|known| known == name);
        if is_here { self.cells.get(place) } else { self.get(name) }
    }

    pub fn columns(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.columns.iter().map(String::as_str).zip(&self.cells)
    }
}

/// Reads the columns of a row from the one numbered `first` on.
pub fn reading(first: usize) -> impl FnMut(&tokio_postgres::Row) -> Given + Send + 'static {
    let mut named: Option<Arc<[String]>> = None;
    move |row| {
        let names =
            || row.columns().iter().skip(first).map(|column| column.name().to_owned()).collect::<Vec<_>>();
        let columns = Arc::clone(named.get_or_insert_with(|| names().into()));
        Given { cells: (first..row.len()).map(|index| cell(row, index)).collect(), columns }
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
        Type::JSON | Type::JSONB => row.try_get::<_, Option<Json>>(index).map(Cell::from),
        _ => row.try_get::<_, Option<String>>(index).map(Cell::from),
    };
    // What cannot be read is nothing that a log gives, and is shown as what it is.
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

impl From<Json> for Cell {
    /// The JSON `null` in a column is shown to whoever asks as a column without a value.
    fn from(Json(text): Json) -> Self {
        if text == "null" { Self::Null } else { Self::Json(text) }
    }
}

impl Cell {
    /// As serde writes it: the events' own value types.
    pub fn json(value: &impl Serialize) -> Self {
        serde_json::to_string(value).map_or(Self::Null, |text| Json(text).into())
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

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.columns(), f)
    }
}
