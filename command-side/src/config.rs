//! What a command side is started with.

use runtime::ContextUrls;

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Where commands are taken: host:port
    #[arg(long = "listen", env = "COMMAND_SIDE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,

    #[command(flatten)]
    pub databases: ContextUrls,

    /// Connections to each context's database, at most
    #[arg(long, env = "COMMAND_SIDE_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections_max: usize,
}
