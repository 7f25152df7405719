//! The connections of a tool: from its options and variables, or from the `endpoints.json` that `tradewind up` writes.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches};
use event_store::{EventStore, StoreOptions};
use events::Context;
use runtime::postgres::pool;
use runtime::{ContextUrls, Secret};
use serde_json::Value;

use crate::services::process::STATE_DIR_VARIABLE;

/// A tool reads one page at a time.
const CONNECTIONS_MAX: usize = 1;
const ENDPOINTS: &str = "endpoints.json";

/// The options with a default from `endpoints.json`.
const FROM_ENDPOINTS: [FromEndpoints; 2] = [
    FromEndpoints {
        id: "database_url",
        endpoint: "database_url",
        flag: "--database-url",
        variable: "DATABASE_URL",
    },
    FromEndpoints {
        id: "brokers",
        endpoint: "kafka_brokers",
        flag: "--kafka-brokers",
        variable: "KAFKA_BROKERS",
    },
];

struct FromEndpoints {
    id: &'static str,
    endpoint: &'static str,
    flag: &'static str,
    variable: &'static str,
}

fn state_dir() -> PathBuf {
    std::env::var_os(STATE_DIR_VARIABLE).map_or_else(|| ".tradewind".into(), PathBuf::from)
}

/// A value of `endpoints.json`; none when no platform runs here.
pub fn endpoint(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(state_dir().join(ENDPOINTS)).ok()?;
    let endpoints: Value = serde_json::from_str(&text).ok()?;
    endpoints[name].as_str().map(str::to_owned)
}

/// The options of `T`, with the addresses of the platform that runs here as defaults.
#[derive(Debug)]
pub struct WithLocalDefaults<T>(pub T);

impl<T: clap::Args> clap::Args for WithLocalDefaults<T> {
    fn augment_args(command: Command) -> Command {
        FROM_ENDPOINTS.iter().fold(T::augment_args(command), |command, option| {
            with_default(command, option.id, endpoint(option.endpoint))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for WithLocalDefaults<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self).map_err(|error| {
            let is_absent = |option: &&FromEndpoints| matches!(matches.try_contains_id(option.id), Ok(false));
            let absent: Vec<_> = FROM_ENDPOINTS.iter().filter(is_absent).collect();
            if error.kind() == ErrorKind::MissingRequiredArgument && !absent.is_empty() {
                no_platform(&absent)
            } else {
                error
            }
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Makes the option `id` of a tool optional, with the value of `endpoints.json` as its default. When it has no value,
/// [`WithLocalDefaults`] reports the error.
fn with_default(command: Command, id: &'static str, endpoint: Option<String>) -> Command {
    if !command.get_arguments().any(|arg| arg.get_id() == id) {
        return command;
    }
    command.mut_arg(id, |arg| match endpoint {
        // Hidden: a URL has a password.
        Some(endpoint) => arg.required(false).default_value(endpoint).hide_default_value(true),
        None => arg.required(false),
    })
}

/// The usage error of a tool that has no address and finds no running platform.
fn no_platform(absent: &[&FromEndpoints]) -> clap::Error {
    let folder = std::path::absolute(state_dir()).unwrap_or_else(|_| state_dir());
    let options: Vec<_> =
        absent.iter().map(|option| format!("{} (or {})", option.flag, option.variable)).collect();
    let message = format!(
        "no platform runs here: there is no {ENDPOINTS} in {}\n\n\
         Start a platform with `bin/tradewind up`, or give {}.\n\
         If a platform runs with another state folder, set {STATE_DIR_VARIABLE} to that folder.",
        folder.display(),
        options.join(" and "),
    );
    clap::Error::raw(ErrorKind::MissingRequiredArgument, message)
}

/// The databases of the contexts.
#[derive(clap::Args, Clone, Debug)]
pub struct Databases {
    #[command(flatten)]
    pub urls: ContextUrls,
}

impl Databases {
    /// The database of every owner that has no separate one.
    pub fn base(&self) -> &Secret {
        self.urls.base()
    }

    /// The database of one context, as its role.
    pub fn url(&self, context: Context) -> Secret {
        self.urls.of(context.name())
    }

    /// The event store of one context.
    ///
    /// # Errors
    /// When a database is named for a context that does not exist, or the context's database does not answer.
    pub async fn store(&self, context: Context) -> anyhow::Result<EventStore> {
        self.urls.check(Context::ALL.map(Context::name))?;
        let url = self.url(context);
        let store = EventStore::new(context, pool(&url, CONNECTIONS_MAX)?, StoreOptions::default()).await;
        store.with_context(|| format!("opening the log of {context}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn database_url(up: Option<&str>, words: &[&str]) -> Result<String, String> {
        let command = Databases::augment_args(Command::new("events").no_binary_name(true))
            // The environment of the test may have a DATABASE_URL.
            .mut_arg("database_url", |arg| arg.env(None::<&str>));
        let command = with_default(command, "database_url", up.map(str::to_owned));
        let matches = command.try_get_matches_from(words).expect("the words are good");
        let parsed = WithLocalDefaults::<Databases>::from_arg_matches(&matches);
        parsed
            .map(|WithLocalDefaults(databases)| databases.base().expose().to_owned())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_database_is_the_one_given_else_that_of_up_else_it_is_required() {
        let (named, up) = ("postgres://u@named/db", "postgres://u@up/db");
        assert_eq!(database_url(Some(up), &["--database-url", named]).as_deref(), Ok(named));
        assert_eq!(database_url(Some(up), &[]).as_deref(), Ok(up));
        let refused = database_url(None, &[]).expect_err("no database is given");
        assert!(refused.contains("no platform runs here"), "{refused}");
    }
}
