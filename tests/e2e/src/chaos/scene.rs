//! A platform under load, to which things can be done, and the verdict on what it did meanwhile.
//!
//! The chaos run and every test of a fault stand on this. Never: a fault that is not undone, or a verdict before it is
//! quiet. Read next: `check.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::Context;
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use super::check::{self, Booked, Pieces};
use super::history::History;
use super::load::{self, Load, behaviour};
use super::{logs, quiesce, topics};
use crate::engines::{PrivateKafka, PrivatePostgres};
use crate::platform::{Platform, TestEnvironment, signal};
use crate::{eventually, kafka};

/// After a fault has ended, everything must be as before within this.
pub const RECOVERY_MAX: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// `up` starts a dead role again after at most 10 s.
const PID_WAIT: Duration = Duration::from_secs(60);

/// A platform, its own engines where it has some, its load, and the history.
pub struct Scene {
    // Dropped in this order: the roles go before their engines.
    pub platform: Platform,
    pub postgres: Option<PrivatePostgres>,
    pub kafka: Option<PrivateKafka>,
    pub history: Arc<History>,
    load: Option<Load>,
    database_url: String,
    http: reqwest::Client,
    folder: PathBuf,
}

/// Which engines a scene has for itself; the others are those of `make test`.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Where PostgreSQL keeps its data.
    pub postgres: Option<PathBuf>,
    /// Variables for that PostgreSQL.
    pub postgres_env: Vec<(&'static str, String)>,
    /// How many nodes Kafka has; 0 for none of its own.
    pub kafka_nodes: u16,
    /// Variables for `up` and its roles.
    pub env: Vec<(&'static str, String)>,
    /// How many clients make its load; by default as few as a test of one fault needs.
    pub clients: Option<u64>,
}

/// What the logs and topics held in the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub events: usize,
    pub records: usize,
    pub duplicates: usize,
}

