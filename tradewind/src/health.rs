//! `tradewind health <url>`: a health check for containers, which have no curl. It succeeds only on a success status.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

const RESPONSE_LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The URL to ask, such as http://127.0.0.1:8080/readyz; the time limit is 5 seconds
    url: String,
}

/// # Errors
/// When the role is not ready; the message has its response.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    check(&options.url).await?;
    println!("ready");
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// When there is no response, or its status is not a success.
pub async fn check(url: &str) -> anyhow::Result<()> {
    let response =
        reqwest::Client::builder().timeout(RESPONSE_LIMIT).no_proxy().build()?.get(url).send().await?;
    let status = response.status();
    if !status.is_success() {
        bail!("{url} responded {status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(())
}
