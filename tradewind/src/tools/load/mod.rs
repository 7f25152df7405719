//! `tradewind load <orders.csv.gz>`: real orders through the HTTP door, as a shop would send them.
//!
//! What is no valid order is sent all the same: the server refuses it, and the reason is counted. Each order and each
//! receipt of stock has an id made from the run's name, so that a load that was broken off can be repeated: what was
//! done is answered again and nothing is done twice (for as long as the platform remembers keys: 7 days).
//! Never: a rule on orders, or a write past the door. Read next: `invoices.rs` (how lines become orders).

mod door;
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

use super::place;
use door::Door;
use progress::Progress;
use summary::Summary;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// A CSV file, gzipped: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country
    file: PathBuf,
    /// Names this load: under the same name nothing is created twice, under a new one everything is created anew
    #[arg(long, default_value = "first", value_parser = run_name)]
    run: String,
    /// How much of the demand is received as stock before the orders are sent; below 1 makes shortages
    #[arg(long, default_value = "1.0", value_parser = stock_cover)]
    stock_cover: Decimal,
    /// Send only so many orders, the first ones
    #[arg(long)]
    limit_orders: Option<usize>,
    /// Requests under way at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// Do not wait for the orders to settle
    #[arg(long)]
    no_wait: bool,
    /// How long after the last order was accepted all must have settled
    #[arg(long, default_value_t = 300)]
    settle_timeout_seconds: u64,
    /// Write the summary to this file, as JSON
    #[arg(long)]
    summary_json: Option<PathBuf>,
    /// The command side [default: that of `tradewind up`, else http://127.0.0.1:8080]
    #[arg(long)]
    command_url: Option<String>,
    /// The query side [default: that of `tradewind up`, else http://127.0.0.1:8081]
    #[arg(long)]
    query_url: Option<String>,
}

/// Loads the file. Exit code 1 when an order got no answer or did not settle in time.
///
/// # Errors
/// When the file cannot be read, nobody answers, or the stock cannot be received.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let commands = door(args.command_url.as_ref(), "command_url", "http://127.0.0.1:8080")?;
    let queries = door(args.query_url.as_ref(), "query_url", "http://127.0.0.1:8081")?;
    let file = invoices::read(&args.file, args.limit_orders)?;
    commands.greet("command side", "--command-url").await?;
    queries.greet("query side", "--query-url").await?;

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
        // A receiver that is gone waits for nothing.
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

    let asked_again = commands.asked_again() + queries.asked_again();
    let summary =
        Summary { run: args.run, file, received, sent, settled, asked_again, took: started.elapsed() };
    println!("{summary}");
    if let Some(path) = args.summary_json {
        std::fs::write(path, format!("{:#}\n", summary.json()))?;
    }
    Ok(if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn door(given: Option<&String>, name: &str, default: &str) -> anyhow::Result<Door> {
    let remembered = || place::endpoint(name).unwrap_or_else(|| default.to_owned());
    Door::new(&given.cloned().unwrap_or_else(remembered))
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
