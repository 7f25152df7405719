//! `tradewind replay`: rebuilds projections from the logs, compares them with the live ones, and swaps them. The exit
//! code is 0 only when the live projections were equal.

use std::process::ExitCode;

use super::connections::WithLocalDefaults;
use crate::up::stop_signal;

pub type Args = WithLocalDefaults<replay::Options>;

/// # Errors
/// When a projection cannot be rebuilt; the live one is unchanged.
pub async fn run(WithLocalDefaults(options): Args) -> anyhow::Result<ExitCode> {
    let reports = replay::run(options, stop_signal()).await?;
    for report in &reports {
        println!("{report}");
    }
    Ok(if reports.iter().all(replay::ReplayReport::is_equal) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
