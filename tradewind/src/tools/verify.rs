//! `tradewind verify`: checks that everything agrees, once or repeatedly. The exit code is 0 only when everything was
//! checked. It reads as the role of each schema, in READ ONLY transactions.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use clap::builder::PossibleValuesParser;
use event_bus::BusConfig;
use events::{Context, TOPIC_PARTITIONS};
use futures::FutureExt;
use runtime::http::{Limits, bind, serve};
use runtime::postgres::{connect, owner_url};
use runtime::{Check, Health, Secret, ops_router};
use tokio_util::sync::CancellationToken;
use verify::{Connections, PROPERTIES, Property, Report, Scope};

use super::connections::{Databases, WithLocalDefaults};
use crate::up::stop_signal;

/// The exit code when something could not be checked: neither "all agree" nor "they differ".
const NOT_CHECKED: u8 = 2;

pub type Args = WithLocalDefaults<Options>;

#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Check only this property (may be repeated) [default: all]
    #[arg(long, value_parser = names())]
    only: Vec<String>,
    /// Check all properties except this one (may be repeated)
    #[arg(long, value_parser = names(), conflicts_with = "only")]
    except: Vec<String>,
    /// Seconds after its deadline before an unfinished process is a violation
    #[arg(long, default_value_t = 300)]
    grace_seconds: u32,
    /// Print one JSON object for each run
    #[arg(long)]
    json: bool,
    /// Check repeatedly until Ctrl-C: print one line for each run, serve metrics at --listen
    #[arg(long)]
    watch: bool,
    /// Seconds between two runs of --watch
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    interval_seconds: u64,
    /// The address of /livez, /readyz and /metrics of --watch, as host:port
    #[arg(long, env = "VERIFY_LISTEN", default_value = "127.0.0.1:8085")]
    listen: String,
    #[command(flatten)]
    databases: Databases,
    /// The database of the read models, where it is another one
    #[arg(long, env = "READMODEL_DATABASE_URL", hide_env_values = true)]
    readmodel_database_url: Option<Secret>,
    /// The database of the payment provider's ledger, where it is another one
    #[arg(long, env = "PROVIDER_DATABASE_URL", hide_env_values = true)]
    provider_database_url: Option<Secret>,
    #[command(flatten)]
    bus: BusConfig,
}

fn names() -> PossibleValuesParser {
    PROPERTIES.map(|property| property.name).into()
}

impl Options {
    fn wants(&self, property: &Property) -> bool {
        let is_named = |names: &[String]| names.iter().any(|name| name == property.name);
        if self.only.is_empty() { !is_named(&self.except) } else { is_named(&self.only) }
    }

    fn url(&self, owner: &str) -> Secret {
        let own = match owner {
            verify::READ_MODEL => self.readmodel_database_url.clone(),
            verify::PROVIDER => self.provider_database_url.clone(),
            context => context.parse::<Context>().ok().map(|context| self.databases.url(context)),
        };
        own.unwrap_or_else(|| owner_url(self.databases.base(), owner))
    }

    fn connections(&self) -> Connections {
        let options = self.clone();
        let mut kafka: Vec<(String, String)> = self
            .bus
            .properties
            .iter()
            .map(|property| (property.key.clone(), property.value.clone()))
            .collect();
        kafka.push(("bootstrap.servers".to_owned(), self.bus.brokers.clone()));
        Connections {
            connect: Arc::new(move |owner| {
                let url = options.url(owner);
                async move { connect(&url).await.map_err(|error| format!("{:#}", anyhow::Error::from(error))) }
                    .boxed()
            }),
            kafka,
            topic_prefix: self.bus.topic_prefix.clone(),
            topic_partitions: TOPIC_PARTITIONS,
        }
    }

    fn scope(&self) -> Scope {
        let options = self.clone();
        let grace = TimeDelta::seconds(i64::from(self.grace_seconds));
        Scope { wants: Box::new(move |property| options.wants(property)), grace }
    }
}