impl Scene {
    /// A platform with its load running; `seed` says what the load does.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(name: &str, own: Own, seed: u64) -> Self {
        let folder = std::env::temp_dir().join(testkit::unique(&format!("tradewind-scene-{name}")));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let (postgres, kafka) = tokio::join!(
            async {
                match &own.postgres {
                    Some(folder) => Some(PrivatePostgres::start(folder, own.postgres_env.clone()).await),
                    None => None,
                }
            },
            async {
                match own.kafka_nodes {
                    0 => None,
                    nodes => Some(PrivateKafka::start(&folder.join("kafka-cluster"), nodes).await),
                }
            }
        );
        let database_url = match &postgres {
            Some(postgres) => postgres.url.clone(),
            None => testkit::fresh_database(name).await.url,
        };
        let kafka_brokers =
            kafka.as_ref().map_or_else(testkit::kafka_brokers, |kafka: &PrivateKafka| kafka.brokers.clone());
        let clients = own.clients.unwrap_or(load::CLIENTS);
        let env = own.env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let environment = TestEnvironment { database_url: database_url.clone(), kafka_brokers, env };
        let platform = Platform::start_on(name, environment, &[]).await;
        let history = Arc::new(History::create(&folder.join("history.jsonl")));
        let http = reqwest::Client::builder().no_proxy().build().expect("a plain client can be made");
        let mut scene = Self { platform, postgres, kafka, history, load: None, database_url, http, folder };
        scene.tell_provider("none").await;
        let command_url = scene.platform.endpoint("command_url");
        scene.load = Some(Load::start(&command_url, &scene.history, seed, clients).await);
        scene
    }

    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// A connection as the owner of everything.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn database(&self) -> Result<Client, String> {
        logs::connect(&self.database_url).await
    }

    pub async fn tell_provider(&self, fault: &str) {
        let url = format!("{}/v1/behaviour", self.platform.endpoint("payment_provider_url"));
        eventually("the provider listens", || async {
            let told = self.http.put(&url).json(&behaviour(fault)).send().await;
            match told.and_then(reqwest::Response::error_for_status) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Sends a signal to a role, once it runs.
    ///
    /// # Panics
    /// When it does not run in time.
    pub async fn signal(&self, role: &str, name: &str) -> u32 {
        let started = Instant::now();
        loop {
            if let Some(pid) = self.platform.pid_if_running(role)
                && signal(pid, name).await
            {
                self.history.note(name, &format!("{role} ({pid})"));
                return pid;
            }
            assert!(started.elapsed() < PID_WAIT, "{role} does not run");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Puts the last records of a topic on it once more, the last first.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub async fn repeat_records(&self, context: Context, last_max: usize) -> Result<usize, String> {
        let (brokers, topic) = (self.platform.kafka_brokers().to_owned(), self.platform.topic(context));
        let repeat = move || {
            let mut records = kafka::read_records(&brokers, &topic, last_max)?;
            records.reverse();
            kafka::produce(&brokers, &topic, &records)?;
            Ok(records.len())
        };
        tokio::task::spawn_blocking(repeat).await.expect("repeating records does not panic")
    }

    /// An order whose client hangs up without an answer, and asks again with its key. Whether it was told.
    pub async fn hang_up_and_ask_again(&self) -> bool {
        load::hang_up_and_ask_again(&self.platform.endpoint("command_url"), &self.history).await
    }

    /// Returns how long it took until every role is ready, and all that was there when this was called is relayed and
    /// consumed.
    ///
    /// # Errors
    /// What is still not so after [`RECOVERY_MAX`].
    pub async fn recovered(&self) -> Result<Duration, String> {
        let started = Instant::now();
        let heads = self.within(started, async || quiesce::heads(&self.database().await?).await).await?;
        self.within(started, async || quiesce::relayed(&self.database().await?, &heads).await).await?;
        let ends = self.within(started, async || quiesce::ends(&self.platform).await).await?;
        self.within(started, async || quiesce::consumed(&self.database().await?, &ends).await).await?;
        self.within(started, async || quiesce::ready(&self.platform, &self.http).await).await?;
        Ok(started.elapsed())
    }

    async fn within<T>(
        &self,
        started: Instant,
        probe: impl AsyncFn() -> Result<T, String>,
    ) -> Result<T, String> {
        loop {
            match probe().await {
                Ok(value) => return Ok(value),
                Err(last) if started.elapsed() > RECOVERY_MAX => {
                    return Err(format!("not recovered after {RECOVERY_MAX:?}: {last}"));
                }
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Ends the load.
    pub async fn hush(&mut self) {
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
    }

    /// Waits until nothing moves any more and everything has settled.
    ///
    /// # Errors
    /// What has not, after [`RECOVERY_MAX`].
    async fn quiet(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let before = self.within(started, async || quiesce::heads(&self.database().await?).await).await?;
            self.recovered().await?;
            self.within(started, async || quiesce::settled(&self.database().await?).await).await?;
            let after = self.within(started, async || quiesce::heads(&self.database().await?).await).await?;
            if before == after {
                return Ok(());
            }
        }
    }

    /// Ends the load, waits for quiet, and judges. Every broken promise is in the list; it must be empty.
    pub async fn verdict(&mut self) -> (Figures, Vec<String>) {
        self.hush().await;
        let mut violations = self.history.violations();
        violations.extend(self.quiet().await.err());
        let mut figures = Figures::default();
        match self.judge(&mut violations).await {
            Ok(found) => figures = found,
            Err(unknown) => violations.push(format!("it could not be checked: {unknown}")),
        }
        (figures, violations)
    }

    /// For tests of one fault.
    ///
    /// # Panics
    /// When a promise was broken; names the history's file.
    pub async fn ends_well(mut self) -> Figures {
        let (figures, violations) = self.verdict().await;
        assert!(violations.is_empty(), "{violations:#?}\nhistory: {}", self.folder.display());
        let _ = std::fs::remove_dir_all(&self.folder);
        figures
    }

    async fn judge(&self, violations: &mut Vec<String>) -> Result<Figures, String> {
        let database = self.database().await?;
        let logs = logs::read(&database).await?;
        let mut figures = Figures { events: logs.values().map(Vec::len).sum(), ..Figures::default() };
        violations.extend(logs::parked(&database).await?);
        violations.extend(check::logs_are_contiguous(&logs));
        violations.extend(check::history_is_in_the_logs(&self.history.operations(), &logs));
        let orders = orders_read(&database).await?;
        let booked = self.booked().await?;
        violations.extend(check::orders_agree_with_stock_and_money(&logs, &booked, &orders));
        violations.extend(check::stock_is_conserved(&logs, &stock_read(&database).await?));
        for context in Context::ALL {
            let (brokers, topic) = (self.platform.kafka_brokers().to_owned(), self.platform.topic(context));
            let name = topic.clone();
            let read = move || kafka::read_records(&brokers, &topic, usize::MAX);
            let records = tokio::task::spawn_blocking(read).await.expect("reading does not panic")?;
            let head = logs[context.name()].last().map_or(0, |event| event.position);
            figures.records += records.len();
            figures.duplicates += topics::check(&name, &records, head, violations);
        }
        let (code, said) = self.platform.tradewind(&["verify"]).await;
        if code != 0 {
            violations.push(format!("tradewind verify ended with {code}: {said}"));
        }
        Ok(figures)
    }

    /// Errors in the platform's log, each of which says that someone must act. What passes by itself needs nobody.
    pub fn alarms(&self) -> Vec<String> {
        let log = self.platform.log();
        let alarms = log.lines().filter(|line| line.contains(" ERROR ") && !line.contains("a role died"));
        alarms.map(|line| format!("an alarm: {line}")).collect()
    }

    /// All pages of the provider's own ledger.
    async fn booked(&self) -> Result<HashMap<Uuid, Booked>, String> {
        let url = self.platform.endpoint("payment_provider_url");
        let mut booked = HashMap::new();
        let mut after = Uuid::nil().to_string();
        loop {
            let page = format!("{url}/v1/ledger/payments?limit=1000&after={after}");
            let page = self.http.get(page).send().await.map_err(|error| error.to_string())?;
            let page: Value = page.json().await.map_err(|error| error.to_string())?;
            for payment in page["payments"].as_array().into_iter().flatten() {
                let id = payment["payment_id"].as_str().and_then(|id| id.parse().ok());
                let state = payment["state"].as_str().unwrap_or_default().to_owned();
                let amount_minor = payment["amount_minor"].as_i64().unwrap_or_default();
                booked.insert(id.ok_or("a payment without an id")?, Booked { state, amount_minor });
            }
            match page["next_after"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => return Ok(booked),
            }
        }
    }
}

async fn orders_read(database: &Client) -> Result<HashMap<Uuid, String>, String> {
    let rows = database.query("SELECT order_id::uuid, status FROM readmodel.orders", &[]).await;
    let rows = rows.map_err(|error| error.to_string())?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn stock_read(database: &Client) -> Result<HashMap<String, Pieces>, String> {
    let rows = database.query("SELECT sku, available, reserved, shipped FROM readmodel.stock", &[]).await;
    let pieces = |row: &tokio_postgres::Row| {
        (row.get(0), Pieces { available: row.get(1), reserved: row.get(2), shipped: row.get(3) })
    };
    Ok(rows.map_err(|error| error.to_string())?.iter().map(pieces).collect())
}
