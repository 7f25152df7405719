//! The endpoints of a running platform: `endpoints.json` for scripts, `env` for a shell, a printed table for people.
//!
//! Never: a password on the screen, or in a file that other users can read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::plan::Plan;
use crate::roles::Role;
use crate::services::state_dir::write_private;
use crate::services::{ServiceError, Services, StateDir};

const FILE: &str = "endpoints.json";

pub struct Endpoints<'a> {
    pub services: &'a Services,
    pub plan: &'a Plan,
}

impl Endpoints<'_> {
    /// Writes `endpoints.json`. The file exists only while everything is ready.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn write(&self, state: &StateDir, pids: &BTreeMap<Role, i32>) -> Result<(), ServiceError> {
        let roles = pids.iter().map(|(role, pid)| (role.name(), *pid));
        let pids: Map<String, Value> =
            roles.chain(self.services.pids()).map(|(name, pid)| (name.to_owned(), pid.into())).collect();
        let ops: Map<String, Value> =
            Role::ALL.iter().map(|&role| (role.name().to_owned(), self.plan.url(role).into())).collect();
        let endpoints = json!({
            "command_url": self.plan.url(Role::CommandSide),
            "query_url": self.plan.url(Role::QuerySide),
            "payment_provider_url": self.plan.url(Role::PaymentProvider),
            "ops_urls": ops,
            "kafka_brokers": self.services.kafka_brokers,
            "database_url": self.services.database_url.expose(),
            "kafka_home": self.services.kafka_home,
            "pids": pids,
        });
        write_private(&state.path(FILE), format!("{endpoints:#}\n").as_bytes())
    }

    /// The table that `tradewind up` prints.
    pub fn table(&self, state: &StateDir, took: Duration) -> String {
        let (command, query) = (self.plan.url(Role::CommandSide), self.plan.url(Role::QuerySide));
        let state = state.root().display();
        let rows = [
            ("commands", format!("{command}  (OpenAPI: /openapi.json)")),
            ("queries", format!("{query}  (OpenAPI: /openapi.json)")),
            ("payment provider", self.plan.url(Role::PaymentProvider)),
            ("sagas", format!("{}  (/readyz, /metrics)", self.plan.url(Role::Sagas))),
            ("relay", format!("{}  (/readyz, /metrics)", self.plan.url(Role::Relay))),
            ("PostgreSQL", format!("{}  (password: {state}/endpoints.json)", self.services.database_url)),
            ("Kafka", self.services.kafka_brokers.clone()),
            ("state", format!("{state}  (endpoints.json, env, logs/)")),
        ];
        let mut table = format!("\nTradewind is up after {took:.1?}\n\n");
        for (name, place) in rows {
            writeln!(table, "  {name:<17} {place}").expect("a String takes any text");
        }
        write!(
            table,
            "\nTry this:  curl -s {command}/v1/stock/TEAPOT/receive -H 'content-type: application/json' -d '{{\"quantity\": 10}}' \
             && curl -s '{query}/v1/stock/TEAPOT'\n\nCtrl-C stops everything; the data is kept in {state}.\n"
        )
        .expect("a String takes any text");
        table
    }
}

/// Removes the `endpoints.json` of an earlier run.
///
/// # Errors
/// When the file cannot be removed.
pub fn withdraw(state: &StateDir) -> Result<(), ServiceError> {
    let path = state.path(FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ServiceError::io("remove", &path, source))
        }
        _ => Ok(()),
    }
}

/// Writes `env`: after `source <state>/env` a role or tool can be started by hand.
///
/// # Errors
/// When the state folder cannot be written.
pub fn write_env(state: &StateDir, services: &Services, plan: &Plan) -> Result<(), ServiceError> {
    let mut lines = String::from("# source this file, then start a role by hand: tradewind sagas\n");
    let mut export = |name: &str, value: &str| {
        let quoted = value.replace('\'', r"'\''");
        writeln!(lines, "export {name}='{quoted}'").expect("a String takes any text");
    };
    for (name, value) in &plan.settings {
        export(name, value);
    }
    for name in ["TOPIC_PREFIX", "KAFKA_PROPERTIES"] {
        if let Ok(value) = std::env::var(name) {
            export(name, &value);
        }
    }
    if let Some(home) = &services.kafka_home {
        export("TRADEWIND_KAFKA_HOME", &home.display().to_string());
    }
    write_private(&state.path("env"), lines.as_bytes())
}
