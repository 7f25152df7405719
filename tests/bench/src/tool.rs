//! Runs a tool of `tradewind` to its end: its output, its duration and its peak memory.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::database::Database;
use crate::proc::peak_rss_mib;
use crate::role::binary;

const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub struct Ended {
    pub status: ExitStatus,
    pub printed: String,
    pub seconds: f64,
    pub peak_rss_mib: f64,
}

/// Runs `tradewind <args>` on this database and the topics with this prefix. Its output must fit into a pipe's buffer.
///
/// # Errors
/// When it cannot be started or waited for.
pub async fn run(args: &[&str], database: &Database, topic_prefix: &str) -> anyhow::Result<Ended> {
    let begun = Instant::now();
    let mut child = Command::new(binary())
        .args(args)
        .env("DATABASE_URL", database.url.expose())
        .env("TOPIC_PREFIX", topic_prefix)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start tradewind {args:?}"))?;
    let pid = child.id().context("the child runs")?;
    let mut peak_rss = 0.0;
    let status = loop {
        match tokio::time::timeout(MEMORY_POLL_INTERVAL, child.wait()).await {
            Ok(status) => break status?,
            Err(_) => peak_rss = peak_rss_mib(pid).max(peak_rss),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    let mut printed = String::new();
    child.stdout.take().context("its output is piped")?.read_to_string(&mut printed).await?;
    Ok(Ended { status, printed, seconds, peak_rss_mib: peak_rss })
}
