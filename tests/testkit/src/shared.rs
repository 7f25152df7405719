//! What the tests of one run share, whichever program and process each of them is: made once, by the first that asks.

use crate::database::admin;

/// Returns what `make` returned to the first test of this run that asked for `name`; the others wait for it.
///
/// It is kept in the database of `DATABASE_URL`, which a run has for itself. When `make` fails, its test fails, and the next
/// one that asks tries again.
///
/// # Panics
/// When `DATABASE_URL` is not set or no server answers there, or `make` does.
pub async fn once_per_run(name: &str, make: impl AsyncFnOnce() -> String) -> String {
    let admin = admin().await;
    // The lock ends with its session, also when `make` panics.
    admin
        .execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&format!("shared {name}")])
        .await
        .expect("the lock is given when the first test has made it");
    admin
        .batch_execute("CREATE SCHEMA IF NOT EXISTS testkit; CREATE TABLE IF NOT EXISTS testkit.shared (name text PRIMARY KEY, value text NOT NULL)")
        .await
        .expect("the owner may create a table");
    let known = admin.query_opt("SELECT value FROM testkit.shared WHERE name = $1", &[&name]).await;
    if let Some(known) = known.expect("the table is readable") {
        return known.get(0);
    }
    let value = make().await;
    admin
        .execute("INSERT INTO testkit.shared (name, value) VALUES ($1, $2)", &[&name, &value])
        .await
        .expect("the owner may write the table");
    value
}