/// # Errors
/// Only when --watch cannot listen; every other failure is exit code 2.
pub async fn run(WithLocalDefaults(options): Args) -> anyhow::Result<ExitCode> {
    let connections = options.connections();
    if options.watch {
        return watch(&options, &connections).await;
    }
    Ok(match verify::run(&connections, &options.scope()).await {
        Ok(report) => {
            if options.json {
                println!("{}", report.as_json());
            } else {
                print!("{report}");
            }
            ExitCode::from(code(&report))
        }
        Err(error) => {
            eprintln!("tradewind verify: not checked: {}", in_full(error));
            ExitCode::from(NOT_CHECKED)
        }
    })
}

/// A violation counts more than a property that was not checked.
fn code(report: &Report) -> u8 {
    match (report.fails(), report.holds()) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => NOT_CHECKED,
    }
}

fn in_full(error: verify::Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Checks until SIGTERM or SIGINT. The last result is in the metrics and in /readyz.
async fn watch(options: &Options, connections: &Connections) -> anyhow::Result<ExitCode> {
    runtime::telemetry::init("verify", false);
    let stop = stop_signal();
    let health = Health::new();
    let check = health.check("verify");
    let listener = bind(&options.listen, "--listen").await?;
    let ended = CancellationToken::new();
    let ops = serve(listener, ops_router(health), Limits::default(), ended.clone());
    let rounds = async {
        let mut last = NOT_CHECKED;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                code = round(options, connections, &check) => last = code,
            }
            let _ =
                tokio::time::timeout(Duration::from_secs(options.interval_seconds), stop.cancelled()).await;
        }
        ended.cancel();
        last
    };
    let (last, ()) = tokio::join!(rounds, ops);
    Ok(ExitCode::from(last))
}

/// One run of a watch: its exit code.
async fn round(options: &Options, connections: &Connections, check: &Check) -> u8 {
    let started = Instant::now();
    let outcome = verify::run(connections, &options.scope()).await;
    metrics::histogram!("tradewind_verify_duration_seconds").record(started.elapsed());
    let code = outcome.as_ref().map_or(NOT_CHECKED, code);
    let name = match code {
        0 => "holds",
        1 => "fails",
        _ => "not checked",
    };
    metrics::counter!("tradewind_verify_runs_total", "outcome" => name).increment(1);
    match outcome {
        Ok(report) => {
            publish(&report, check);
            if options.json {
                println!("{}", report.as_json());
            } else {
                println!("{} {}", chrono::Utc::now().format("%FT%TZ"), status(&report, started.elapsed()));
            }
        }
        Err(error) => {
            let error = in_full(error);
            check.failing(format!("not checked: {error}"));
            println!("{} not checked: {error}", chrono::Utc::now().format("%FT%TZ"));
        }
    }
    code
}

fn publish(report: &Report, check: &Check) {
    for (property, line) in report.lines() {
        let holds = u8::from(line.holds());
        metrics::gauge!("tradewind_verify_holds", "property" => property.name).set(f64::from(holds));
        let violations = u32::try_from(line.violations).unwrap_or(u32::MAX);
        metrics::gauge!("tradewind_verify_violations", "property" => property.name)
            .set(f64::from(violations));
    }
    if report.holds() { check.ok() } else { check.failing(failures(report)) }
}

fn failures(report: &Report) -> String {
    let failed = report.lines().filter_map(|(property, line)| {
        let why = line.first.as_ref().map(ToString::to_string);
        let why = why.or_else(|| line.not_checked.as_ref().map(|why| format!("not checked: {why}")));
        why.map(|why| format!("{}: {why}", property.name))
    });
    failed.collect::<Vec<_>>().join(" | ")
}

fn status(report: &Report, took: Duration) -> String {
    let (all, events) = (report.lines().len(), report.count("log", "events"));
    let events = events.map_or_else(String::new, |events| format!(", {events} events"));
    if report.holds() {
        format!("ok: {all} of {all} properties hold{events}, {took:.1?}")
    } else {
        let failed = report.lines().filter(|(_, line)| line.violations > 0).count();
        let verdict = if failed > 0 { "FAIL" } else { "?" };
        format!("{verdict}: {failed} of {all} properties fail{events}, {took:.1?} | {}", failures(report))
    }
}
