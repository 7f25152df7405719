//! `tradewind reconcile`: after a restore, brings topics, checkpoints and read models to what the logs say.
//!
//! The logs are the truth, also when they were restored to an older state; Kafka and the read models may be ahead of them.
//! First everything is compared and what no longer exists is listed; a dry run ends there. Then, with every role stopped:
//! a new epoch, the topics made anew from the logs, every checkpoint set to the same events as before, the read models
//! rebuilt. Killed half-way it is run again; the relay relays nothing meanwhile.
//!
//! Never: a change while a role runs; a change where one context was restored and another has acted on what it lost; an
//! effect done again. Read next: docs/decisions/0012, `finding.rs` (what differs), `mending.rs` (what is done).

mod finding;
mod mending;
mod places;
mod text;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use event_bus::BusConfig;

use self::finding::Finding;
use self::places::{Places, Schemas};
use super::place::BesideUp;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: BesideUp<Options>,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// List what no longer exists, and what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    bus: BusConfig,
}

/// # Errors
/// When something cannot be read, the contexts contradict each other, a role still runs, or a step fails; the last can be
/// run again.
pub async fn run(Args { options: BesideUp(options) }: Args) -> anyhow::Result<ExitCode> {
    let schemas = Schemas::open(&options.places).await?;
    let finding = Finding::make(&schemas, &options.bus).await?;
    print!("{}", text::report(&finding));
    if !finding.anything() {
        println!("topics and read models agree with the logs: there is nothing to reconcile");
        return Ok(ExitCode::SUCCESS);
    }
    let contradictions = finding.contradictions();
    if !contradictions.is_empty() {
        bail!(
            "the contexts were not restored to one moment, and nothing was changed:\n  {}\n\
             Restore the contexts that are ahead to the same moment, or an earlier one, and run this again",
            contradictions.join("\n  ")
        );
    }
    if options.dry_run {
        println!("{}", text::plan(&finding));
        println!("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    if !options.yes && !agreed()? {
        println!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    mending::mend(&schemas, &options.bus, &finding).await?;
    println!("reconciled: epoch {}; start the roles", finding.next_epoch());
    Ok(ExitCode::SUCCESS)
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked: say --yes, or --dry-run to see what would be done");
    }
    print!("make the topics anew and give up what is listed, for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
