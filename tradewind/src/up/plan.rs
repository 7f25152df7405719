//! Who listens where, and what each role is told.
//!
//! Never: an address that other machines can reach.
//! Read next: `crew.rs`, which carries it out.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::engines::{Engines, StateDir, state_dir};
use crate::roles::{Role, Settings};

const PAYMENT_DEADLINE: &str = "PAYMENT_DEADLINE_SECONDS";

#[derive(clap::Args, Clone, Debug)]
pub struct Ports {
    /// Where commands are taken; 0 for any free port
    #[arg(long, default_value_t = 8080)]
    command_port: u16,
    /// Where queries are answered; 0 for any free port
    #[arg(long, default_value_t = 8081)]
    query_port: u16,
    /// Where the payment provider listens; 0 for any free port
    #[arg(long, default_value_t = 0)]
    payment_provider_port: u16,
}

/// What `up` passes on to the roles, where it is given.
#[derive(clap::Args, Clone, Debug)]
pub struct Told {
    /// How long a payment may take before its order is given up [default: that of `tradewind sagas`]
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
        for role in Role::ALL {
            let (wanted, flag) = match role {
                Role::CommandSide => (self.command_port, "--command-port"),
                Role::QuerySide => (self.query_port, "--query-port"),
                Role::PaymentProvider => (self.payment_provider_port, "--payment-provider-port"),
                Role::Sagas | Role::Relay => (0, ""),
            };
            let port = match wanted {
                0 => state.port(role.name())?,
                port if chosen.values().any(|taken| *taken == port) || !state_dir::is_free(port) => {
                    bail!("port {port} is taken: choose another with {flag} (0 for any free one)")
                }
                port => port,
            };
            chosen.insert(role, port);
        }
        Ok(chosen)
    }
}

/// What is going to run.
#[derive(Debug)]
pub struct Plan {
    ports: Chosen,
    /// The same for all roles: each has variables of its own, so one environment serves them all.
    pub settings: Settings,
}

impl Plan {
    pub fn new(engines: &Engines, ports: Chosen, told: &Told, json_logs: bool) -> Self {
        let mut settings = Settings::new();
        settings.insert("DATABASE_URL".to_owned(), engines.database_url.expose().to_owned());
        settings.insert("KAFKA_BROKERS".to_owned(), engines.kafka_brokers.clone());
        for (role, port) in &ports {
            settings.insert(role.listen_variable().to_owned(), format!("127.0.0.1:{port}"));
        }
        if let Some(seconds) = told.payment_deadline_seconds {
            settings.insert(PAYMENT_DEADLINE.to_owned(), seconds.to_string());
        }
        if json_logs {
            settings.insert("TRADEWIND_JSON_LOGS".to_owned(), "true".to_owned());
        }
        // Anew for each run: both ends learn it here, and nobody else has to.
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
