//! `tradewind parked list | show | retry | discard`: the events that consumers could not handle and have parked.
//!
//! Never: an event handled out of the order of its stream; a write in a dry run; exit code 0 while an event that was to
//! be handled is still parked. Read next: docs/decisions/0009 (the locking), `tables.rs` (where the tables are).

mod tables;
mod text;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use event_bus::parked::{ParkedStream, Retried};

use self::tables::{ParkedTables, TableOptions};
use super::connections::WithLocalDefaults;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List every parked stream: its consumer, since when, and why
    List(List),
    /// Show the parked events of one stream, in order
    Show(Show),
    /// Let the consumer handle parked events again, in order; stops at the first that fails again
    Retry(Retry),
    /// Discard parked events for good; records who and why
    Discard(Discard),
}

#[derive(clap::Args, Debug)]
struct List {
    /// Only events parked by this consumer, such as query-side.orders or sagas.inventory [default: all consumers]
    #[arg(long)]
    consumer: Option<String>,
    #[command(flatten)]
    options: WithLocalDefaults<TableOptions>,
}

#[derive(clap::Args, Debug)]
struct Show {
    /// The stream, such as order-<uuid>
    stream: String,
    /// Only events parked by this consumer [default: all consumers]
    #[arg(long)]
    consumer: Option<String>,
    #[command(flatten)]
    options: WithLocalDefaults<TableOptions>,
}

#[derive(clap::Args, Debug)]
struct Retry {
    /// The stream, such as order-<uuid>
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    stream: Option<String>,
    /// Retry every parked stream
    #[arg(long)]
    all: bool,
    /// Only events parked by this consumer [default: all consumers]
    #[arg(long)]
    consumer: Option<String>,
    /// Print what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: WithLocalDefaults<TableOptions>,
}

#[derive(clap::Args, Debug)]
struct Discard {
    /// The stream, such as order-<uuid>
    stream: String,
    /// Discard only the first of its events, and retry the rest
    #[arg(long)]
    first: bool,
    /// The reason; it is recorded with the events
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// The person who discards; it is recorded with the events
    #[arg(long, env = "USER", default_value = "unknown", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    by: String,
    /// Only events parked by this consumer [default: all consumers]
    #[arg(long)]
    consumer: Option<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print what would be discarded, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: WithLocalDefaults<TableOptions>,
}

/// # Errors
/// When a table cannot be read, or a retry cannot be finished; what was done before stays done.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Discard(args) => discard(args).await,
    }
}

async fn list(List { consumer, options }: List) -> anyhow::Result<ExitCode> {
    let tables = ParkedTables::open(options.0)?;
    print!("{}", text::table(&tables.streams(consumer.as_deref(), None).await?));
    Ok(ExitCode::SUCCESS)
}

async fn show(Show { stream, consumer, options }: Show) -> anyhow::Result<ExitCode> {
    let tables = ParkedTables::open(options.0)?;
    let parked = tables.streams(consumer.as_deref(), Some(&stream)).await?;
    for parked in &parked {
        println!("{} has parked {} of {}:", parked.consumer, text::records(parked.records), parked.stream);
        let mut after = None;
        loop {
            let page = tables.records(parked, after.as_ref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.place.clone());
            page.iter().for_each(|record| print!("{}", text::record(record)));
        }
    }
    found(&parked, &stream)
}

async fn retry(args: Retry) -> anyhow::Result<ExitCode> {
    let tables = ParkedTables::open(args.options.0)?;
    let parked = tables.streams(args.consumer.as_deref(), args.stream.as_deref()).await?;
    let mut all_handled = true;
    for stream in &parked {
        let retried = tables.retry(stream, args.dry_run).await?;
        println!("{}", text::retried(stream, &retried, args.dry_run));
        all_handled &= retried.stopped.is_none();
    }
    match args.stream {
        Some(stream) => found(&parked, &stream)?,
        None if parked.is_empty() => {
            println!("nothing is parked");
            ExitCode::SUCCESS
        }
        None => ExitCode::SUCCESS,
    };
    let nothing_there = parked.is_empty() && !args.all;
    Ok(if all_handled && !nothing_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn discard(args: Discard) -> anyhow::Result<ExitCode> {
    let tables = ParkedTables::open(args.options.0)?;
    let parked = tables.streams(args.consumer.as_deref(), Some(&args.stream)).await?;
    for stream in &parked {
        let records = if args.first { 1 } else { stream.records };
        let what = format!("{} of {}, parked by {}", text::records(records), stream.stream, stream.consumer);
        if args.dry_run {
            println!("would discard {what}; the first is parked because: {}", stream.reason);
            continue;
        }
        if !args.yes && !confirmed(&what)? {
            println!("kept {what}");
            return Ok(ExitCode::FAILURE);
        }
        let discarded = tables.discard(stream, records, &args.by, &args.reason).await?;
        println!(
            "discarded {} of {}, parked by {}",
            text::records(discarded),
            stream.stream,
            stream.consumer
        );
        if args.first {
            let retried: Retried = tables.retry(stream, false).await?;
            println!("{}", text::retried(stream, &retried, false));
            if retried.stopped.is_some() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    found(&parked, &args.stream)
}

fn found(parked: &[ParkedStream], stream: &str) -> anyhow::Result<ExitCode> {
    if parked.is_empty() {
        eprintln!("{stream} is not parked");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("standard input is not a terminal: confirm with --yes that {what} is to be discarded for good");
    }
    print!("discard {what}, for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
