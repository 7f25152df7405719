//! `tradewind health <url>`: a health check for containers, which have no curl.
//!
//! Never: "healthy" because something answered; only because it said that it is ready.
//! Read next: `platform/runtime/src/health.rs`, the other end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
pub struct Options {
    /// For example http://127.0.0.1:8080/readyz
    url: String,
}

/// # Errors
/// When the role is not ready: what it answered.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    ask(&options.url).await?;
    println!("ready");
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When nobody answers there, or the answer is not a success.
pub async fn ask(url: &str) -> anyhow::Result<()> {
    let answer = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?.get(url).send().await?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default());
    }
    Ok(())
}
