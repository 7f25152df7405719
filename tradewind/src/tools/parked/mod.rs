//! `tradewind parked list | show | retry | discard`: what consumers have put aside, and what becomes of it.
//!
//! Never: a record taken out of the order of its stream; anything written by a dry run; an exit code of 0 while what was
//! asked for is still parked. Read next: docs/decisions/0009 (who excludes whom), `desk.rs` (where the tables are).

mod desk;
mod text;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use event_bus::parked::{ParkedStream, Retried};

use self::desk::{Desk, Places};
use super::place::BesideUp;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Every parked stream: by which consumer, since when, why
    List(List),
    /// The parked events of one stream, in order
    Show(Show),
    /// Put parked events through their consumer again, in order; stops at the first that fails again
    Retry(Retry),
    /// Give parked events up for good; who and why is written down
    Discard(Discard),
}

#[derive(clap::Args, Debug)]
struct List {
    /// Only this consumer's, such as query-side.orders or sagas.inventory
    #[arg(long)]
    consumer: Option<String>,
    #[command(flatten)]
    places: BesideUp<Places>,
}

#[derive(clap::Args, Debug)]
struct Show {
    /// The stream, such as order-<uuid>
    stream: String,
    /// Only this consumer's
    #[arg(long)]
    consumer: Option<String>,
    #[command(flatten)]
    places: BesideUp<Places>,
}

#[derive(clap::Args, Debug)]
struct Retry {
    /// The stream, such as order-<uuid>
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    stream: Option<String>,
    /// Every parked stream
    #[arg(long)]
    all: bool,
    /// Only this consumer's
    #[arg(long)]
    consumer: Option<String>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    places: BesideUp<Places>,
}

#[derive(clap::Args, Debug)]
struct Discard {
    /// The stream, such as order-<uuid>
    stream: String,
    /// Only the first of its events; those behind it are then retried
    #[arg(long)]
    first: bool,
    /// Why; it is written down with the events
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Who; it is written down with the events
    #[arg(long, env = "USER", default_value = "unknown", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    by: String,
    /// Only this consumer's
    #[arg(long)]
    consumer: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Say what would be given up, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    places: BesideUp<Places>,
}

/// # Errors
/// When a table cannot be read, or a retry cannot be finished; what was done before is done.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Discard(args) => discard(args).await,
    }
}

async fn list(List { consumer, places }: List) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(places.0)?;
    print!("{}", text::table(&desk.streams(consumer.as_deref(), None).await?));
    Ok(ExitCode::SUCCESS)
}

async fn show(Show { stream, consumer, places }: Show) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(places.0)?;
    let parked = desk.streams(consumer.as_deref(), Some(&stream)).await?;
    for parked in &parked {
        println!("{} has parked {} of {}:", parked.consumer, text::records(parked.records), parked.stream);
        let mut after = None;
        loop {
            let page = desk.records(parked, after.as_ref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.place.clone());
            page.iter().for_each(|record| print!("{}", text::record(record)));
        }
    }
    found(&parked, &stream)
}

async fn retry(args: Retry) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.places.0)?;
    let parked = desk.streams(args.consumer.as_deref(), args.stream.as_deref()).await?;
    let mut whole = true;
    for stream in &parked {
        let retried = desk.retry(stream, args.dry_run).await?;
        println!("{}", text::retried(stream, &retried, args.dry_run));
        whole &= retried.stopped.is_none();
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
    Ok(if whole && !nothing_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn discard(args: Discard) -> anyhow::Result<ExitCode> {
    let desk = Desk::open(args.places.0)?;
    let parked = desk.streams(args.consumer.as_deref(), Some(&args.stream)).await?;
    for stream in &parked {
        let records = if args.first { 1 } else { stream.records };
        let what = format!("{} of {}, parked by {}", text::records(records), stream.stream, stream.consumer);
        if args.dry_run {
            println!("would discard {what}; the first is parked because: {}", stream.reason);
            continue;
        }
        if !args.yes && !agreed(&what)? {
            println!("kept {what}");
            return Ok(ExitCode::FAILURE);
        }
        let discarded = desk.discard(stream, records, &args.by, &args.reason).await?;
        println!(
            "discarded {} of {}, parked by {}",
            text::records(discarded),
            stream.stream,
            stream.consumer
        );
        if args.first {
            let retried: Retried = desk.retry(stream, false).await?;
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

fn agreed(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked whether to discard {what} for good: say --yes");
    }
    print!("discard {what}, for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
