//! The three schemas that a projection's table can be in.

/// The schemas of the read models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas {
    pub live: String,
    /// Where a table is built.
    pub shadow: String,
    /// Where the table is kept that the last swap replaced, with the positions that it had applied.
    pub previous: String,
}

impl Schemas {
    /// `live`: the schema of the projections.
    pub fn of(live: &str) -> Self {
        Self { live: live.to_owned(), shadow: format!("{live}_shadow"), previous: format!("{live}_previous") }
    }
}
