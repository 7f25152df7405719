//! Runs every benchmark with small sizes, so that all of them work when they are wanted. The tests judge no figure: a
//! busy machine is slow.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// A file with two orders.
const ORDERS: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
2001,TEAPOT,A TEAPOT,2,2010-12-01 08:26:00,2.55,1.0,United Kingdom
2001,TEACUP,A TEACUP,4,2010-12-01 08:26:00,1.25,1.0,United Kingdom
2002,TEAPOT,A TEAPOT,1,2010-12-01 09:02:00,2.55,,United Kingdom
";

fn gzipped(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish()).expect("a Vec takes any bytes")
}

/// Runs the benchmarks and returns their rows: (figure, median).
async fn rows(benchmarks: &[&str], more: &[&str]) -> Vec<(String, f64)> {
    let results = std::env::temp_dir().join(testkit::unique("bench-results"));
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["run", "--quick", "--results"])
        .arg(&results)
        .args(more)
        .args(benchmarks)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the bench was built with the test");
    let printed =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("Quick run"), "a quick run says so: {printed}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(&results).expect("the results are written"))
            .expect("the results are JSON");
    std::fs::remove_file(&results).expect("the results can be removed");
    let measured = report["benchmarks"].as_array().expect("the benchmarks are a list");
    assert_eq!(measured.len(), benchmarks.len(), "{report:#}");
    let rows =
        measured.iter().flat_map(|benchmark| benchmark["rows"].as_array().expect("the rows are a list"));
    let row = |row: &Value| {
        let name = row["figure"].as_str().expect("a row has a name").to_owned();
        let median = row["measured"]["median"].as_f64().unwrap_or_else(|| panic!("a figure in {row}"));
        assert!(printed.contains(&name), "{name} is in the table: {printed}");
        (name, median)
    };
    rows.map(row).collect()
}

fn all_above_zero(rows: &[(String, f64)], at_least: usize) {
    assert!(rows.len() >= at_least, "{rows:?}");
    for (figure, median) in rows {
        assert!(*median > 0.0, "{figure} is {median}");
    }
}

#[tokio::test]
async fn appends_and_the_workloads_of_the_libraries_are_measured() {
    all_above_zero(&rows(&["libraries", "append"], &[]).await, 7);
}

#[tokio::test]
async fn commands_over_http_are_measured() {
    all_above_zero(&rows(&["command"], &[]).await, 4);
}

#[tokio::test]
async fn streams_of_any_length_are_measured() {
    all_above_zero(&rows(&["long-stream"], &[]).await, 4);
}

#[tokio::test]
async fn the_relay_and_the_latency_to_a_consumer_are_measured() {
    // The relay may publish everything before the first poll, and a consumer may be faster than the clock can tell.
    let rows = rows(&["relay", "pipe"], &[]).await;
    assert_eq!(rows.len(), 5, "{rows:?}");
    all_above_zero(&rows[..1], 1);
}

#[tokio::test]
async fn replay_and_growth_are_measured() {
    all_above_zero(&rows(&["replay", "growth"], &[]).await, 8);
}

#[tokio::test]
async fn a_whole_platform_is_measured() {
    let rows = rows(&["saga", "seen", "hot-sku", "projection", "verify", "memory"], &[]).await;
    assert!(rows.len() >= 38, "{rows:?}");
    let confirmed = rows.iter().find(|(figure, _)| figure == "confirmed of them, exactly");
    assert_eq!(confirmed.map(|(_, count)| *count), Some(4.0), "as many as there were pieces");
}

#[tokio::test]
async fn a_file_of_real_orders_is_measured() {
    let file = std::env::temp_dir().join(testkit::unique("bench-orders"));
    std::fs::write(&file, gzipped(ORDERS)).expect("the temporary folder can be written");
    let name = file.display().to_string();
    let rows = rows(&["real-file"], &["--real-file", &name]).await;
    std::fs::remove_file(&file).expect("the file can be removed");
    let unsettled = rows.iter().find(|(figure, _)| figure == "orders not settled").expect("it is reported");
    assert_eq!(unsettled.1, 0.0);
    all_above_zero(&rows[..3], 3);
}

#[tokio::test]
async fn without_the_file_of_real_orders_the_benchmark_reports_that_it_was_skipped() {
    assert_eq!(rows(&["real-file"], &["--real-file", "/nowhere.csv.gz"]).await, []);
}
