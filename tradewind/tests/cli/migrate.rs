//! `tradewind migrate`: several at the same time apply each migration once.

use std::process::{Command, Stdio};

use testkit::fresh_database;

const AT_ONCE: usize = 4;

#[tokio::test]
async fn several_migrations_of_one_database_at_once_apply_each_file_once() {
    let database = fresh_database("migrate").await;
    let started: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_tradewind"))
                .args(["migrate", "--database-url", &database.url])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary starts")
        })
        .collect();
    for child in started {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (client, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    for schema in ["orders", "inventory", "payments", "shipping", "readmodel", "provider"] {
        let query = format!("SELECT count(*), count(DISTINCT version) FROM {schema}.refinery_schema_history");
        let row = client.query_one(&query, &[]).await.expect("refinery's table is there");
        let (applied, versions): (i64, i64) = (row.get(0), row.get(1));
        assert!(applied > 0 && applied == versions, "{schema}: {applied} of {versions}");
    }
}
