//! Shadow and live, row by row, in one statement.
//!
//! Never: a comparison of two tables that are not at the same reach. Read next: `report.rs`.

use deadpool_postgres::Transaction;
use query_side::READ_MODEL;
use query_side::engine::Projector;
use serde_json::Value;

use crate::report::Comparison;
use crate::shadow::SHADOW;

/// A row that is not the same in both.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub key: String,
    /// None: only the rebuild has it.
    pub live: Option<Value>,
    /// None: only live has it.
    pub rebuilt: Option<Value>,
}

/// # Errors
/// The database's.
pub async fn compare(
    transaction: &Transaction<'_>,
    projector: &dyn Projector,
) -> Result<Comparison, tokio_postgres::Error> {
    let (table, key) = (projector.table(), projector.key_column());
    // Rows of the same bytes are equal; only of others it is asked whether they say the same. OFFSET keeps that to once a row.
    let counts = transaction
        .query_one(
            &format!(
                "SELECT count(live), count(shadow), count(*) FILTER (WHERE differ),
                        min(coalesce(live, shadow)) FILTER (WHERE differ)
                 FROM (SELECT live.{key} AS live, shadow.{key} AS shadow,
                              live.{key} IS NULL OR shadow.{key} IS NULL
                              OR live.* *<> shadow.* AND live.* IS DISTINCT FROM shadow.* AS differ
                       FROM {READ_MODEL}.{table} live FULL JOIN {SHADOW}.{table} shadow ON live.{key} = shadow.{key}
                       OFFSET 0) pairs"
            ),
            &[],
        )
        .await?;
    let first_difference = match counts.try_get::<_, Option<String>>(3)? {
        Some(first) => Some(Difference {
            live: row(transaction, READ_MODEL, projector, &first).await?,
            rebuilt: row(transaction, SHADOW, projector, &first).await?,
            key: first,
        }),
        None => None,
    };
    Ok(Comparison {
        rows_live: counts.try_get(0)?,
        rows_rebuilt: counts.try_get(1)?,
        rows_different: counts.try_get(2)?,
        first_difference,
    })
}

async fn row(
    transaction: &Transaction<'_>,
    schema: &str,
    projector: &dyn Projector,
    key: &str,
) -> Result<Option<Value>, tokio_postgres::Error> {
    let (table, column) = (projector.table(), projector.key_column());
    let select = format!("SELECT row_to_json(t) FROM {schema}.{table} t WHERE {column} = $1");
    transaction.query_opt(&select, &[&key]).await?.map(|row| row.try_get(0)).transpose()
}
