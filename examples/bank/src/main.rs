//! `bank`: the whole bank in one process, until Ctrl-C.

use clap::Parser;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Options {
    /// The address of the HTTP server, as host:port
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: String,
    #[command(flatten)]
    relay: relay::Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Options { listen, relay } = Options::parse();
    let (stop, listener) = (CancellationToken::new(), runtime::http::bind(&listen, "--listen").await?);
    let bank = tokio::spawn(bank::run(relay, listener, stop.clone()));
    runtime::shutdown_signal().await;
    stop.cancel();
    bank.await?
}
