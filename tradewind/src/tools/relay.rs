//! `tradewind relay status`: the head, cursor and lag of each log, and the relay that holds its lease.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, Command, FromArgMatches};
use event_store::RelayStatus;
use events::Context;

use super::connections::{Databases, WithLocalDefaults};
use crate::roles::RelayOptions;

const STATUS: &str = "status";

/// `tradewind relay` runs the role; `tradewind relay status` reports on it. The report needs no Kafka, so it does not require the
/// options of the role.
#[derive(Debug)]
pub enum Relay {
    Role(RelayOptions),
    Status(WithLocalDefaults<Databases>),
}

impl clap::Args for Relay {
    fn augment_args(command: Command) -> Command {
        let status = Command::new(STATUS)
            .about("Print the head, cursor and lag of each log, and the relay that holds its lease");
        RelayOptions::augment_args(command)
            .subcommand(WithLocalDefaults::<Databases>::augment_args(status))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Relay {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand_matches(STATUS) {
            Some(matches) => WithLocalDefaults::from_arg_matches(matches).map(Self::Status),
            None => RelayOptions::from_arg_matches(matches).map(Self::Role),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// # Errors
/// When a log cannot be read.
pub async fn status(WithLocalDefaults(databases): WithLocalDefaults<Databases>) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for context in Context::ALL {
        rows.push((context, databases.store(context).await?.relay_status().await?));
    }
    print!("{}", table(&rows));
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[(Context, RelayStatus)]) -> String {
    let mut table = format!(
        "{:<10} {:>10} {:>10} {:>8} {:>10}  {}\n",
        "log", "head", "cursor", "lag", "oldest", "lease holder"
    );
    for (context, status) in rows {
        let oldest =
            status.oldest_unrelayed_age.map_or("-".to_owned(), |age| format!("{} ms", age.as_millis()));
        let holder = match (status.holder.as_str(), status.lease_is_held) {
            ("", _) => "none yet".to_owned(),
            (holder, true) => holder.to_owned(),
            (holder, false) => format!("none (until {}: {holder})", status.lease_expires_at.format("%F %T")),
        };
        writeln!(
            table,
            "{:<10} {:>10} {:>10} {:>8} {oldest:>10}  {holder}",
            context.name(),
            status.head,
            status.cursor,
            status.lag(),
        )
        .expect("a String takes any text");
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_log_is_a_row_with_its_lag_and_its_lease_holder() {
        let status = RelayStatus {
            holder: "relay-1".to_owned(),
            lease_epoch: 3,
            lease_expires_at: "2026-03-01T12:00:00Z".parse().expect("a time"),
            lease_is_held: true,
            cursor: 90,
            head: 100,
            oldest_unrelayed_age: Some(Duration::from_millis(12)),
        };
        let gone =
            RelayStatus { lease_is_held: false, cursor: 100, oldest_unrelayed_age: None, ..status.clone() };
        let never = RelayStatus { holder: String::new(), cursor: 0, head: 0, ..gone.clone() };
        let rows = [(Context::Orders, status), (Context::Inventory, gone), (Context::Payments, never)];
        assert_eq!(
            table(&rows),
            "log              head     cursor      lag     oldest  lease holder\n\
             orders            100         90       10      12 ms  relay-1\n\
             inventory         100        100        0          -  none (until 2026-03-01 12:00:00: relay-1)\n\
             payments            0          0        0          -  none yet\n"
        );
    }
}
