//! `tradewind replay`: rebuilds projections from the logs, compares them with the live ones, and swaps.
//!
//! Never: exit code 0 when live was not what the logs say. Read next: `platform/replay/src/lib.rs`.

use std::process::ExitCode;

use super::place::BesideUp;
use crate::up::stop_signal;

pub type Args = BesideUp<replay::Options>;

/// # Errors
/// When a projection cannot be rebuilt; live is as it was.
pub async fn run(BesideUp(options): Args) -> anyhow::Result<ExitCode> {
    let reports = replay::run(options, stop_signal()).await?;
    for report in &reports {
        println!("{report}");
    }
    Ok(if reports.iter().all(replay::ReplayReport::is_equal) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
