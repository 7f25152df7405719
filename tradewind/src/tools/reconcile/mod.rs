//! `tradewind reconcile`: after a restore, rebuilds topics, checkpoints and read models from the logs.
//!
//! The logs are the truth, even when they were restored to an older state; Kafka and the read models may be ahead of
//! them. First everything is compared, and every event that no longer exists is listed; a dry run ends here. Then, with
//! every role stopped: a new epoch, new topics filled from the logs, every checkpoint set to the same events as before,
//! the read models rebuilt. A run that was killed can be repeated; until it ends, the relay publishes nothing.
//!
//! Never: a change while a role runs; a change when one context was restored and another has acted on the events it
//! lost; an effect repeated. Read next: docs/decisions/0012, `diff.rs` (the comparison), `repair.rs` (the steps).

mod connections;
mod diff;
mod repair;
mod text;
mod topics;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use event_bus::BusConfig;

use self::connections::{OwnerUrls, Schemas};
use self::diff::Diff;
use super::connections::WithLocalDefaults;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: WithLocalDefaults<Options>,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Print which events no longer exist and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    urls: OwnerUrls,
    #[command(flatten)]
    bus: BusConfig,
}

/// # Errors
/// When something cannot be read, the contexts contradict each other, a role still runs, or a step fails; a failed step can be
/// repeated.
pub async fn run(Args { options: WithLocalDefaults(options) }: Args) -> anyhow::Result<ExitCode> {
    let schemas = Schemas::open(&options.urls).await?;
    let diff = Diff::compute(&schemas, &options.bus).await?;
    print!("{}", text::report(&diff));
    if !diff.is_any() {
        println!("topics and read models agree with the logs: there is nothing to reconcile");
        return Ok(ExitCode::SUCCESS);
    }
    let contradictions = diff.contradictions();
    if !contradictions.is_empty() {
        bail!(
            "the contexts were not restored to the same point in time; nothing was changed:\n  {}\n\
             Restore the contexts that are ahead to the same point or an earlier one, and run this again",
            contradictions.join("\n  ")
        );
    }
    if options.dry_run {
        println!("{}", text::plan(&diff));
        println!("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    if !options.yes && !confirmed()? {
        println!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    repair::repair(&schemas, &options.bus, &diff).await?;
    println!("reconciled: epoch {}; start the roles", diff.next_epoch());
    Ok(ExitCode::SUCCESS)
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "standard input is not a terminal: confirm with --yes, or see what would be done with --dry-run"
        );
    }
    print!("recreate the topics and lose the listed events for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
