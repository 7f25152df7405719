//! The plan of `up`: the address of each role, all on loopback, and the settings that all roles get.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::roles::{Role, Settings};
use crate::services::{Services, StateDir, state_dir};

const PAYMENT_DEADLINE: &str = "PAYMENT_DEADLINE_SECONDS";

#[derive(clap::Args, Clone, Debug)]
pub struct Ports {
    /// The port of the command side on 127.0.0.1; 0 for any free port
    #[arg(long, default_value_t = 8080)]
    command_port: u16,
    /// The port of the query side on 127.0.0.1; 0 for any free port
    #[arg(long, default_value_t = 8081)]
    query_port: u16,
    /// The port of the payment provider on 127.0.0.1; 0 for any free port
    #[arg(long, default_value_t = 0)]
    payment_provider_port: u16,
}

/// Options of roles that `up` passes on where they are given.
#[derive(clap::Args, Clone, Debug)]
pub struct Overrides {
    /// Seconds until an unfinished payment is cancelled with its order [default: that of `tradewind sagas`]
    #[arg(long, env = PAYMENT_DEADLINE)]
    payment_deadline_seconds: Option<u64>,
}

/// A port for each role.
pub type Chosen = BTreeMap<Role, u16>;

impl Ports {
    /// # Errors
    /// When a port is taken: the message names its flag.
    pub fn choose(&self, state: &StateDir) -> anyhow::Result<Chosen> {
        let mut chosen = Chosen::new();
        for &role in Role::ALL {
            let (wanted, flag) = match role {
                Role::CommandSide => (self.command_port, "--command-port"),
                Role::QuerySide => (self.query_port, "--query-port"),
                Role::PaymentProvider => (self.payment_provider_port, "--payment-provider-port"),
                Role::Sagas | Role::Relay => (0, ""),
            };
            let port = match wanted {
                0 => state.port(role.name())?,
                port if chosen.values().any(|taken| *taken == port) || !state_dir::is_free(port) => {
                    bail!("port {port} is in use: choose another with {flag} (0 for any free port)")
                }
                port => port,
            };
            chosen.insert(role, port);
        }
        Ok(chosen)
    }
}

/// What `up` runs.
#[derive(Debug)]
pub struct Plan {
    ports: Chosen,
    /// One environment for all roles: the variables of different roles have different names.
    pub settings: Settings,
}

impl Plan {
    pub fn new(services: &Services, ports: Chosen, overrides: &Overrides, json_logs: bool) -> Self {
        let mut settings = Settings::new();
        settings.insert("DATABASE_URL".to_owned(), services.database_url.expose().to_owned());
        settings.insert("KAFKA_BROKERS".to_owned(), services.kafka_brokers.clone());
        for (role, port) in &ports {
            settings.insert(role.listen_variable(), format!("127.0.0.1:{port}"));
        }
        if let Some(seconds) = overrides.payment_deadline_seconds {
            settings.insert(PAYMENT_DEADLINE.to_owned(), seconds.to_string());
        }
        if json_logs {
            settings.insert("TRADEWIND_JSON_LOGS".to_owned(), "true".to_owned());
        }
        // A new secret for each run: both the sagas and the provider get it from here.
        let secret: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        settings.insert("PAYMENT_WEBHOOK_SECRET".to_owned(), secret);
        let mut plan = Self { ports, settings };
        let webhooks = format!("{}/v1/webhooks/payments", plan.url(Role::Sagas));
        plan.settings.insert("PAYMENT_PROVIDER_WEBHOOK_URL".to_owned(), webhooks);
        plan.settings.insert("PAYMENT_PROVIDER_URL".to_owned(), plan.url(Role::PaymentProvider));
        plan
    }

    pub fn url(&self, role: Role) -> String {
        format!("http://127.0.0.1:{}", self.ports[&role])
    }
}
