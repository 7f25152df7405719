//! The same work done by PostgreSQL alone: statements sent by `pgbench`, or by our own loop where it is not installed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use runtime::Secret;
use runtime::postgres;
use tokio::process::Command;

/// Events in one call of `append`.
pub const BATCH_EVENTS: u32 = 200;

/// The time in milliseconds, once for each call, and a UUID that begins with it. The appender's callers make UUIDs of version 7
/// (RFC 9562, 5.7), which begin with the time too: the last leaf of an index is cheaper to write than any other.
const NOW: &str =
    "(SELECT substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) AS ms)";
const UUID: &str = "encode(overlay(uuid_send(gen_random_uuid()) PLACING n.ms FROM 1 FOR 6), 'hex')::uuid";

/// One call of the function `append`: [`BATCH_EVENTS`] commands of one event each, every one on a new stream.
pub fn append_statement() -> String {
    let n = BATCH_EVENTS;
    let each = |value: &str| format!("array_fill({value}, ARRAY[{n}])");
    let [none_integer, none_bytes, none_small, none_json] =
        ["NULL::integer", "NULL::bytea", "NULL::smallint", "NULL::json"].map(each);
    let [zero, one] = ["0", "1"].map(each);
    let [event_type, schema_version, payload, metadata] =
        ["'OrderPlaced'::text", "1::smallint", "p.payload", "p.metadata"].map(each);
    format!(
        "SELECT count(*) FROM bench_payload p, \
         LATERAL (SELECT array_agg('order-' || {UUID} ORDER BY i) AS names, \
         array_agg(i ORDER BY i) AS ordinals, array_agg({UUID}) AS ids \
         FROM {NOW} n, generate_series(1, {n}) i) b, \
         LATERAL append(b.names, '{{}}', {none_integer}, {none_bytes}, {none_small}, {none_json}, {zero}, {one}, {one}, \
         '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', \
         b.ordinals, {zero}, {one}, \
         b.ordinals, {one}, b.ordinals, {one}, b.ids, {event_type}, {schema_version}, {payload}, {metadata}, \
         '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', \
         '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}');"
    )
}

/// One event in its own transaction, with a position from a sequence: an insert without the rules of the log.
pub fn insert_statement() -> String {
    format!(
        "INSERT INTO bench_events \
         SELECT nextval('bench_position'), 'order-' || {UUID}, 1, {UUID}, 'OrderPlaced', 1, \
         p.payload, p.metadata, clock_timestamp() FROM bench_payload p, {NOW} n;"
    )
}

/// Runs `statement` over `connections` connections in the schema `orders`; transactions a second.
///
/// # Errors
/// When the statement fails.
pub async fn drive(url: &Secret, statement: &str, connections: usize, span: Duration) -> anyhow::Result<f64> {
    match program() {
        Some(program) => by_pgbench(program, url, statement, connections, span).await,
        None => by_own_loop(url, statement, connections, span).await,
    }
}

/// Which of the two [`drive`] uses.
pub fn driver() -> &'static str {
    if program().is_some() { "pgbench" } else { "a loop of the benchmark" }
}

fn program() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = installed.map(|version| version.path().join("bin/pgbench")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("pgbench")));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

async fn by_pgbench(
    program: PathBuf,
    url: &Secret,
    statement: &str,
    connections: usize,
    span: Duration,
) -> anyhow::Result<f64> {
    let script = std::env::temp_dir().join(testkit::unique("bench-pgbench"));
    std::fs::write(&script, statement)?;
    // A span below one second is a quick run: a few transactions, however long they take.
    let (unit, amount) = match span.as_secs() {
        0 => ("-t", "5".to_owned()),
        seconds => ("-T", seconds.to_string()),
    };
    let (clients, threads) = (connections.to_string(), connections.min(2).to_string());
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "-c", &clients, "-j", &threads, unit, &amount, "-f"])
        .arg(&script)
        .arg(url.expose())
        .env("PGOPTIONS", "-c search_path=orders")
        .output()
        .await;
    std::fs::remove_file(&script)?;
    let output = output?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
    }
    let per_second =
        printed.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    per_second.with_context(|| format!("pgbench printed no tps: {printed}"))
}

async fn by_own_loop(
    url: &Secret,
    statement: &str,
    connections: usize,
    span: Duration,
) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + span;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let client = postgres::connect(url).await?;
        client.batch_execute("SET search_path TO orders").await?;
        let prepared = client.prepare(statement.trim_end_matches(';')).await?;
        let done = Arc::clone(&done);
        tasks.spawn(async move {
            while Instant::now() < end {
                client.execute(&prepared, &[]).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / span.as_secs_f64())
}
