//! `tradewind load <orders.csv.gz>` sends the orders of a real shop over HTTP, as the shop would, and reports the
//! outcome of each. Invalid orders are sent too; the server refuses them, and the summary counts the reasons. Each
//! order and each stock receipt has an id derived from the name of the run, so an interrupted load can be repeated
//! without doing anything twice (within the 7 days for which the platform keeps idempotency keys).
//!
//! Never: a business rule here, or a write other than over HTTP. Read next: `invoices.rs` (lines become orders),
//! `orders.rs` (orders are sent), `client.rs` (retries).

mod client;
mod invoices;
mod orders;
mod progress;
mod settle;
mod stock;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use rust_decimal::Decimal;
use tokio::sync::watch;

use super::connections;
use client::ApiClient;
use progress::Progress;
use summary::Summary;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// A gzipped CSV file with the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country
    file: PathBuf,
    /// The name of this run, 1 to 64 characters: repeating a run creates nothing twice, a new name creates everything again
    #[arg(long, default_value = "first", value_parser = run_name)]
    run: String,
    /// Stock received before the orders are sent, as a multiple of the demand, 0 to 1000; below 1 there are shortages
    #[arg(long, default_value = "1.0", value_parser = stock_cover)]
    stock_cover: Decimal,
    /// Send only the first so many orders [default: all]
    #[arg(long)]
    limit_orders: Option<usize>,
    /// Requests in flight at most, 1 to 512
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// Do not wait until the orders settle
    #[arg(long)]
    no_wait: bool,
    /// Seconds after the last accepted order within which all orders must settle
    #[arg(long, default_value_t = 300)]
    settle_timeout_seconds: u64,
    /// Also write the summary to this file, as JSON
    #[arg(long)]
    summary_json: Option<PathBuf>,
    /// The URL of the command side [default: that of `tradewind up`, otherwise http://127.0.0.1:8080]
    #[arg(long)]
    command_url: Option<String>,
    /// The URL of the query side [default: that of `tradewind up`, otherwise http://127.0.0.1:8081]
    #[arg(long)]
    query_url: Option<String>,
}

/// Loads the file. Exit code 1 when an order got no response or did not settle in time.
///
/// # Errors
/// When the file cannot be read, the platform does not respond, or the stock cannot be received.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let commands = client(args.command_url.as_ref(), "command_url", "http://127.0.0.1:8080")?;
    let queries = client(args.query_url.as_ref(), "query_url", "http://127.0.0.1:8081")?;
    let file = invoices::read(&args.file, args.limit_orders)?;
    commands.check_reachable("command side", "--command-url").await?;
    queries.check_reachable("query side", "--query-url").await?;

    let mut progress = Progress::new();
    let concurrency = usize::from(args.concurrency);
    let receipts = stock::receipts(&file.invoices, args.stock_cover, &args.run)?;
    let received = stock::receive(
        &commands,
        &receipts,
        &args.run,
        concurrency,
        &progress.stage("stock", receipts.len()),
    )
    .await?;

    let (accepted, to_settle) = mpsc::channel(file.invoices.len());
    let (all_sent, deadline) = watch::channel(None);
    let sending_bar = progress.stage("orders", file.invoices.len());
    let settling_bar = progress.stage("settled", if args.no_wait { 0 } else { file.invoices.len() });
    let sending = async {
        let sent =
            orders::send(&commands, &file.invoices, &args.run, concurrency, accepted, &sending_bar).await;
        settling_bar.expect_only(sent.accepted.len());
        // With --no-wait there is no receiver.
        let _ = all_sent.send(Some(Instant::now() + Duration::from_secs(args.settle_timeout_seconds)));
        sent
    };
    let settling = async {
        if args.no_wait {
            return None;
        }
        Some(settle::watch(&queries, to_settle, deadline, &settling_bar).await)
    };
    let (sent, settled) = tokio::join!(sending, settling);
    progress.finish();

    let retries = commands.retries() + queries.retries();
    let summary = Summary { run: args.run, file, received, sent, settled, retries, took: started.elapsed() };
    println!("{summary}");
    if let Some(path) = args.summary_json {
        std::fs::write(path, format!("{:#}\n", summary.json()))?;
    }
    Ok(if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn client(given: Option<&String>, name: &str, fallback: &str) -> anyhow::Result<ApiClient> {
    let default = || connections::endpoint(name).unwrap_or_else(|| fallback.to_owned());
    ApiClient::new(&given.cloned().unwrap_or_else(default))
}

fn stock_cover(text: &str) -> Result<Decimal, String> {
    match text.parse::<Decimal>() {
        Ok(cover) if (Decimal::ZERO..=Decimal::ONE_THOUSAND).contains(&cover) => Ok(cover),
        _ => Err("must be a number from 0 to 1000, such as 0.8".to_owned()),
    }
}

fn run_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=64 => Ok(text.to_owned()),
        given => Err(format!("must have 1 to 64 characters, has {given}")),
    }
}
