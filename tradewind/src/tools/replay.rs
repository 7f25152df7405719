//! `tradewind replay`: rebuilds projections from the logs, compares them with the live ones, and swaps them. The exit
//! code is 0 only when the live projections were equal.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;

use super::connections::WithLocalDefaults;
use crate::up::stop_signal;

#[derive(clap::Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The projections to rebuild.
    #[arg(value_parser = names(), required_unless_present = "all")]
    projections: Vec<String>,

    /// Rebuild every projection.
    #[arg(long, conflicts_with = "projections")]
    all: bool,

    #[command(flatten)]
    replay: replay::Options,
}

pub type Args = WithLocalDefaults<ReplayArgs>;

fn names() -> PossibleValuesParser {
    let set = query_side::projections();
    set.projectors.iter().map(|projector| projector.name()).collect::<Vec<_>>().into()
}

/// # Errors
/// When a projection cannot be rebuilt; the live one is unchanged.
pub async fn run(WithLocalDefaults(options): Args) -> anyhow::Result<ExitCode> {
    let set = query_side::projections();
    let reports = replay::run(&set, &options.projections, options.replay, stop_signal()).await?;
    for report in &reports {
        println!("{report}");
    }
    Ok(if reports.iter().all(replay::ReplayReport::is_equal) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
