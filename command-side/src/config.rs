//! The command side's options.

use runtime::ContextUrls;

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The address to listen on: host:port
    #[arg(long = "listen", env = "COMMAND_SIDE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,

    #[command(flatten)]
    pub databases: ContextUrls,

    /// The most connections to each context's database
    #[arg(long, env = "COMMAND_SIDE_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections_max: usize,
}
