//! What a command side is started with.
//!
//! Never: a password printed. Read next: `lib.rs`.

use runtime::Secret;

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Where commands are taken: host:port
    #[arg(long = "listen", env = "COMMAND_SIDE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// The database; each context is used as its own role in it, tradewind_<context>
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,

    /// The database of the orders, where it is another one
    #[arg(long, env = "ORDERS_DATABASE_URL", hide_env_values = true)]
    pub orders_database_url: Option<Secret>,

    /// The database of the inventory, where it is another one
    #[arg(long, env = "INVENTORY_DATABASE_URL", hide_env_values = true)]
    pub inventory_database_url: Option<Secret>,

    /// The database of shipping, where it is another one
    #[arg(long, env = "SHIPPING_DATABASE_URL", hide_env_values = true)]
    pub shipping_database_url: Option<Secret>,

    /// Connections to each context's database, at most
    #[arg(long, env = "COMMAND_SIDE_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections_max: usize,
}
