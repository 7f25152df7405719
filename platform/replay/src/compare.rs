//! Compares the shadow with the live table, row by row, in one statement. Both must have applied the same positions.

use deadpool_postgres::Transaction;
use event_log::EventSet;
use projections::Projector;
use serde_json::Value;

use crate::report::Comparison;
use crate::schemas::Schemas;

/// A row that is not the same in both.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub key: String,
    /// None: only the rebuilt table has it.
    pub live: Option<Value>,
    /// None: only the live table has it.
    pub rebuilt: Option<Value>,
}

/// # Errors
/// The database's.
pub async fn compare<E: EventSet>(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
    projector: &dyn Projector<E>,
) -> Result<Comparison, tokio_postgres::Error> {
    let (table, key) = (projector.table(), projector.key_column());
    let Schemas { live, shadow, .. } = schemas;
    // Rows of the same bytes are equal; only other rows are compared by their values. OFFSET: once for each row.
    let counts = transaction
        .query_one(
            &format!(
                "SELECT count(live), count(shadow), count(*) FILTER (WHERE differ),
                        min(coalesce(live, shadow)) FILTER (WHERE differ)
                 FROM (SELECT live.{key} AS live, shadow.{key} AS shadow,
                              live.{key} IS NULL OR shadow.{key} IS NULL
                              OR live.* *<> shadow.* AND live.* IS DISTINCT FROM shadow.* AS differ
                       FROM {live}.{table} live FULL JOIN {shadow}.{table} shadow ON live.{key} = shadow.{key}
                       OFFSET 0) pairs"
            ),
            &[],
        )
        .await?;
    let first_difference = match counts.try_get::<_, Option<String>>(3)? {
        Some(first) => Some(Difference {
            live: row(transaction, live, projector, &first).await?,
            rebuilt: row(transaction, shadow, projector, &first).await?,
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

async fn row<E: EventSet>(
    transaction: &Transaction<'_>,
    schema: &str,
    projector: &dyn Projector<E>,
    key: &str,
) -> Result<Option<Value>, tokio_postgres::Error> {
    let (table, column) = (projector.table(), projector.key_column());
    let select = format!("SELECT row_to_json(t) FROM {schema}.{table} t WHERE {column} = $1");
    transaction.query_opt(&select, &[&key]).await?.map(|row| row.try_get(0)).transpose()
}
