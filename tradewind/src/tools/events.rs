//! `tradewind events show | tail`: prints the events of the logs, one per line, with the payloads as stored. It also
//! shows events of types that this build does not know.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chrono::SecondsFormat;
use clap::Subcommand;
use event_store::EventStore;
use events::{Context, ContextName, Position, PositionToken, RawEvent, StreamId};

use super::connections::{Databases, WithLocalDefaults};

/// Events read at a time.
const PAGE: usize = 500;
/// Events that `tail` shows of each log without --from.
const LAST_SHOWN: i64 = 10;
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print every event of one stream
    Show(Show),
    /// Print the last events of the logs
    Tail(Tail),
}

#[derive(clap::Args, Debug)]
struct Show {
    /// The stream: order-<uuid>, stock-<sku>, reservation-<uuid>, payment-<uuid> or shipment-<uuid>
    #[arg(value_parser = stream)]
    stream: StreamId,
    #[command(flatten)]
    databases: WithLocalDefaults<Databases>,
}

#[derive(clap::Args, Debug)]
struct Tail {
    /// Show only the log of this context: orders, inventory, payments or shipping [default: all]
    #[arg(long)]
    context: Option<Context>,
    /// Start at this position [default: the last 10 events]
    #[arg(long, requires = "context", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<Position>,
    /// Continue with new events, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    databases: WithLocalDefaults<Databases>,
}

/// # Errors
/// When a log cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outcome = match args.command {
        Command::Show(args) => show(args).await,
        Command::Tail(args) => tail(args).await,
    };
    match outcome {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_broken_pipe) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}

/// The reader of a pipe has closed it, as in `tradewind events tail | head`.
fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

async fn show(Show { stream, databases }: Show) -> anyhow::Result<ExitCode> {
    let context = Context::of_stream(&stream).expect("the parser accepts only streams of our contexts");
    let store = databases.0.store(context).await?;
    let mut version = 0;
    loop {
        let page = store.read_stream(&stream, version, PAGE).await?;
        let Some(last) = page.last() else { break };
        version = last.version;
        io::stdout().write_all(lines(context.into(), &page).as_bytes())?;
    }
    if version == 0 {
        eprintln!("there is no stream {stream}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn tail(args: Tail) -> anyhow::Result<ExitCode> {
    let contexts = args.context.map_or(Context::ALL.to_vec(), |context| vec![context]);
    let mut logs = Vec::new();
    for context in contexts {
        let store = args.databases.0.store(context).await?;
        let first = match args.from {
            Some(position) => position,
            None => store.head().await?.saturating_sub(LAST_SHOWN).max(0) + 1,
        };
        logs.push(Log { store, shown: first - 1 });
    }
    loop {
        for log in &mut logs {
            log.print_new().await?;
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The log of one context, and the last position that was printed.
struct Log {
    store: EventStore,
    shown: Position,
}

impl Log {
    async fn print_new(&mut self) -> anyhow::Result<()> {
        let context = self.store.context();
        loop {
            let page = self
                .store
                .scan(self.shown, PAGE)
                .await
                .with_context(|| format!("reading the log of {context}"))?;
            let Some(last) = page.last() else { return Ok(()) };
            self.shown = last.position;
            io::stdout().write_all(lines(context, &page).as_bytes())?;
        }
    }
}

fn lines(context: ContextName, events: &[RawEvent]) -> String {
    let mut text = String::new();
    for event in events {
        writeln!(
            text,
            "{} {:<16} {} v{} {}.v{} {}",
            event.recorded_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            PositionToken { context, position: event.position }.to_string(),
            event.stream,
            event.version,
            event.event_type,
            event.schema_version,
            event.payload,
        )
        .expect("a String takes any text");
    }
    text
}

fn stream(text: &str) -> Result<StreamId, String> {
    let stream = StreamId::from(text.to_owned());
    match Context::of_stream(&stream) {
        Some(_) => Ok(stream),
        None => Err("must begin with order-, stock-, reservation-, payment- or shipment-".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use events::Metadata;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_is_one_line_with_its_position_and_its_payload() {
        let event = RawEvent {
            position: 12,
            stream: StreamId::from("stock-BANK CHARGES".to_owned()),
            version: 3,
            event_id: Uuid::nil(),
            event_type: "StockReceived".to_owned(),
            schema_version: 1,
            payload: RawValue::from_string(r#"{"sku":"BANK CHARGES","quantity":5}"#.to_owned())
                .expect("JSON"),
            metadata: Metadata {
                correlation_id: Uuid::nil(),
                causation_id: None,
                depends_on: events::Positions::default(),
                actor: "http".to_owned(),
                traceparent: None,
                idempotency_key: None,
            },
            recorded_at: "2026-03-01T12:00:00.123456Z".parse().expect("a time"),
        };
        assert_eq!(
            lines(Context::Inventory.into(), &[event]),
            "2026-03-01T12:00:00.123Z inventory:12     stock-BANK CHARGES v3 StockReceived.v1 \
             {\"sku\":\"BANK CHARGES\",\"quantity\":5}\n"
        );
    }

    #[test]
    fn a_stream_of_no_context_is_refused_with_the_prefixes_allowed() {
        assert!(stream("stock-85123A").is_ok());
        assert!(stream("cart-1").is_err_and(|message| message.contains("order-, stock-")));
    }
}
